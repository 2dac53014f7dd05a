"""Answers that are remembered: their age, their size, and requests at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infernet_edge.errors import Conflict, Unprocessable
from infernet_edge.jobs import idempotency
from infernet_edge.jobs.idempotency import KEPT_SECONDS, RememberedAnswers
from tests.support.managing import eventually
from tests.support.parts import Parts, working

SUM = b"s" * 32


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with working(tmp_path) as working_parts:
        yield working_parts


@pytest.fixture
def answers(parts: Parts) -> RememberedAnswers:
    return parts.store.answers


async def known(answers: RememberedAnswers, client: str, key: str, checksum: bytes = SUM) -> object:
    async with answers.request(client, key, checksum) as found:
        return found


async def save(answers: RememberedAnswers, key: str, answer: bytes = b"{}") -> None:
    await answers.save(answers.record("c", key, SUM, answer))


async def test_an_answer_belongs_to_its_client_and_key(answers: RememberedAnswers) -> None:
    await save(answers, "k", b'{"id":"1"}')
    assert await known(answers, "c", "k") == (b'{"id":"1"}', True)
    assert await known(answers, "c", "other") is None
    assert await known(answers, "d", "k") is None
    with pytest.raises(Unprocessable):
        await known(answers, "c", "k", b"another request")


async def test_a_long_answer_takes_little_space(answers: RememberedAnswers) -> None:
    long = b'[{"id":"%b"}]' % (b"x" * 100_000)
    await save(answers, "k", long)
    assert await known(answers, "c", "k") == (long, True)
    assert answers.bytes < 2000


async def test_it_is_forgotten_after_its_time(
    answers: RememberedAnswers, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = parts.elapsed.now()
    await save(answers, "old")
    monkeypatch.setattr(parts.elapsed, "now", lambda: now + KEPT_SECONDS * 1000 - 1000)
    await save(answers, "new")
    assert await known(answers, "c", "old") is not None
    monkeypatch.setattr(parts.elapsed, "now", lambda: now + KEPT_SECONDS * 1000 + 60_000)
    assert await known(answers, "c", "old") is None
    await answers.delete_expired()
    assert await known(answers, "c", "new") is not None
    assert answers.count == 1
    monkeypatch.setattr(parts.elapsed, "now", lambda: now + 3 * KEPT_SECONDS * 1000)
    await answers.delete_expired()
    assert (answers.count, answers.bytes) == (0, 0)


async def test_many_expired_ones_are_deleted(
    answers: RememberedAnswers, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "_AT_ONCE", 7)
    await asyncio.gather(*(save(answers, f"k{number}") for number in range(50)))
    now = parts.elapsed.now()
    monkeypatch.setattr(parts.elapsed, "now", lambda: now + 2 * KEPT_SECONDS * 1000)
    await answers.delete_expired()
    assert (answers.count, answers.bytes) == (0, 0)


async def test_their_size_is_bounded(answers: RememberedAnswers) -> None:
    answers.max_bytes = 10_000
    for number in range(500):
        await save(answers, f"k{number}")
    await eventually(lambda: answers.bytes <= 10_000)
    assert await known(answers, "c", "k0") is None
    assert await known(answers, "c", "k499") is not None
    assert 20 < answers.count < 200


async def test_they_are_counted_after_a_restart(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        for number in range(5):
            await save(parts.store.answers, f"k{number}")
        before = parts.store.answers.count, parts.store.answers.bytes
    async with working(tmp_path) as parts:
        answers = parts.store.answers
        assert (answers.count, answers.bytes) == before
        assert await known(answers, "c", "k3") == (b"{}", True)


async def test_the_same_request_waits_for_the_first(answers: RememberedAnswers) -> None:
    order: list[str] = []

    async def one(name: str) -> None:
        async with answers.request("c", "k", SUM) as found:
            order.append(name if found is None else f"{name} knows")
            await asyncio.sleep(0.02)
            await save(answers, "k")

    await asyncio.gather(*(one(name) for name in "abc"))
    assert order == ["a", "b knows", "c knows"]


async def test_it_does_not_wait_forever(
    answers: RememberedAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "_BUSY_TIME", 0.05)
    async with answers.request("c", "k", SUM):
        with pytest.raises(Conflict):
            await known(answers, "c", "k")
        assert await known(answers, "d", "k") is None
    assert await known(answers, "c", "k") is None
