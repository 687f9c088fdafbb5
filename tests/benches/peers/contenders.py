"""Who is measured, how each is called, and why one is not there."""

import os
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLONE = HERE.parents[2]
HOME = CLONE / "target" / "peers"
DRIVERS = HERE / "drivers"
NODE = HOME / "node" / "node_modules" / "node" / "bin" / "node"


class Contender:
    """A job system with its driver."""

    def __init__(self, name, label, command, needs, ways=None, idle_env=None, crowd=None):
        self.name = name
        self.label = label
        self.command = [str(word) for word in command]
        self.needs = needs
        # Ways to put jobs in beside the plain one: verb, words for the table, environment.
        self.ways = ways or []
        self.idle_env = idle_env or {}
        self.crowd = HERE / "crowds" / f"{crowd or name}.sql"

    def missing(self):
        """What it lacks, or nothing."""
        lacking = [str(path) for path in self.needs if not Path(path).exists()]
        return f"`{lacking[0]}` is not there; what `make bench-peers` said first tells why" if lacking else None


def of_node(name, label, package):
    path = HOME / "node" / "node_modules" / package
    idle_env = {"BOSS_NOTIFY": "1"} if name == "pg_boss" else {}
    return Contender(
        name, label, [NODE, DRIVERS / f"{name}.mjs"], [HOME / "node" / "whole", NODE, path / "package.json"], idle_env=idle_env
    )


def of_rust(crate, label, name=None):
    driver = HOME / "rust" / "target" / "release" / f"{crate}-driver"
    # The port of Graphile Worker has the schema of the original, and so the same crowd.
    return Contender(name or crate, label, [driver], [driver], crowd=crate)


def pinned(name):
    """The version that the installer asks for."""
    text = (CLONE / ".ci" / "peers").read_text()
    found = re.search(re.escape(name) + r'"?(?:: "| = "=|==)([0-9.]+)', text)
    return found.group(1) if found else "?"


def everybody():
    """All contenders, Millrace first."""
    millrace = os.environ["PEERS_MILLRACE"]
    ways = [
        ("one", "begin and commit around it", {"IN_TRANSACTION": "1"}),
        ("one", "by the role of workers", {"AS_WORKER": "1"}),
        ("many", "by the role of workers", {"AS_WORKER": "1"}),
    ]
    python = HOME / "python"
    return [
        Contender("millrace", "Millrace", [millrace], [millrace], ways=ways),
        of_node("graphile_worker", f"graphile-worker {pinned('graphile-worker')} (npm)", "graphile-worker"),
        of_rust("graphile_worker", f"graphile_worker {pinned('graphile_worker')} (crates.io)", "graphile_worker_rust"),
        of_node("pg_boss", f"pg-boss {pinned('pg-boss')} (npm)", "pg-boss"),
        of_rust("awa", f"awa {pinned('awa')} (crates.io)"),
        of_node("dbos", f"DBOS Transact {pinned('@dbos-inc/dbos-sdk')} (npm)", "@dbos-inc/dbos-sdk"),
        Contender(
            "procrastinate",
            f"Procrastinate {pinned('procrastinate')} (PyPI)",
            [python / "bin" / "python", DRIVERS / "procrastinate_driver.py"],
            [python / "whole"],
        ),
    ]
