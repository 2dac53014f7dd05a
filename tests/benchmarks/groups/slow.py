"""Slow machines: a disk that needs 20 ms for each fsync, and a quarter of a core."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from tests.benchmarks.bench import Bench, Unavailable, loaded, subject
from tests.benchmarks.load import job, latencies, node_latencies, percentile
from tests.benchmarks.results import Line, Row, Samples
from tests.support.process import ServerProcess

_DELAY = 20  # milliseconds
_SOURCE = Path(__file__).with_name("slow_fsync.c")
_PERIOD = 0.1  # seconds
_PART = 0.25

DISK_LINES = (
    Line("slow_disk.64", "jobs/s, 64 clients, fsync takes 20 ms", "1/s", more=True),
    Line("slow_disk.4", "jobs/s, 4 clients, fsync takes 20 ms", "1/s", more=True),
    Line("slow_disk.p50", "submit to result, p50, fsync takes 20 ms", "ms"),
)

CORE_LINES = (
    Line("slow_core.64", "jobs/s, 64 clients, a quarter of a core", "1/s", more=True),
    Line("slow_core.p50", "submit to result, p50, a quarter of a core", "ms"),
)


def measure_slow_disk(bench: Bench) -> list[Row]:
    """The node with a preloaded library that delays fsync and fdatasync; the floor has no disk."""
    samples = Samples()
    preloaded = library(bench.folder)
    env = {"LD_PRELOAD": str(preloaded), "FSYNC_DELAY_MS": str(_DELAY)}
    with bench.pair("slow_disk", env=env) as pair:
        for number in bench.rounds():
            for server in pair.turns(number):
                who = subject(server)
                for clients, usual in ((64, 1000), (4, 100)):
                    found = loaded(server, bench.extent.count(usual, 10), clients)
                    samples.add(f"slow_disk.{clients}", found.load.rate, who)
                taken = _single(server, bench.extent.count(30, 3))
                samples.add("slow_disk.p50", percentile(taken, 50) * 1e3, who)
    return samples.rows(DISK_LINES)


def measure_slow_core(bench: Bench) -> list[Row]:
    """Both with a quarter of a core: by a cgroup, or stopped for three quarters of the time."""
    samples = Samples()
    with bench.pair("slow_core") as pair:
        for number in bench.rounds():
            for server in pair.turns(number):
                who = subject(server)
                with quarter_of_a_core(server.pid):
                    found = loaded(server, bench.extent.count(500, 20), 64)
                    taken = _single(server, bench.extent.count(100, 5))
                samples.add("slow_core.64", found.load.rate, who)
                samples.add("slow_core.p50", percentile(taken, 50) * 1e3, who)
    return samples.rows(CORE_LINES)


def _single(server: ServerProcess, count: int) -> list[float]:
    if subject(server) == "node":
        return uvloop.run(node_latencies(server.url, count))
    return uvloop.run(latencies(server.url, "/api/jobs", job("echo"), count=count))


def library(folder: Path) -> Path:
    """Compile the library that delays fsync. Raises Unavailable without a C compiler."""
    library = folder / "slow_fsync.so"
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        raise Unavailable("cc is missing: install the package gcc") from None
    return library


@contextmanager
def quarter_of_a_core(pid: int) -> Iterator[None]:
    """A process gets a quarter of a core as long as the block runs."""
    if (group := _group(pid)) is None:
        with _stopped_in_turn(pid):
            yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            (group.parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def _group(pid: int) -> Path | None:
    """Move a process to a cgroup with a limit; None where that is not permitted."""
    unified = Path("/sys/fs/cgroup")
    old = unified / "cpu"
    group = (old if old.is_dir() else unified) / f"infernet-edge-benchmark-{pid}"
    quota, period = round(_PERIOD * _PART * 1e6), round(_PERIOD * 1e6)
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        if old.is_dir():
            (group / "cpu.cfs_period_us").write_text(str(period))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {period}")
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        group.rmdir()
        return None
    return group


@contextmanager
def _stopped_in_turn(pid: int) -> Iterator[None]:
    """Without cgroups: SIGSTOP and SIGCONT in turn."""
    done = threading.Event()

    def stop_and_continue() -> None:
        while not done.wait(_PERIOD * _PART):
            os.kill(pid, signal.SIGSTOP)
            done.wait(_PERIOD * (1 - _PART))
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stop_and_continue)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
