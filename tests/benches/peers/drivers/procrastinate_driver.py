"""Procrastinate: ten at once on psycopg, finished jobs kept as by default. The verbs are those of ../play.rs."""

import asyncio
import json
import logging
import os
import sys
import time

import procrastinate

AT_ONCE = 10
BATCH = 1000
IDLE_S = 90

verb, *rest = sys.argv[1:]
jobs = int(rest[0]) if rest else 0
size = int(rest[1]) if verb == "one" else AT_ONCE + 2
connector = procrastinate.PsycopgConnector(conninfo=os.environ["DATABASE_URL"], min_size=size, max_size=size)
app = procrastinate.App(connector=connector)
logging.disable(logging.CRITICAL)

done = 0
began = []


def now():
    """The machine's monotonic clock in microseconds."""
    return time.monotonic_ns() // 1000


def tell(count, since, cut=False):
    print("RESULT " + json.dumps({"jobs": count, "seconds": (now() - since) / 1e6, "cut": cut}), flush=True)


@app.task(name="noop", queue="q")
async def noop(id):
    global done
    done += 1
    if verb == "idle":
        began.append((id, now()))


async def one(clients, limit):
    numbers, since, count = iter(range(jobs)), now(), 0

    async def client():
        nonlocal count
        for number in numbers:
            if now() - since >= limit * 1_000_000:
                return
            await noop.defer_async(id=number)
            count += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    tell(count, since)


async def many():
    since = now()
    for start in range(0, jobs, BATCH):
        await noop.batch_defer_async(*({"id": number} for number in range(start, min(jobs, start + BATCH))))
    tell(jobs, since)


async def drain(limit):
    since = now()
    worker = asyncio.create_task(
        app.run_worker_async(concurrency=AT_ONCE, wait=False, listen_notify=False, install_signal_handlers=False)
    )
    await asyncio.wait([worker], timeout=limit)
    tell(done, since, not worker.done())
    os._exit(0)


async def idle(file):
    running = asyncio.create_task(app.run_worker_async(concurrency=AT_ONCE, install_signal_handlers=False))
    # It does not tell when it listens.
    await asyncio.sleep(1.5)
    print("READY", flush=True)
    end = time.monotonic() + IDLE_S
    while len(began) < jobs and time.monotonic() < end and not running.done():
        await asyncio.sleep(0.02)
    with open(file, "w") as out:
        json.dump(began, out)
    os._exit(0)


async def pace(gap_ms, file):
    rows = []
    for number in range(jobs):
        since = now()
        await noop.defer_async(id=number)
        rows.append((number, since, now()))
        await asyncio.sleep(gap_ms / 1000)
    with open(file, "w") as out:
        json.dump(rows, out)


async def main():
    async with app.open_async():
        if verb == "setup":
            await app.schema_manager.apply_schema_async()
        elif verb == "one":
            await one(size, float(rest[2]))
        elif verb == "many":
            await many()
        elif verb == "drain":
            await drain(float(rest[1]))
        elif verb == "idle":
            await idle(rest[1])
        elif verb == "pace":
            await pace(float(rest[1]), rest[2])
        else:
            raise SystemExit(f"{verb} is no verb")


asyncio.run(main())
