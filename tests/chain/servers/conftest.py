from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def short_pauses() -> None:
    """The node's own pauses: they are a part of what is measured here."""
