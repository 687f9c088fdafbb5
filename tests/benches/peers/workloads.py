"""The workloads: each calls a contender's driver on a database of its own and counts what it cost."""

import json
import os
import statistics
import subprocess
import threading
from pathlib import Path

import server
from contenders import HOME

LOG = HOME / "log"


class Failed(Exception):
    """A driver did not do what it was asked for."""


class Drain:
    """One drain: jobs a second, whether the time was up first, what it cost."""

    def __init__(self, result, cost):
        self.rate = result["jobs"] / result["seconds"]
        self.cut = result["cut"]
        self.cost = cost


def call(contender, *words, env=None, limit_s=300):
    """Calls a driver; its result, if the verb has one. What it said lies in the log."""
    LOG.mkdir(parents=True, exist_ok=True)
    command = contender.command + [str(word) for word in words]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=environment(env))
    except subprocess.TimeoutExpired:
        raise Failed(f"{contender.label}: `{words[0]}` took more than {limit_s} s") from None
    log = LOG / f"{contender.name}.log"
    with open(log, "a") as out:
        out.write(f"--- {' '.join(map(str, words))}\n{ended.stdout}{ended.stderr}")
    if ended.returncode != 0:
        raise Failed(f"{contender.label}: `{words[0]}` failed, see `{log}`")
    lines = [line[7:] for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(lines[-1]) if lines else None


def environment(more):
    return {**os.environ, "PEERS_HOME": str(HOME), "DATABASE_URL": server.url(server.BENCH), **(more or {})}


def furnish(contender, crowd=None, idle=False):
    """The contender's schema in a fresh database, kept as a template from the first time on."""
    template = f"made_{contender.name}" + ("_idle" if idle and contender.idle_env else "") + ("_crowd" if crowd else "")
    known = server.sql(f"select count(*) from pg_database where datname = '{template}'")[0][0] == "1"
    if not known and crowd:
        furnish(contender)
        variables = {"scheduled": crowd, "finished": crowd}
        server.sql(None, at=server.url(server.BENCH), variables=variables, file=contender.crowd)
        server.settle()
    elif not known:
        server.create(server.BENCH)
        call(contender, "setup", env=contender.idle_env if idle else None)
    if not known:
        server.quiet()
        server.sql(f"alter database {server.BENCH} rename to {template}")
    server.create(server.BENCH, template)


def one(contender, clients, seconds, env=None):
    """Jobs put in one by one, a second, and what each cost."""
    furnish(contender)
    server.settle()
    counters = server.Counters()
    result = call(contender, "one", 10_000_000, clients, seconds, env=env)
    return result["jobs"] / result["seconds"], counters.per_job(result["jobs"])


def many(contender, jobs, crowd=None, env=None):
    """Jobs put in by the thousand, a second, what each cost, and how many came in."""
    furnish(contender, crowd)
    counters = server.Counters()
    result = call(contender, "many", jobs, env=env)
    return result["jobs"] / result["seconds"], counters.per_job(result["jobs"]), result["jobs"]


def drain(contender, jobs, seconds, crowd=None):
    """Puts jobs in and drains them; what putting them in came to, and the drain."""
    rate, cost, there = many(contender, jobs, crowd)
    server.settle()
    counters = server.Counters()
    result = call(contender, "drain", there, seconds)
    return (rate, cost), Drain(result, counters.per_job(result["jobs"]))


def pickup(contender, jobs, gap_ms):
    """Milliseconds from the return of each call, and from its beginning, to the handler's; what each job cost."""
    furnish(contender, idle=True)
    server.settle()
    LOG.mkdir(parents=True, exist_ok=True)
    calls, began = LOG / "calls.json", LOG / "began.json"
    for file in (calls, began):
        file.unlink(missing_ok=True)
    counters = server.Counters()
    with open(LOG / f"{contender.name}.log", "a") as log:
        worker = subprocess.Popen(
            contender.command + ["idle", str(jobs), str(began)],
            stdout=subprocess.PIPE, stderr=log, text=True, env=environment(contender.idle_env),
        )
        # A worker that never gets ready is ended, which ends its output too.
        watch = threading.Timer(60, worker.kill)
        watch.start()
        ready = any(line.strip() == "READY" for line in worker.stdout)
        watch.cancel()
        if not ready:
            worker.wait()
            raise Failed(f"{contender.label}: the idle worker did not get ready")
        try:
            call(contender, "pace", jobs, gap_ms, calls, env=contender.idle_env)
            worker.wait(timeout=100)
        except (Failed, subprocess.TimeoutExpired):
            worker.kill()
            worker.wait()
            raise Failed(f"{contender.label}: the idle worker or who paces its jobs failed") from None
    return waits(calls, began, jobs) + (counters.per_job(jobs),)


def waits(calls, began, jobs):
    """Sorted waits from the return and from the beginning of the calls."""
    first = {}
    for job, at in json.loads(Path(began).read_text()):
        first.setdefault(job, at)
    rows = json.loads(Path(calls).read_text())
    lost = [job for job, _, _ in rows if job not in first]
    if lost or len(rows) != jobs:
        raise Failed(f"{len(lost)} of {jobs} paced jobs never began")
    from_return = sorted((first[job] - to) / 1000 for job, _, to in rows)
    from_call = sorted((first[job] - since) / 1000 for job, since, _ in rows)
    return from_return, from_call


def quantile(ordered, share):
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values, form="{:.0f}"):
    """The median and, of more than one value, the least and the most."""
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})"
