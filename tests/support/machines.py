"""The machines of tests/fixtures/machines: what their /proc, /sys and py-cpuinfo say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "fixtures" / "machines"


def root_of(machine: str) -> Path:
    """The folder that stands for the machine's /."""
    return FOLDER / machine


def architecture_of(machine: str) -> str:
    """What `uname -m` says there."""
    return (FOLDER / machine / "architecture").read_text().strip()


def py_cpuinfo_of(machine: str) -> dict[str, Any]:
    """What py-cpuinfo finds there."""
    said: dict[str, Any] = json.loads((FOLDER / machine / "py-cpuinfo.json").read_text())
    return said
