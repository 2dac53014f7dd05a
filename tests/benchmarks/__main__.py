"""python -m tests.benchmarks: how fast and how light the node is, on this machine, now.

Prints one table: the node beside the bare handler, measured in turn. Compares it with the stored
table of this machine, and ends with 1 when a row is more than 20 % worse. All is on loopback.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from tests.benchmarks import comparison, table
from tests.benchmarks.bench import FULL, QUICK, Bench, Extent, Unavailable
from tests.benchmarks.details.containers import (
    ContainerExtent,
    container_table,
    measure_containers,
)
from tests.benchmarks.details.onchain import ChainExtent, chain_table
from tests.benchmarks.details.onchain import measure_chain as measure_idle_chain
from tests.benchmarks.details.subscriptions import (
    SubscriptionExtent,
    measure_subscriptions,
    subscription_table,
)
from tests.benchmarks.groups.chain import measure_chain
from tests.benchmarks.groups.disk import measure_disk
from tests.benchmarks.groups.growth import measure_growth
from tests.benchmarks.groups.idle import measure_idle
from tests.benchmarks.groups.jobs import measure_batches, measure_jobs, measure_latency
from tests.benchmarks.groups.payloads import measure_payloads
from tests.benchmarks.groups.readers import measure_readers
from tests.benchmarks.groups.reads import measure_reads
from tests.benchmarks.groups.slow import measure_slow_core, measure_slow_disk
from tests.benchmarks.groups.start import measure_start
from tests.benchmarks.groups.streams import measure_streams
from tests.benchmarks.groups.wake import measure_wake
from tests.benchmarks.machine import cores, pinned, this_machine, this_run
from tests.benchmarks.results import Row
from tests.support.executable import built
from tests.support.process import ROOT

GROUPS: dict[str, Callable[[Bench], list[Row]]] = {
    "jobs": measure_jobs,
    "latency": measure_latency,
    "batches": measure_batches,
    "disk": measure_disk,
    "streams": measure_streams,
    "payloads": measure_payloads,
    "reads": measure_reads,
    "readers": measure_readers,
    "idle": measure_idle,
    "growth": measure_growth,
    "slow_disk": measure_slow_disk,
    "slow_core": measure_slow_core,
    "start": measure_start,
    "wake": measure_wake,
    "chain": measure_chain,
}
"""The names begin the names of the lines."""


class Measured(Struct, frozen=True):
    """The rows; and for groups without them the reason. `failed` names those of an error."""

    rows: list[Row]
    missing: dict[str, str] = {}
    failed: list[str] = []


def measure(
    folder: Path,
    extent: Extent,
    names: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Measured:
    """Measure the groups with these names, or all. One that fails does not end the others."""
    rows: list[Row] = []
    missing: dict[str, str] = {}
    failed: list[str] = []
    where = cores()
    with pinned(where.clients):
        for name in names or GROUPS:
            begin = time.monotonic()
            say(name)
            (folder / name).mkdir()
            try:
                rows += GROUPS[name](Bench(folder / name, extent, where, say))
            except (Unavailable, pytest.skip.Exception) as error:
                missing[name] = str(error)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                say(f"  failed: {error}")
                missing[name] = f"failed: {str(error).partition(chr(10))[0][:200]}"
                failed.append(name)
            say(f"  {time.monotonic() - begin:.0f} s")
    return Measured(rows, missing, failed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, compare, and print; returns 1 when something is worse, or failed."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    names = [name for text in chosen.only for name in text.split(",") if name]
    if unknown := set(names) - set(GROUPS):
        parser.error(f"--only: no group {', '.join(sorted(unknown))}; there are {_names()}")
    if chosen.quick and chosen.store:
        parser.error("--quick measures too little to be stored: leave it out")
    if names and chosen.page:
        parser.error("--page needs all groups: leave out --only")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="benchmarks.") as folder:
        if chosen.detail:
            print(_detail(chosen.detail, Path(folder)))
            return 0
        extent = QUICK if chosen.quick else FULL
        if chosen.build:
            built()
        note = "; ".join(filter(None, ["a quick run" if chosen.quick else "", chosen.note]))
        run = this_run(this_machine(Path(folder)), extent.rounds, note)
        found = measure(Path(folder), extent, names, _say)
    rows, missing = found.rows, found.missing
    before = comparison.load(chosen.stored).get(run.machine.key)
    print(f"{table.head(run)}\n\n{table.text(rows, before, missing)}\n")
    if chosen.json:
        document = {"run": run, "rows": rows, "missing": missing}
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(document)))
    if chosen.store and not found.failed:
        comparison.store(run, rows, groups=names, path=chosen.stored)
    if chosen.page:
        table.write_page(table.markdown(run, rows, missing))
    if before is None:
        print("There is no stored table of this machine: --store writes one.")
        return 1 if found.failed else 0
    print(f"Compared with: {table.head(before.run)}")
    worse = [
        name for name, change in table.changes(rows, before).items() if change.verdict == "worse"
    ]
    if worse:
        print(f"More than {100 * comparison.WORSE:.0f} % worse: {', '.join(worse)}")
    return 1 if worse or found.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAMES", help=f"some of {_names()}"
    )
    parser.add_argument("--quick", action="store_true", help="less of everything: two minutes")
    parser.add_argument(
        "--store", action="store_true", help="store the rows as those of this machine"
    )
    parser.add_argument(
        "--stored",
        type=Path,
        default=comparison.STORED,
        metavar="FILE",
        help="the stored tables (default: those of the repository)",
    )
    parser.add_argument(
        "--page", action="store_true", help="write the table into the documentation"
    )
    parser.add_argument(
        "--build", action="store_true", help="build the executable first, for its rows"
    )
    parser.add_argument("--note", default="", help="a remark for the head of the table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".cache", help="the disk that the node writes to"
    )
    parser.add_argument(
        "--detail",
        choices=sorted(_DETAILS),
        help="measure one part at length instead, with a table of its own",
    )
    return parser


def _chain_detail(folder: Path) -> str:
    return chain_table(measure_idle_chain(ChainExtent(), folder, say=_say))


def _subscriptions_detail(folder: Path) -> str:
    return subscription_table(measure_subscriptions(SubscriptionExtent(), folder, say=_say))


def _containers_detail(folder: Path) -> str:
    return container_table(measure_containers(ContainerExtent(), folder, say=_say))


_DETAILS = {
    "chain": _chain_detail,
    "subscriptions": _subscriptions_detail,
    "containers": _containers_detail,
}


def _detail(name: str, folder: Path) -> str:
    return _DETAILS[name](folder)


def _names() -> str:
    return ", ".join(GROUPS)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
