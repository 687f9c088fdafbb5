"""Measures Millrace and its peers, one after the other on one server, and prints one markdown table.

`make bench-peers` calls it, and these settings are its own:
BENCH_SHORT=1     all of it in small, some two minutes, to see that it works
BENCH_PEERS       who is measured, by name, with spaces between; Millrace always is
BENCH_WORKLOADS   which of: one many drain pickup crowd pairs
BENCH_JOBS        jobs of a drain
BENCH_CROWD       scheduled jobs, and finished ones, beside the drain that is made in a crowd
BENCH_SECONDS     most seconds of a drain; one that takes longer is told by what was done until then
BENCH_ROUNDS      times that each is measured, of which the median is told
BENCH_PAIRS       interleaved pairs of drains of Millrace and of each of its two fastest peers; 0 for none
"""

import os
import sys
import time

import baseline
import server
import table
import workloads
from contenders import everybody

CLIENTS = 10


class Settings:
    """How much of everything."""

    def __init__(self):
        short = os.environ.get("BENCH_SHORT") == "1"
        number = lambda name, long, small: int(os.environ.get(name, small if short else long))
        self.short = short
        self.jobs = number("BENCH_JOBS", 100_000, 10_000)
        self.crowd = number("BENCH_CROWD", 1_000_000, 20_000)
        self.seconds = number("BENCH_SECONDS", 20, 2)
        self.rounds = number("BENCH_ROUNDS", 3, 1)
        self.pairs = number("BENCH_PAIRS", 7, 1)
        self.one_s = 1 if short else 4
        self.baseline_s = 1 if short else 5
        self.paced = 100 if short else 1_000
        self.gap_ms = 5
        self.workloads = os.environ.get("BENCH_WORKLOADS", "one many drain pickup crowd pairs").split()

    def told(self):
        return (
            f"drains of {self.jobs} jobs, at most {self.seconds} s, the median of {self.rounds}; "
            f"{self.crowd} scheduled and as many finished in the crowd; {self.paced} jobs to an idle worker, "
            f"{self.gap_ms} ms after each; {CLIENTS} clients for {self.one_s} s one by one; "
            f"{self.pairs} interleaved pairs"
        )


