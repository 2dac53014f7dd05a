"""A node with many finished jobs in its file beside one with few; and a backup of it under load."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import uvloop

from tests.benchmarks.bench import LONGEST, MEBIBYTE, Bench, config_for, drained, loaded
from tests.benchmarks.load import job, latencies, node_latencies, percentile
from tests.benchmarks.results import Line, Row, Samples
from tests.benchmarks.usage import memory
from tests.support.node import NodeProcess
from tests.support.process import ROOT

_MANY = 100_000
_BATCH = 100
_FEW = "few jobs"

LINES = (
    Line("growth.rate", "jobs/s, 100,000 jobs in the file", "1/s", floor=_FEW, more=True),
    Line("growth.cpu", "CPU per job, 100,000 jobs in the file", "µs", floor=_FEW),
    Line("growth.p50", "submit to result, p50, 100,000 jobs in the file", "ms", floor=_FEW),
    Line("growth.start", "start, 100,000 jobs in the file", "s", floor=_FEW, resolution=0.05),
    Line("growth.memory", "memory after it, PSS", "MiB", floor=_FEW),
    Line("growth.stored", "size of the files per job", "bytes", floor=""),
    Line(
        "growth.backup_rate",
        "jobs/s while a backup is made",
        "1/s",
        floor="without it",
        more=True,
    ),
    Line("growth.backup", "backup of 100,000 jobs under load", "s", floor="", resolution=0.2),
)


def measure_growth(bench: Bench) -> list[Row]:
    """Fills one node, then compares; the backups come last, in the same rounds."""
    samples = Samples()
    jobs = bench.extent.count(2000, 20)
    single = bench.extent.count(200, 5)
    with ExitStack() as stack:
        echo = stack.enter_context(bench.echo())
        config = config_for(echo.url)
        full = stack.enter_context(bench.node("full", config))
        few = stack.enter_context(bench.node("few", config))
        filled = _fill(full, bench.extent.count(_MANY, 200))
        samples.add("growth.stored", _size(full.data_path) / filled)
        for node in (full, few):
            loaded(node, jobs, 64)
        for number in bench.rounds():
            for node, who in ((full, "node"), (few, "floor"))[:: 1 if number % 2 else -1]:
                samples.add("growth.start", node.restart(), who)
                found = loaded(node, jobs, 64)
                samples.add("growth.rate", found.load.rate, who)
                samples.add("growth.cpu", found.cpu_microseconds, who)
                taken = uvloop.run(node_latencies(node.url, single))
                samples.add("growth.p50", percentile(taken, 50) * 1e3, who)
                samples.add("growth.memory", memory(node.pid).pss / MEBIBYTE, who)
            alone = loaded(full, jobs, 64)
            seconds, rate = _backup(bench, full, jobs)
            samples.add("growth.backup", seconds)
            samples.add("growth.backup_rate", rate)
            samples.add("growth.backup_rate", alone.load.rate, "floor")
    return samples.rows(LINES)


def _fill(node: NodeProcess, jobs: int) -> int:
    """Finished jobs, by batches; returns how many."""
    batches = jobs // _BATCH
    body = [job("echo")] * _BATCH
    sent = latencies(node.url, "/api/jobs/batch", body, count=batches, connections=4)
    uvloop.run(sent)
    uvloop.run(drained(node.url))
    return batches * _BATCH


def _size(folder: Path) -> int:
    """Bytes of the files on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _backup(bench: Bench, node: NodeProcess, jobs: int) -> tuple[float, float]:
    """Seconds of a backup, and jobs/s until both it and the jobs are done.

    The command runs on the core of the server, as on a small machine it would.
    """
    target = bench.folder / "backup.tar"
    command = ["taskset", "--cpu-list", str(bench.cores.server), sys.executable, "-m"]
    command += ["infernet_edge", "backup", str(target), "--config", str(node.config_path)]

    def run() -> float:
        begin = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST, check=False
        )
        assert done.returncode == 0, done.stderr
        return time.monotonic() - begin

    with ThreadPoolExecutor(1) as pool:
        begin, finished = time.monotonic(), 0
        backup = pool.submit(run)
        while not backup.done() or not finished:
            loaded(node, jobs // 2, 64)
            finished += jobs // 2
        rate = finished / (time.monotonic() - begin)
    seconds = backup.result()
    target.unlink()
    return seconds, rate
