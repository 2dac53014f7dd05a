"""What a process has used."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

from tests.benchmarks.usage import cpu_seconds, forget_peak, peak

_THREADS = """
import sys, threading, time
def work():
    begin = time.thread_time()
    while time.thread_time() < begin + 0.2: pass
thread = threading.Thread(target=work)
thread.start(); thread.join()
print("done", flush=True)
sys.stdin.readline()
"""


def test_cpu_time_counts_threads_that_have_ended() -> None:
    command = [sys.executable, "-c", _THREADS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        found = cpu_seconds(process.pid)
        times = psutil.Process(process.pid).cpu_times()
        process.communicate(b"\n")
    assert found >= 0.2
    assert abs(found - times.user - times.system) < 0.05


def test_a_peak_is_forgotten() -> None:
    forget_peak(os.getpid())
    before = peak(os.getpid())
    block = bytearray(64 * 2**20)
    block[:: 2**12] = b"x" * len(block[:: 2**12])
    assert peak(os.getpid()) > before + 50 * 2**20
    del block
    forget_peak(os.getpid())
    assert peak(os.getpid()) < before + 30 * 2**20
