"""What __init__.py says of this version, the changelog says too."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from infernet_edge import RELEASED, __version__
from tests.support.process import ROOT


def test_version_and_day_are_those_of_the_changelog() -> None:
    newest = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__
    assert newest[2] in ("unreleased", RELEASED)
    # Else the doctor would take every right clock for a wrong one.
    assert date.fromisoformat(RELEASED) <= datetime.now(UTC).date()
