"""Signals that stop a command: one gracefully, another Ctrl+C at once."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.process import ROOT

COMMAND = """
import asyncio, os, signal, sys, time
from infernet_edge.cli.interrupts import Interrupts

async def main():
    Interrupts(
        (signal.SIGINT, signal.SIGTERM),
        lambda number: print("stop", number, flush=True),
        lambda: print("abort", flush=True),
    )
    for pause, number in zip(sys.argv[1::2], sys.argv[2::2]):
        await asyncio.sleep(float(pause))
        os.kill(os.getpid(), int(number))
    await asyncio.sleep(0.1)
    print("end")

asyncio.run(main())
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("signals", "code", "output"),
    [
        (["0", "2"], 0, ["stop 2", "end"]),
        (["0", "15", "0.6", "15"], 0, ["stop 15", "end"]),
        # The one-file executable passes on what both of its processes get.
        (["0", "2", "0.05", "2"], 0, ["stop 2", "end"]),
        (["0", "2", "0.6", "2"], -signal.SIGINT, ["stop 2", "abort"]),
        (["0", "15", "0.6", "2"], -signal.SIGINT, ["stop 15", "abort"]),
    ],
)
def test_signals(signals: list[str], code: int, output: list[str]) -> None:
    done = run(COMMAND, *signals)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (code, output, "")


BEFORE = """
import os, signal, sys
from infernet_edge.cli.interrupts import end_until_handled
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
end_until_handled()
os.kill(os.getpid(), signal.SIGINT)
print("continues")
"""


@pytest.mark.parametrize(
    ("before", "code", "output"),
    # Shells start jobs in the background with SIGINT ignored.
    [("default_int_handler", -signal.SIGINT, ""), ("SIG_IGN", 0, "continues\n")],
)
def test_before_they_are_handled(before: str, code: int, output: str) -> None:
    done = run(BEFORE, before)
    assert (done.returncode, done.stdout, done.stderr) == (code, output, "")


def test_ctrl_c_while_modules_are_imported_prints_nothing() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import infernet_edge.__main__; os.kill(os.getpid(), signal.SIGINT)"
    )
    done = run(code)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
