"""Podman's own generator of units, quadlet, from Debian 13: Podman of Debian 12 has none.

It is one program that needs the C library only, so it runs on Debian 12 too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.locks import only_one
from tests.support.podman import need
from tests.support.process import ROOT

_SUITE = "trixie"
_PLACE = "usr/libexec/podman/quadlet"


def generated(units: Path) -> str:
    """What the generator makes of the units in a folder; AssertionError when it complains."""
    done = subprocess.run(
        [str(_program()), "-dryrun"],
        env={**os.environ, "QUADLET_UNIT_DIRS": str(units)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [
        line for line in done.stderr.splitlines() if "Loading source unit file" not in line
    ]
    assert done.returncode == 0, done.stderr
    assert not complaints, complaints
    return done.stdout


def _program() -> Path:
    """Fetched once; some 25 seconds."""
    program = ROOT / ".cache/tests/quadlet"
    with only_one(program.with_suffix(".lock")):
        if not program.exists():
            need("mmdebstrap")
            root = program.with_suffix(".part")
            shutil.rmtree(root, ignore_errors=True)
            done = subprocess.run(
                [
                    *("mmdebstrap", "--quiet", "--variant=extract", "--include=podman"),
                    *("--dpkgopt=path-exclude=/usr/share/*", _SUITE, str(root)),
                ],
                capture_output=True,
                text=True,
                timeout=110,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            shutil.move(root / _PLACE, program)
            shutil.rmtree(root)
    return program
