"""python -m tests.benchmarks: how fast and how light the node is, on this machine, now.

All is on loopback, bounded in count and time, and a minute or two long.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.benchmarks.containers import ContainerExtent, container_table, measure_containers
from tests.benchmarks.crowd import CrowdExtent, crowd_table, measure_crowd
from tests.benchmarks.executable import (
    ExecutableExtent,
    executable_table,
    measure_executable,
)
from tests.benchmarks.measure import Extent, measure
from tests.benchmarks.onchain import ChainExtent, chain_table, measure_chain
from tests.benchmarks.report import table
from tests.benchmarks.subscriptions import (
    SubscriptionExtent,
    measure_subscriptions,
    subscription_table,
)
from tests.support.process import ROOT


def main() -> None:
    """Measure and print the table."""
    usual = Extent()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=usual.jobs, help="jobs in a round")
    parser.add_argument("--connections", type=int, default=usual.connections)
    parser.add_argument("--rounds", type=int, default=usual.rounds)
    parser.add_argument(
        "--reference", action="store_true", help="show the recorded figures of the reference node"
    )
    half = parser.add_mutually_exclusive_group()
    half.add_argument(
        "--chain", action="store_true", help="measure the on-chain half instead, on a real EVM"
    )
    half.add_argument(
        "--subscriptions",
        action="store_true",
        help="measure what following contracts' subscriptions costs instead, on a real EVM",
    )
    half.add_argument(
        "--executable",
        action="store_true",
        help="measure both forms of the executable beside the package instead",
    )
    half.add_argument(
        "--containers",
        action="store_true",
        help="measure what running containers cost the node and Podman instead, on real Podman",
    )
    half.add_argument(
        "--crowd",
        action="store_true",
        help="measure what 20 event readers and 200 waiters cost instead",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".cache", help="the disk that the node writes to"
    )
    chosen = parser.parse_args()
    extent = Extent(
        jobs=min(chosen.jobs, 50_000),
        connections=min(chosen.connections, 500),
        rounds=min(chosen.rounds, 50),
    )
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="benchmarks.") as folder:
        if chosen.chain:
            found = measure_chain(ChainExtent(), Path(folder), say=_say)
            how, shown, results = "blocks of 1 s", chain_table(found), msgspec.json.encode(found)
        elif chosen.subscriptions:
            followed = measure_subscriptions(SubscriptionExtent(), Path(folder), say=_say)
            how, shown = "blocks of 1 s", subscription_table(followed)
            results = msgspec.json.encode(followed)
        elif chosen.containers:
            kept = measure_containers(ContainerExtent(), Path(folder), say=_say)
            how = f"{kept.extent.containers} containers, windows of {kept.extent.window:g} s"
            shown, results = container_table(kept), msgspec.json.encode(kept)
        elif chosen.crowd:
            crowded = CrowdExtent(jobs=extent.jobs, rounds=extent.rounds)
            found_crowd = measure_crowd(crowded, Path(folder), say=_say)
            how = f"{extent.rounds} rounds of {extent.jobs} jobs, medians"
            shown, results = crowd_table(found_crowd), msgspec.json.encode(found_crowd)
        elif chosen.executable:
            forms = measure_executable(ExecutableExtent(), Path(folder), say=_say)
            how = f"medians of {forms.extent.starts} starts"
            shown, results = executable_table(forms), msgspec.json.encode(forms)
        else:
            measured = measure(extent, Path(folder), say=_say)
            how = (
                f"{extent.connections} connections, {extent.rounds} rounds of {extent.jobs} jobs,"
                " medians"
            )
            shown = table(measured, reference=chosen.reference)
            results = msgspec.json.encode(measured)
    if chosen.json:
        chosen.json.write_bytes(msgspec.json.format(results))
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores ({platform.machine()}),"
        f" Python {platform.python_version()}; {how}\n"
    )
    print(shown)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
