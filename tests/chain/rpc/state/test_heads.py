from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.chain.rpc.errors import RpcError
from infernet_edge.chain.rpc.state.heads import HeadState
from tests.support.clock import Clock


def block(number: int, interval: int = 12) -> dict[str, str]:
    return {"number": hex(number), "timestamp": hex(number * interval)}


def follow(state: HeadState, clock: Clock, interval: float, blocks: int = 8) -> int:
    """Poll each second while blocks come in intervals."""
    begin = clock.now
    number = 0
    while number < blocks:
        clock.now += 1
        number = int((clock.now - begin) // interval)
        state.note(block(100 + number))
    return 100 + number


@pytest.mark.parametrize(("interval", "still"), [(1, 5), (2, 5), (12, 30)])
def test_a_head_stands_still_when_blocks_came_sooner(interval: float, still: float) -> None:
    clock = Clock()
    state = HeadState(clock)
    number = follow(state, clock, interval)
    for _ in range(int(still) - 1):
        clock.now += 1
        state.note(block(number))
        assert not state.stands_still
    clock.now += 3
    state.note(block(number))
    assert state.stands_still
    state.note(block(number + 1))
    assert not state.stands_still


def test_a_head_that_is_not_asked_for_does_not_stand_still() -> None:
    clock = Clock()
    state = HeadState(clock)
    number = follow(state, clock, 2)
    clock.now += 3600
    assert not state.stands_still
    state.note(block(number))
    assert not state.stands_still


def test_it_is_behind_when_another_moves_on() -> None:
    clock = Clock()
    own, other = HeadState(clock), HeadState(clock)
    number = follow(own, clock, 2)
    other.note(block(number + 1))
    assert not own.is_behind(other), "for a moment"
    assert own.has_reached(other)
    clock.now += 8
    own.note(block(number))
    other.note(block(number + 4))
    assert own.is_behind(other)
    assert not own.has_reached(other)
    own.note(block(number + 3))
    assert not own.is_behind(other)


def test_it_is_behind_by_the_time_of_the_blocks_while_it_moves() -> None:
    clock = Clock()
    own, other = HeadState(clock), HeadState(clock)
    own.note(block(100))
    other.note(block(110))
    assert own.is_behind(other)


def test_a_server_that_is_syncing() -> None:
    state = HeadState(Clock())
    state.note(None)
    assert state.is_null
    assert "syncing" in state.problem
    assert not state.has_reached(HeadState(Clock()))
    state.note(RpcError(-32000, "oh"))
    state.note(block(5))
    assert state.problem == ""


def test_what_is_no_block_says_nothing() -> None:
    state = HeadState(Clock())
    answers: list[Any] = ["0x5", [], {}, {"number": 5, "timestamp": "0x1"}]
    for answer in answers:
        state.note(answer)
    assert state.head is None
    assert not state.stands_still
