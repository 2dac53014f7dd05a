"""Ids of jobs."""

from __future__ import annotations

import itertools
import time
import uuid

import pytest

from infernet_edge.jobs.identifiers import (
    JobIds,
    first_not_before,
    from_text,
    moment_of,
    to_text,
    to_texts,
)


class Clock:
    """Stands in for time.time_ns; `at` is in milliseconds."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self) -> int:
        return self.at * 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(1_800_000_000_000)
    monkeypatch.setattr(time, "time_ns", clock)
    return clock


def grow(ids: list[bytes]) -> bool:
    return all(first < second for first, second in itertools.pairwise(ids))


def test_ids_are_uuids_of_version_4() -> None:
    ids = JobIds()
    for _ in range(10_000):
        parsed = uuid.UUID(bytes=ids.next())
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122


def test_ids_grow_when_the_clock_is_set(clock: Clock) -> None:
    ids = JobIds()
    made = []
    for step in (0, 0, 1, -1, -1_000_000, 5, 1_000_000, 0, -1, 3_600_000, -3_600_000, 0):
        clock.at += step
        made += [ids.next() for _ in range(3)]
    assert grow(made)


def test_ids_grow_when_more_come_than_a_millisecond_counts(clock: Clock) -> None:
    ids = JobIds()
    made = [ids.next() for _ in range(20_000)]
    clock.at += 1
    made += [ids.next() for _ in range(20_000)]
    assert grow(made)
    assert len({identifier[:8] for identifier in made}) == len(made)


@pytest.mark.parametrize("later", [-10_000_000, -1, 0, 1, 10_000_000])
def test_ids_grow_over_a_restart(clock: Clock, later: int) -> None:
    before = JobIds()
    made = [before.next() for _ in range(5000)]
    clock.at += later
    after = JobIds(made[-1])
    assert grow(made + [after.next() for _ in range(5000)])


def test_the_random_part_differs(clock: Clock) -> None:
    assert len({JobIds().next() for _ in range(100)}) == 100


def test_the_time_can_be_read_from_an_id(clock: Clock) -> None:
    assert int.from_bytes(JobIds().next()[:6]) == clock.at


def test_text() -> None:
    identifier = JobIds().next()
    assert to_text(identifier) == str(uuid.UUID(bytes=identifier))
    assert from_text(to_text(identifier)) == identifier
    assert from_text(to_text(identifier).upper()) == identifier


@pytest.mark.parametrize("text", ["", "x", "1234", "g" * 32, "1" * 31, "ü" * 36, "1" * 10_000])
def test_text_that_is_no_id(text: str) -> None:
    assert from_text(text) is None


@pytest.mark.parametrize("text", ["", "0", "~", "ffffffff", "018f"])
def test_ids_are_in_the_order_of_time_and_text(text: str) -> None:
    ids = JobIds()
    keys = [ids.next() for _ in range(300)]
    moments = {moment_of(key) for key in keys}
    others = [to_text(keys[7])[:-3], to_text(keys[9]) + "x"]
    texts = [text, *others, *(to_text(key) for key in keys[::40])]
    for moment in moments:
        for other in texts:
            bound = first_not_before(moment, other)
            for key in keys:
                assert (key < bound) == ((moment_of(key), to_text(key)) < (moment, other))


def test_many_texts_at_once() -> None:
    ids = JobIds()
    keys = [bytes(16), *(ids.next() for _ in range(100)), b"\xff" * 16]
    expected = [to_text(key) for key in keys]
    assert to_texts(b"".join(keys).hex()) == expected
    assert to_texts(b"".join(keys).hex().upper()) == expected
    assert to_texts("") == []
