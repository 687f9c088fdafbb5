"""The table of a run: every rate beside the baseline, Millrace and what it cost, and which aims were reached."""

from statistics import median

from workloads import spread

# What a workload is called, which part of the baseline limits it, and what that is.
WORKLOADS = {
    "one": ("W1a one by one, 10 clients", "one", "single-row insert, 10 clients"),
    "many": ("W1b bulk, 1000 a call, 1 client", "many", "insert of 1000 rows a statement, 1 client"),
    "drain": ("W2 drain, one worker process", "drain", "claim of 500 by one statement, delete by the next, 2 clients"),
    "crowd": ("W4 drain in a crowd", "drain", None),
}


class Row:
    """One line: who, in which way, the rates, the cells of the cost."""

    def __init__(self, contender, rates, cost, words):
        self.name = contender.name
        self.label = contender.label + (f", {words}" if words else "")
        self.plain = words is None or words == "cut off"
        self.rates = rates
        self.cost = cost

    def rate(self):
        return median(self.rates)


class Rows:
    """All lines by workload."""

    def __init__(self):
        self.of = {what: [] for what in WORKLOADS}
        self.pickups = []
        self.paired = []

    def add(self, what, contender, rates, cost, words=None):
        self.of[what].append(Row(contender, rates, cost, words))

    def add_pickup(self, contender, from_return, from_call, cost):
        self.pickups.append((contender, from_return, from_call, cost))

    def add_pairs(self, other, ratios):
        self.paired.append((other, ratios))

    def fastest(self, what, contenders, count):
        """The contenders with the highest plain rates."""
        rates = {row.name: row.rate() for row in self.of[what] if row.plain}
        measured = [contender for contender in contenders if contender.name in rates]
        return sorted(measured, key=lambda contender: -rates[contender.name])[:count]

    def rate_of(self, what, name="millrace"):
        return next((row.rate() for row in self.of[what] if row.name == name and row.plain), None)


def show(rows, limits, first, last):
    """Prints the baseline, the table and the aims."""
    print("Baseline (pgbench), a second, at the run's start and end; ratios are to the mean of both: ", end="")
    told = [f"{words} {first[part]:.0f} and {last[part]:.0f}" for _, part, words in WORKLOADS.values() if words]
    print("; ".join(told) + ".\n")
    print("| workload | who | a second, median (least to most) | of the baseline | Millrace to it | buffers a job | WAL bytes a job | commits a job | statements a job |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for what, (words, part, _) in WORKLOADS.items():
        ours = rows.rate_of(what)
        order = list(dict.fromkeys(row.name for row in rows.of[what]))
        for row in sorted(rows.of[what], key=lambda row: (order.index(row.name), not row.plain)):
            ratio = f"{ours / row.rate():.2f}" if ours and row.name != "millrace" else ""
            print(f"| {words} | {row.label} | {spread(row.rates)} | {row.rate() / limits[part]:.3f} | {ratio} | {row.cost} |")
    for other, ratios in rows.paired:
        print(f"| W2 in {len(ratios)} interleaved pairs | {other.label} | | | {spread(ratios, '{:.2f}')} | | | | |")
    ours = next((pickup[1] for pickup in rows.pickups if pickup[0].name == "millrace"), None)
    for contender, from_return, from_call, cost in rows.pickups:
        cell = "p50 {:.2f}, p99 {:.2f} ms; from the call's beginning {:.2f}, {:.2f}".format(*from_return, *from_call)
        print(f"| W3 pickup, idle worker | {contender.label} | {cell} | | | {cost} |")
    aims(rows, limits, ours)


def aims(rows, limits, pickup):
    """Prints what was reached of what is to be."""
    lines = []

    def aim(words, value, least, form="{:.3f}"):
        if value is not None:
            lines.append(f"| {words} | {form.format(value)} | {'reached' if value >= least else '**missed**'} |")

    def ratio(what, against):
        ours = rows.rate_of(what)
        return ours / against if ours and against else None

    for row in rows.of["one"]:
        if row.name == "millrace" and row.plain:
            aim("W1a as a statement of its own: 0.7 of the bare insert", row.rate() / limits["one"], 0.7)
        if "begin and commit" in row.label:
            aim("W1a between a begin and a commit: 0.45 of it", row.rate() / limits["one"], 0.45)
    others = [row.rate() for row in rows.of["many"] if row.name != "millrace"]
    aim("W1b: ahead of the best peer (1)", ratio("many", max(others, default=None)), 1)
    for name, words in (("graphile_worker", "graphile-worker of npm"), ("graphile_worker_rust", "its Rust port")):
        paired = next((median(ratios) for other, ratios in rows.paired if other.name == name), None)
        value = paired if paired is not None else ratio("drain", rows.rate_of("drain", name))
        how = ", in interleaved pairs" if paired is not None else ""
        aim(f"W2: 1.3 of {words}{how}", value, 1.3)
    aim("W2: 0.6 of the bare claim and delete", ratio("drain", limits["drain"]), 0.6)
    others = [row.rate() for row in rows.of["drain"] if row.name != "millrace"]
    aim("W2: ahead of the best peer (1)", ratio("drain", max(others, default=None)), 1)
    if pickup:
        for share, value, most in (("p50", pickup[0], 1.5), ("p99", pickup[1], 4.0)):
            verdict = "reached" if value <= most else "**missed**"
            lines.append(f"| W3: {share} at most {most} ms | {value:.2f} ms | {verdict} |")
    alone = next((row for row in rows.of["drain"] if row.name == "millrace"), None)
    crowd = next((row for row in rows.of["crowd"] if row.name == "millrace"), None)
    if alone and crowd:
        verdict = "reached" if max(crowd.rates) >= min(alone.rates) else "**missed**"
        lines.append(f"| W4: no loss beyond the spread of W2 | {crowd.rate() / alone.rate():.2f} of W2 | {verdict} |")
    print("\n| aim | here | |\n| --- | --- | --- |")
    print("\n".join(lines))
