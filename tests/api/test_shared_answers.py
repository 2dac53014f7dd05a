"""Answers that several requests share."""

from __future__ import annotations

import asyncio

import pytest

from infernet_edge.api import shared_answers
from infernet_edge.api.shared_answers import MAX_KEPT, MAX_KEPT_BYTES, SharedAnswers


class Maker:
    """Makes answers, each another one; `hold` lets them wait, `error` fails them."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: Exception | None = None
        self.size = 0

    async def __call__(self, question: str) -> bytes:
        self.made.append(question)
        number = len(self.made)
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return b"%b %d" % (question.encode(), number) + b"x" * self.size


async def test_requests_that_overlap_share_one() -> None:
    maker = Maker()
    maker.go_on.clear()
    answers = SharedAnswers(maker)
    asking = [asyncio.create_task(answers.get(question)) for question in ("a", "a", "b", "a")]
    await asyncio.sleep(0.01)
    maker.go_on.set()
    assert await asyncio.gather(*asking) == [b"a 1", b"a 1", b"b 2", b"a 1"]


async def test_it_is_kept_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_answers, "KEPT_SECONDS", 0.2)
    maker = Maker()
    answers = SharedAnswers(maker)
    assert [await answers.get("a") for _ in range(3)] == [b"a 1"] * 3
    await asyncio.sleep(0.3)
    assert await answers.get("a") == b"a 2"


async def test_a_failure_is_not_shared() -> None:
    maker = Maker()
    answers = SharedAnswers(maker)
    maker.go_on.clear()
    maker.error = ValueError("no")
    asking = [asyncio.create_task(answers.get("a")) for _ in range(2)]
    await asyncio.sleep(0.01)
    maker.go_on.set()
    assert [type(each) for each in await asyncio.gather(*asking, return_exceptions=True)] == [
        ValueError,
        ValueError,
    ]
    assert maker.made == ["a", "a"]
    maker.error = None
    assert await answers.get("a") == b"a 3"


async def test_a_request_that_is_cancelled_leaves_the_others_an_answer() -> None:
    maker = Maker()
    answers = SharedAnswers(maker)
    maker.go_on.clear()
    first, second = (asyncio.create_task(answers.get("a")) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    maker.go_on.set()
    assert await second == b"a 2"


async def test_few_and_short_ones_are_kept() -> None:
    maker = Maker()
    answers = SharedAnswers(maker)
    for number in range(MAX_KEPT + 1):
        await answers.get(str(number))
    await answers.get(str(MAX_KEPT))
    await answers.get("1")
    assert len(maker.made) == MAX_KEPT + 1
    await answers.get("0")  # the oldest was dropped
    assert len(maker.made) == MAX_KEPT + 2
    maker.size = MAX_KEPT_BYTES
    await answers.get("long")
    await answers.get("long")
    assert len(maker.made) == MAX_KEPT + 4
