"""Which logs are kept, and from which block on they are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.chain.subscriptions import log_cursor
from infernet_edge.chain.subscriptions.log_cursor import LogCursor, LogsRead

DEPTH = 2


def log(block: int) -> dict[str, Any]:
    return {"blockNumber": hex(block)}


@pytest.fixture
def cursor() -> LogCursor:
    """One that has read the logs up to block 98."""
    made = LogCursor(DEPTH)
    assert made.first_block(None) == "latest"
    assert made.take(100, []) is LogsRead.STARTED
    assert made.incomplete, "what earlier logs said is not known"
    made.incomplete = False
    return made


def blocks(cursor: LogCursor) -> list[int]:
    return [int(each["blockNumber"], 16) for each in cursor.waiting]


def test_logs_are_kept_once_when_they_are_deep_enough(cursor: LogCursor) -> None:
    assert cursor.first_block(100) == hex(99)
    answer = [log(each) for each in (97, 98, 99, 100, 101)]
    assert cursor.take(102, answer) is LogsRead.FOUND
    assert blocks(cursor) == [99, 100]
    assert cursor.first_block(102) == hex(101)
    assert cursor.take(102, answer) is LogsRead.NOTHING
    assert cursor.take(103, answer) is LogsRead.FOUND
    assert blocks(cursor) == [99, 100, 101]
    cursor.handled(2)
    assert blocks(cursor) == [101]
    assert not cursor.incomplete


def test_blocks_that_the_server_does_not_have_are_not_asked_for(cursor: LogCursor) -> None:
    cursor.take(110, [])
    assert cursor.first_block(105) == hex(105)


@pytest.mark.parametrize("answer", [None, "0x", {"code": -32005}])
def test_logs_that_a_server_does_not_give_are_asked_for_again(
    cursor: LogCursor, answer: Any
) -> None:
    assert cursor.take(600, answer) is LogsRead.NOTHING
    assert cursor.first_block(600) == hex(99)
    assert cursor.take(601, answer) is LogsRead.MISSED, "more than 500 blocks"
    assert cursor.incomplete
    assert cursor.first_block(601) == hex(600)


def test_questions_that_stay_unanswered_ask_for_less(cursor: LogCursor) -> None:
    """The batch with them fails as a whole, so that no answer comes."""
    assert [cursor.first_block(100) for _ in range(4)] == [hex(99)] * 3 + ["latest"]
    assert cursor.take(120, []) is LogsRead.STARTED
    assert cursor.incomplete
    assert cursor.first_block(120) == hex(119)


def test_more_logs_than_are_kept_are_incomplete(
    cursor: LogCursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_cursor, "_MAX_LOGS", 2)
    assert cursor.take(104, [log(99), log(100), log(101)]) is LogsRead.FOUND
    assert blocks(cursor) == [99, 100]
    assert cursor.incomplete


@pytest.mark.parametrize("bad", [None, 7, {}, {"blockNumber": None}, {"blockNumber": "much"}])
def test_a_malformed_log_does_not_stand_in_the_way(cursor: LogCursor, bad: Any) -> None:
    assert cursor.take(102, [bad, log(99)]) is LogsRead.FOUND
    assert blocks(cursor) == [99]


def test_after_a_reorg_the_logs_of_replaced_blocks_are_read_again(cursor: LogCursor) -> None:
    cursor.take(110, [log(105)])
    cursor.rewind(104)
    assert cursor.incomplete
    assert cursor.first_block(104) == hex(103)
    cursor.take(106, [log(102), log(103)])
    assert blocks(cursor) == [105, 103]


def test_a_rewind_to_blocks_that_are_not_read_yet_changes_nothing(cursor: LogCursor) -> None:
    cursor.rewind(500)
    assert cursor.first_block(500) == hex(99)