def say(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


def there(names):
    """Those who are measured and, of those who are not, why."""
    present, absent = [], []
    for contender in everybody():
        if names and contender.name not in names and contender.name != "millrace":
            continue
        why = contender.missing()
        if why:
            say(f"{contender.label.upper()} IS NOT MEASURED: {why}")
            absent.append((contender.label, why))
        else:
            present.append(contender)
    return present, absent


class Run:
    """What was measured so far."""

    def __init__(self, settings, contenders):
        self.settings = settings
        self.contenders = contenders
        self.rows = table.Rows()
        self.failed = []
        # Jobs for who was cut off.
        self.enough = {}

    def guarded(self, contender, what, work):
        """One who fails is told of, and the others are measured."""
        began = time.monotonic()
        try:
            work(contender)
            say(f"{contender.label}: {what}, {time.monotonic() - began:.0f} s")
        except (workloads.Failed, RuntimeError, KeyError, TypeError) as error:
            say(f"{contender.label.upper()} FAILED AT {what.upper()}: {error}")
            self.failed.append((f"{contender.label}, {what}", str(error).splitlines()[0]))

    def each(self, what, work):
        if what in self.settings.workloads:
            for contender in self.contenders:
                self.guarded(contender, what, work)

    def one(self, contender):
        for words, env in [(None, None)] + [(words, env) for verb, words, env in contender.ways if verb == "one"]:
            made = [workloads.one(contender, CLIENTS, self.settings.one_s, env) for _ in range(self.settings.rounds)]
            made.sort(key=lambda each: each[0])
            self.rows.add("one", contender, [rate for rate, _ in made], made[len(made) // 2][1], words)

    def many(self, contender):
        # Plain calls are measured where they fill what is drained.
        plain = [] if "drain" in self.settings.workloads else [(None, None)]
        for words, env in plain + [(words, env) for verb, words, env in contender.ways if verb == "many"]:
            rate, cost, _ = workloads.many(contender, self.settings.jobs, env=env)
            self.rows.add("many", contender, [rate], cost, words)

    def drain(self, contender):
        fills = self.drains("drain", contender, self.settings.jobs)
        if "many" in self.settings.workloads:
            fills.sort(key=lambda fill: fill[0])
            self.rows.add("many", contender, [rate for rate, _ in fills], fills[len(fills) // 2][1])

    def crowd(self, contender):
        # Who was cut off when alone is given no more than would have kept it busy.
        self.drains("crowd", contender, self.enough.get(contender.name, self.settings.jobs), self.settings.crowd)

    def drains(self, what, contender, jobs, crowd=None):
        """Drains as often as is set, or until one is cut off; what filling came to each time."""
        fills, drains = [], []
        for _ in range(self.settings.rounds):
            fill, drain = workloads.drain(contender, jobs, self.settings.seconds, crowd)
            fills.append(fill)
            drains.append(drain)
            if drain.cut:
                self.enough[contender.name] = min(jobs, int(2 * drain.rate * self.settings.seconds) + 1_000)
                break
        drains.sort(key=lambda drain: drain.rate)
        middle = drains[len(drains) // 2]
        cut = "cut off" if middle.cut else None
        self.rows.add(what, contender, [drain.rate for drain in drains], middle.cost, cut)
        return fills

    def pickup(self, contender):
        from_return, from_call, cost = workloads.pickup(contender, self.settings.paced, self.settings.gap_ms)
        shares = [[workloads.quantile(waits, share) for share in (0.5, 0.99)] for waits in (from_return, from_call)]
        self.rows.add_pickup(contender, *shares, cost)

    def pairs(self):
        """Millrace and one of its two fastest peers in turn, so that both meet the same minutes."""
        if "pairs" not in self.settings.workloads:
            return
        millrace = self.contenders[0]
        for other in self.rows.fastest("drain", self.contenders[1:], 2):
            self.guarded(other, "pairs", lambda peer: self.pair(millrace, peer))

    def pair(self, millrace, other):
        ratios = []
        for number in range(self.settings.pairs):
            order = [millrace, other] if number % 2 == 0 else [other, millrace]
            rates = {}
            for contender in order:
                drained = workloads.drain(contender, self.settings.jobs, self.settings.seconds)[1]
                rates[contender.name] = drained.rate
            ratios.append(rates[millrace.name] / rates[other.name])
        if ratios:
            self.rows.add_pairs(other, ratios)


def main():
    settings = Settings()
    began = time.monotonic()
    contenders, absent = there(os.environ.get("BENCH_PEERS", "").split())
    run = Run(settings, contenders)
    first = baseline.measure(settings.baseline_s)
    say("baseline: " + ", ".join(f"{name} {rate:.0f}" for name, rate in first.items()))
    for what in ("one", "many", "drain"):
        run.each(what, getattr(run, what))
    run.pairs()
    run.each("pickup", run.pickup)
    run.each("crowd", run.crowd)
    last = baseline.measure(settings.baseline_s)
    limits = {name: (first[name] + last[name]) / 2 for name in first}
    print(f"{server.told()}\nHere: {settings.told()}; {(time.monotonic() - began) / 60:.0f} minutes in all.\n")
    table.show(run.rows, limits, first, last)
    for label, why in absent + run.failed:
        print(f"\n**Not measured: {label}.** {why}")
    if len(contenders) == 1:
        say("NO PEER COULD BE MEASURED")
    # That a peer cannot be had is told; that Millrace fails is a failure.
    return 1 if any(label.startswith("Millrace,") for label, _ in run.failed) else 0


sys.exit(main())
