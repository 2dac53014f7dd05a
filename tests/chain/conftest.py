from __future__ import annotations

from collections.abc import Iterator

import pytest

from infernet_edge.chain import chain
from infernet_edge.chain.delivery import processor, steps
from infernet_edge.chain.rpc import retry
from infernet_edge.chain.rpc.state import health, rate
from infernet_edge.chain.subscriptions import listener
from infernet_edge.chain.subscriptions import scheduler as schedule
from tests.support.events import Events, listen


@pytest.fixture
def events() -> Iterator[Events]:
    """What the on-chain half logs."""
    with listen("infernet_edge.chain") as events:
        yield events


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for seconds before another try waits for a moment in these tests."""
    for module, first, longest in (
        (processor, 0.05, 0.2),
        (steps, 0.05, 0.2),
        (rate, 0.05, 0.2),
    ):
        monkeypatch.setattr(module, "_FIRST_PAUSE", first)
        monkeypatch.setattr(module, "_MAX_PAUSE", longest)
    monkeypatch.setattr(rate, "_MIN_RATE", 5.0)
    monkeypatch.setattr(health, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(listener, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(retry, "MAX_OUTAGE_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(schedule, "_PAUSE", 0.2)
    monkeypatch.setattr(chain, "_CHECK_TIMEOUT", 2.0)
