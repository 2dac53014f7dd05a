"""Who waits for a transaction gets its outcome, whenever that was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infernet_edge.chain.txm import outcomes as module
from infernet_edge.chain.txm.store import TransactionOutcome
from tests.support.evm import Anvil
from tests.support.sending import Sending


@pytest.fixture
async def sending(tmp_path: Path, anvil: Anvil) -> AsyncIterator[Sending]:
    async with Sending(tmp_path, anvil) as parts:
        anvil.set_automine(False)
        yield parts


async def soon(task: asyncio.Task[TransactionOutcome | None]) -> TransactionOutcome:
    outcome = await asyncio.wait_for(task, 10)
    assert outcome is not None
    return outcome


async def test_each_waits_for_its_own(sending: Sending) -> None:
    outcomes = sending.sender.outcomes
    hashes = {key: await sending.mint(key) for key in ("one", "two")}
    tasks = {key: asyncio.create_task(outcomes.wait(key)) for key in hashes}
    await sending.poll()
    assert not any(task.done() for task in tasks.values())
    await sending.settle(*hashes)
    for key, task in tasks.items():
        outcome = await soon(task)
        assert (outcome.status, outcome.hash) == ("mined", hashes[key])


async def test_what_reverts_is_reported_with_its_reason(sending: Sending) -> None:
    outcomes = sending.sender.outcomes
    await sending.mint("key", gas=30_000)  # too little
    task = asyncio.create_task(outcomes.wait("key"))
    await sending.settle("key")
    outcome = await soon(task)
    assert outcome.status == "reverted"
    assert "gas" in outcome.reason


async def test_who_asks_later_is_reported_at_once(sending: Sending) -> None:
    await sending.mint("key")
    [known] = await sending.settle("key")
    assert await sending.sender.outcomes.wait("key") == known


async def test_nobody_waits_for_what_was_never_sent(sending: Sending) -> None:
    assert await sending.sender.outcomes.wait("key") is None


@pytest.mark.parametrize("mined", [True, False])
async def test_a_transaction_of_an_earlier_run(sending: Sending, mined: bool) -> None:
    hash_ = await sending.mint("key")
    if mined:
        await sending.settle("key")
    await sending.restart()
    task = asyncio.create_task(sending.sender.outcomes.wait("key"))
    if not mined:
        await sending.poll()
        assert not task.done()
        await sending.settle("key")
    outcome = await soon(task)
    assert (outcome.status, outcome.hash) == ("mined", hash_)


async def test_a_transaction_that_many_came_after(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the store, not in memory any more."""
    monkeypatch.setattr(module, "_REMEMBERED", 1)
    hashes = []
    for number in range(3):
        hashes.append(await sending.mint(f"key {number}"))
        await sending.settle(f"key {number}")
    assert sending.sender.outcomes.recent("key 0") is None
    outcome = await asyncio.wait_for(sending.sender.outcomes.wait("key 0"), 10)
    assert outcome is not None
    assert outcome.hash == hashes[0]


async def test_who_goes_away_is_not_told(sending: Sending) -> None:
    outcomes = sending.sender.outcomes
    hash_ = await sending.mint("key")
    task = asyncio.create_task(outcomes.wait("key"))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await sending.settle("key")
    outcome = await asyncio.wait_for(outcomes.wait("key"), 10)
    assert outcome is not None
    assert outcome.hash == hash_
