"""The build for ARM64 can still be made; making it takes minutes and is not part of the tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.podman import need

BUILD = Path(__file__).with_name("build_arm64")


@pytest.mark.executable
@pytest.mark.timeout(180)
def test_all_that_the_build_needs_can_be_had() -> None:
    for program in ("mmdebstrap", "qemu-aarch64-static"):
        need(program)
    done = subprocess.run(
        [BUILD, "--check"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr
    assert "all is there" in done.stderr
