"""The slow disk and the quarter of a core are what they say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.groups import slow
from tests.benchmarks.usage import cpu_seconds

_FSYNC = """
import os, sys, time
with open(sys.argv[1], "wb") as file:
    for call in (os.fsync, os.fdatasync):
        begin = time.perf_counter()
        call(file.fileno())
        print(time.perf_counter() - begin)
"""


def test_fsync_takes_20_ms(tmp_path: Path) -> None:
    library = slow.library(tmp_path)
    env = os.environ | {"LD_PRELOAD": str(library), "FSYNC_DELAY_MS": "20"}
    command = [sys.executable, "-c", _FSYNC, str(tmp_path / "file")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=True)
    taken = [float(line) for line in done.stdout.split()]
    assert len(taken) == 2
    assert all(each >= 0.02 for each in taken)


@pytest.fixture
def busy() -> Iterator[int]:
    """A process that takes all the CPU it gets."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize("cgroups", [True, False])
def test_a_quarter_of_a_core(busy: int, cgroups: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not cgroups:
        monkeypatch.setattr(slow, "_group", lambda pid: None)
    with slow.quarter_of_a_core(busy):
        time.sleep(0.1)
        before, begin = cpu_seconds(busy), time.monotonic()
        time.sleep(0.35)
        part = (cpu_seconds(busy) - before) / (time.monotonic() - begin)
    assert part < 0.5
    before, begin = cpu_seconds(busy), time.monotonic()
    while cpu_seconds(busy) - before < 0.1:  # it runs on
        assert time.monotonic() < begin + 30
        time.sleep(0.01)
