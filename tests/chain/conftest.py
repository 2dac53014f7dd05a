"""The fixtures `anvil`, `v1`, `v0` and `events`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.events import Events, listen
from tests.support.evm import anvil_fixture, v0_fixture, v1_fixture

__all__ = ["anvil_fixture", "events", "v0_fixture", "v1_fixture"]


@pytest.fixture
def events() -> Iterator[Events]:
    """What the on-chain half logs."""
    with listen("infernet_edge.chain") as events:
        yield events
