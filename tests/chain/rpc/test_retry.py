from __future__ import annotations

import math

import pytest

from infernet_edge.chain.rpc import retry
from infernet_edge.chain.rpc.retry import RetryPauses


@pytest.fixture(autouse=True)
def usual_pauses(short_pauses: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits here."""
    monkeypatch.setattr(retry, "MAX_OUTAGE_PAUSE_SECONDS", 5.0)


def test_pauses_grow_up_to_five_seconds() -> None:
    pauses = RetryPauses(1.0)
    assert [pauses.next() for _ in range(6)] == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    pauses.reset()
    assert pauses.next() == 1.0


def test_a_first_pause_beyond_the_limit() -> None:
    assert RetryPauses(20.0).next() == 5.0


def test_a_limit_of_its_own() -> None:
    pauses = RetryPauses(10.0, 30.0)
    assert [pauses.next() for _ in range(3)] == [10.0, 20.0, 30.0]


def test_the_time_that_a_server_names_is_kept() -> None:
    pauses = RetryPauses(1.0)
    assert pauses.next(40.0) == 40.0
    assert pauses.next(0.5) == 2.0


@pytest.mark.parametrize(
    ("due_in", "pause"), [(3.0, 3.0), (0.2, 0.2), (0.0, 5.0), (-7.0, 5.0), (math.inf, 5.0)]
)
def test_no_pause_goes_past_what_is_due(due_in: float, pause: float) -> None:
    """What is due at once, or was, does not end the pauses: then there would be none."""
    pauses = RetryPauses(1.0)
    for _ in range(5):
        pauses.next()
    assert pauses.next(due_in=due_in) == pause


def test_what_is_due_comes_before_the_time_that_a_server_names() -> None:
    assert RetryPauses(1.0).next(40.0, 9.0) == 9.0
