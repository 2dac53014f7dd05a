"""__init__.py and the changelog agree on this version."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from infernet_edge import RELEASED, __version__
from tests.support.process import ROOT


def test_version_and_day_are_those_of_the_changelog() -> None:
    newest = re.search(r"^## \[(\S+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__
    assert newest[2] in ("unreleased", RELEASED)
    # Otherwise the doctor would report every correct clock as wrong.
    assert date.fromisoformat(RELEASED) <= datetime.now(UTC).date()
