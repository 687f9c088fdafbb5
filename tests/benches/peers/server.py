"""What the harness asks of the server: databases, statements, counters."""

import glob
import os
import shutil
import subprocess
import time

KEEPER = os.environ["PEERS_KEEPER_URL"]
BENCH = "bench"
ROLE = "millrace"
# How long connections of a driver that has ended may stay.
QUIET_S = 10


def program(name):
    """A program of the newest Postgres here."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: int(path.split("/")[4]))
    return found[-1] if found else shutil.which(name) or name


def url(database):
    """How drivers reach a database, as an ordinary role that owns it."""
    return os.environ["PEERS_URL"].replace("DATABASE", database, 1)


def sql(statement, at=KEEPER, variables=None, file=None):
    """Rows of what a statement or file answers, as lists of text."""
    command = [program("psql"), "-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", at]
    for name, value in (variables or {}).items():
        command += ["-v", f"{name}={value}"]
    command += ["-f", str(file)] if file else ["-c", statement]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        raise RuntimeError(f"{statement or file}: {ended.stderr.strip()}")
    return [line.split("\t") for line in ended.stdout.splitlines()]


def drop(database):
    sql(f"drop database if exists {database} with (force)")


def create(database, template="template1"):
    """A fresh database, empty or a copy."""
    drop(database)
    sql(f"create database {database} template {template} owner {ROLE}")


def settle(database=BENCH):
    """What a server does between a load and a measurement."""
    sql("vacuum analyze", at=url(database))
    sql("checkpoint")


def has_statements():
    return sql("select count(*) from pg_extension where extname = 'pg_stat_statements'")[0][0] == "1"


def reset_statements():
    if has_statements():
        sql("select pg_stat_statements_reset()")


class Counters:
    """Buffers, WAL bytes, commits and statements since a moment, told when those who worked have gone."""

    def __init__(self):
        quiet()
        reset_statements()
        self.before = read()

    def per_job(self, jobs):
        """The cells of a table; a server without `pg_stat_statements` counts no statements."""
        quiet()
        after = read()
        spent = [to - since for since, to in zip(self.before, after)]
        buffers, wal, commits, statements = (each / max(jobs, 1) for each in spent)
        counted = f"{statements:.4f}" if has_statements() else "–"
        return f"{buffers:.1f} | {wal:.0f} | {commits:.4f} | {counted}"


def quiet():
    """Sessions tell what they did at their end at the latest: waits for the end of all that are in the database."""
    there = f"select count(*) from pg_stat_activity where datname = '{BENCH}' and backend_type = 'client backend'"
    end = time.monotonic() + QUIET_S
    while sql(there)[0][0] != "0":
        if time.monotonic() > end:
            raise RuntimeError(f"somebody is still in `{BENCH}`")
        time.sleep(0.05)
    time.sleep(0.1)


def read():
    statements = "0"
    if has_statements():
        # Foreign keys that are looked at as late as the commit seem to be statements of somebody's.
        statements = f"""(select coalesce(sum(calls), 0) from pg_stat_statements s join pg_database d on d.oid = s.dbid
            where d.datname = '{BENCH}' and s.toplevel and s.query not like '%FOR KEY SHARE OF x')"""
    row = sql(
        f"""select d.blks_hit + d.blks_read, (select wal_bytes from pg_stat_wal), d.xact_commit, {statements}
        from pg_stat_database d where d.datname = '{BENCH}'"""
    )[0]
    return [float(cell) for cell in row]


def told():
    """Hardware and settings, in a sentence each."""
    model = next((line.split(": ", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next(int(line.split()[1]) // 1024 for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    names = ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "max_connections"]
    shown = ", ".join(f"{name} {sql(f'show {name}')[0][0]}" for name in names)
    counted = "" if has_statements() else " Without `pg_stat_statements`: no statements are counted."
    return f"{os.cpu_count()} cores ({model}), {memory} MiB, clients and server on the same machine.\nPostgres: {shown}.{counted}"
