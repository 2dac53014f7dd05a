"""python -m tests.chain.servers: the node with each server that it is tried against, at length.

Each server answers for a chain with blocks of 2 seconds, on which callbacks are asked for: one,
then many at once. Then come the goals. It takes an hour; names choose some servers or goals.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.chain.servers.goals import GOALS, Row, world
from tests.chain.servers.measuring import Measured, measure
from tests.chain.servers.profiles import PROFILES, Profile
from tests.chain.servers.table import documentation
from tests.support.process import ROOT

_WITHIN = 180.0  # seconds
_TITLES = ("delivered", "s", "requests", "calls", "refused", "peak/s", "second")


def main() -> int:
    """Measure, print the tables; 1: something is not delivered, or a goal is not reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.chain.servers", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of servers, names of goals")
    parser.add_argument("--callbacks", type=int, default=50, help="that are asked for at once")
    parser.add_argument("--block-time", type=int, default=2, metavar="SECONDS")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument(
        "--documentation", action="store_true", help="print the table of on-chain.md and end"
    )
    chosen = parser.parse_args()
    if chosen.list:
        print("\n".join([*(profile.name for profile in PROFILES), *GOALS]))
        return 0
    if chosen.documentation:
        print(documentation())
        return 0
    goals = [name for name in GOALS if not chosen.names or name in chosen.names]
    parts = [name.lower() for name in chosen.names if name not in GOALS]
    profiles = [
        profile
        for profile in PROFILES
        if not chosen.names or any(part in profile.name.lower() for part in parts)
    ]
    began, failed = time.monotonic(), 0
    folder = ROOT / ".cache"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="servers.") as made:
        if profiles:
            print(f"{'server':<40}" + "".join(f"{title:>11}" for title in _TITLES), flush=True)
        for number, profile in enumerate(profiles):
            place = Path(made) / str(number)
            failed += not _try(profile, place, chosen.callbacks, chosen.block_time)
        for name in goals:
            failed += not _reach(name, Path(made) / name)
    print(f"\n{failed} failed, {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed else 0


def _try(profile: Profile, folder: Path, callbacks: int, block_time: int) -> bool:
    with world(block_time) as chain:
        measured = asyncio.run(
            measure(chain.v1, profile, folder, callbacks=(1, callbacks), within=_WITHIN)
        )
    print(_line(profile, measured), flush=True)
    return measured.delivered == measured.answers == measured.asked


def _line(profile: Profile, found: Measured) -> str:
    cells = (
        f"{found.delivered}/{found.asked}",
        f"{found.seconds:.0f}",
        str(found.requests),
        str(found.calls),
        f"{found.refused:.1%}",
        str(found.peak),
        str(found.second) if profile.second else "",
    )
    return f"{profile.name:<40}" + "".join(f"{cell:>11}" for cell in cells)


def _reach(name: str, folder: Path) -> bool:
    goal = GOALS[name]
    print(f"\n{name}: {goal.__doc__}", flush=True)
    rows = asyncio.run(goal(folder))
    for row in rows:
        print(f"  {row.text:<48}{row.found:>9.2f}{_bounds(row):>12}", flush=True)
    return all(row.met for row in rows)


def _bounds(row: Row) -> str:
    if row.most is None and row.least is None:
        return ""
    bound = f"<= {row.most:g}" if row.most is not None else f">= {row.least:g}"
    return bound if row.met else f"NOT {bound}"


if __name__ == "__main__":
    sys.exit(main())
