"""What the decision sees of a container."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infernet_edge.config.model import Container
from infernet_edge.containers.service import Service
from infernet_edge.containers.sleeping.decision import State
from infernet_edge.containers.sleeping.member import MAX_TURN, Member
from infernet_edge.containers.timing import Timing


class Queue:
    """The queue of a container."""

    is_closed = True

    def __init__(self, used: int = 0, waiting: int = 0) -> None:
        self.used, self.waiting = used, waiting

    def watch(self, on_change: Callable[[], None] | None) -> None:
        """Nothing changes."""

    def close(self) -> None:
        self.is_closed = True

    def open(self) -> None:
        self.is_closed = False


def member(used: int = 0, waiting: int = 0) -> Member:
    container = Container(id="a", image="x", exclusive="gpu0", idle_timeout=60.0)
    return Member(Service(container, managed=True), Queue(used, waiting), Timing())


@pytest.mark.parametrize(
    ("start_seconds", "turn"), [(0.0, 30.0), (7.0, 30.0), (20.0, 80.0), (1000.0, MAX_TURN)]
)
def test_a_turn_is_longer_where_starts_are_slow(start_seconds: float, turn: float) -> None:
    made = member()
    made.start_seconds = start_seconds
    assert made.standing("a", Timing().turn, can_start=True).turn == turn


def test_its_settings_and_jobs_are_seen() -> None:
    seen = member(used=1).standing("x", 30, can_start=True)
    assert (seen.id, seen.group, seen.idle_timeout) == ("x", "gpu0", 60.0)
    assert (seen.is_running, seen.is_waiting, seen.may_displace) == (True, False, True)
    idle = member()
    idle.wanted_since = 5.0
    seen = idle.standing("x", 30, can_start=True)
    assert (seen.is_busy, seen.may_displace, seen.wanted_since) == (False, False, 5.0)
    assert idle.standing("x", 30, can_start=False).wanted_since is None
    idle.by_operator = True
    assert idle.standing("x", 30, can_start=True).may_displace


def test_a_start_is_abandoned_without_the_jobs_that_it_is_for() -> None:
    started = member(waiting=1)
    started.state, started.for_jobs = "waking", True
    assert not started.standing("x", 30, can_start=True).is_abandoned
    cases: list[tuple[State, bool]] = [("waking", True), ("waking", False), ("awake", True)]
    for state, for_jobs in cases:
        left = member()
        left.state, left.for_jobs = state, for_jobs
        expected = state == "waking" and for_jobs
        assert left.standing("x", 30, can_start=True).is_abandoned is expected


def test_a_removed_one_counts_until_its_container_is_gone() -> None:
    removed = member()
    removed.is_removed = True
    assert removed.standing("x", 30, can_start=False).state == "asleep"
    removed.state = "awake"
    assert removed.standing("x", 30, can_start=False).state == "stopping"
