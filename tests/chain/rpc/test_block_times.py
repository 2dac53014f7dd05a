"""How many polls it takes to notice blocks, and how late they are noticed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from infernet_edge.chain.rpc.block_times import BlockTimes

PERIOD = 0.5


class Polled(NamedTuple):
    """`worst`: the longest delay in seconds, once the first ten blocks are known."""

    polls_per_block: float
    worst: float


def poll(interval: Callable[[], float], blocks: int = 200) -> Polled:
    """Poll as BlockTimes says, while blocks come at these intervals."""
    times, now = BlockTimes(PERIOD), 1000.0
    times.note(now, 0)
    due, number, polls, worst = now, 0, 0, 0.0
    while number < blocks:
        due += interval()
        while now < due:
            now += times.pause(now)
            polls += 1
        number += 1
        times.note(now, 1)
        worst = max(worst, now - due) if number > 10 else 0.0
    return Polled(polls / blocks, worst)


@pytest.mark.parametrize("seconds", [1.0, 2.0, 12.0])
def test_regular_blocks_take_two_polls_and_are_noticed_within_a_period(seconds: float) -> None:
    polled = poll(lambda: seconds)
    assert polled.polls_per_block <= 2.2
    assert polled.worst <= PERIOD + 1e-6


def test_a_slot_without_a_block_does_not_make_a_chain_irregular() -> None:
    chance = random.Random(0)
    polled = poll(lambda: 24.0 if chance.random() < 0.05 else 12.0)
    assert polled.polls_per_block <= 4


def test_irregular_blocks_are_noticed_within_an_eighth_of_their_interval() -> None:
    chance = random.Random(0)
    intervals: list[float] = []

    def interval() -> float:
        intervals.append(chance.choice((1.0, 9.0, 20.0)))
        return intervals[-1]

    polled = poll(interval)
    assert polled.worst <= 20 / 8
    assert polled.polls_per_block <= 15


@pytest.mark.parametrize("known", [0, 3, 10])
def test_a_chain_that_stands_still_is_polled_rarely(known: int) -> None:
    """Whatever is known of it: a node may start when it stands still already."""
    times, now = BlockTimes(PERIOD), 1000.0
    times.note(now, 0)
    for _ in range(known):
        now += 12.0
        times.note(now, 1)
    polls, end = 0, now + 600
    while now < end:
        pause = times.pause(now)
        assert PERIOD <= pause <= 15.0
        now, polls = now + pause, polls + 1
    assert polls <= 220


def test_several_blocks_at_once_count_each() -> None:
    times = BlockTimes(PERIOD)
    times.note(100.0, 0)
    for number in range(1, 6):
        times.note(100.0 + number, 4)
    assert times.are_short
    assert times.pause(105.0) == PERIOD


def test_another_block_at_the_same_height_is_no_interval() -> None:
    times = BlockTimes(PERIOD)
    times.note(0.0, 0)
    for number in range(1, 6):
        times.note(number * 12.0, 1)
        times.note(number * 12.0 + 1, 0)
    assert times.seen_at == 61.0
    assert times.are_regular
