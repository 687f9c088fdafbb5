"""What this Postgres can do at all, by pgbench: the measure of everything else in the run."""

import re
import subprocess
import tempfile

import server

BATCH = 500
BULK = 1000
TABLES = """
create table bare (id bigint generated always as identity primary key, payload jsonb not null);
create table heap (id bigint generated always as identity primary key, run_at timestamptz not null default now(),
    locked_at timestamptz, payload jsonb not null);
create index heap_free on heap (run_at, id) where locked_at is null;
"""
INSERT = """insert into bare (payload) values ('{"note": "1"}');"""
MANY = f"""insert into bare (payload) select '{{"note": "1"}}' from generate_series(1, {BULK});"""
DRAIN = f"""with c as materialized (
        select id from heap where locked_at is null and run_at <= now()
        order by run_at, id for update skip locked limit {BATCH}),
    u as (update heap set locked_at = now() from c where heap.id = c.id returning heap.id)
    select coalesce(array_agg(id), '{{}}') as ids from u \\gset
delete from heap where id = any(:ids::bigint[]);"""


def measure(seconds):
    """Jobs a second: single inserts by ten clients, inserts of a thousand by one, claims and deletes of 500 by two."""
    server.create(server.BENCH)
    at = server.url(server.BENCH)
    server.sql(TABLES, at=at)
    rows = 300_000 * seconds
    server.sql(f"""insert into heap (payload) select '{{"note": "1"}}' from generate_series(1, {rows})""", at=at)
    server.settle()
    limits = {
        "one": pgbench(10, seconds, INSERT),
        "many": pgbench(1, seconds, MANY) * BULK,
        "drain": pgbench(2, seconds, DRAIN) * BATCH,
    }
    server.drop(server.BENCH)
    return limits


def pgbench(clients, seconds, statement):
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(statement + "\n")
        script.flush()
        command = [server.program("pgbench"), "-n", "-M", "prepared", "-c", clients, "-j", 2, "-T", seconds, "-f", script.name]
        command.append(server.url(server.BENCH))
        ended = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    found = re.search(r"^tps = ([0-9.]+)", ended.stdout, re.MULTILINE)
    if not found:
        raise RuntimeError(f"pgbench: {ended.stderr.strip()}")
    return float(found.group(1))
