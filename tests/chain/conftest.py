from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.events import Events, listen


@pytest.fixture
def events() -> Iterator[Events]:
    """What the on-chain half logs."""
    with listen("infernet_edge.chain") as events:
        yield events
