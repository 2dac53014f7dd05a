"""Whenever `backup` or `restore` is killed, the node has its data, the previous or the new."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT


@pytest.mark.parametrize(("command", "at_least"), [("backup", 10), ("restore", 25)])
def test_a_kill_at_each_step(command: str, at_least: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.backup.kill_commands", command, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= at_least
