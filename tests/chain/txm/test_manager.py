from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from infernet_edge.chain.rpc.client import RpcUnavailable
from tests.support.events import Events
from tests.support.evm import ALICE, NODE, OTHER_NODE, Anvil
from tests.support.sending import GAS, Sending

GWEI = 10**9


async def test_a_transaction_is_sent_and_followed_to_its_end(
    sending: Sending, anvil: Anvil, events: Events
) -> None:
    hash_ = await sending.mint("one")
    [outcome] = await sending.settle("one", mine=False)
    receipt = anvil.receipt(hash_)
    assert receipt is not None
    assert (outcome.status, outcome.hash, outcome.reason) == ("mined", hash_, "")
    assert (outcome.block, outcome.gas_used) == (receipt.block, receipt.gas_used)
    assert sending.outcomes == [("one", outcome)]
    assert len(sending.sender.in_flight.by_key) == 0
    transaction = anvil.transaction(hash_)
    assert transaction is not None
    assert transaction["type"] == "0x2"
    [sent] = events.of("transaction.sent")
    assert sent["key"] == "one"
    assert sent["hash"] == hash_
    assert sent["nonce"] == 0
    assert sent["gas"] == GAS
    assert sent["max_fee"] == int(transaction["maxFeePerGas"], 16)
    [mined] = events.of("transaction.mined")
    assert (mined["key"], mined["hash"], mined["block"]) == ("one", hash_, outcome.block)


async def test_the_same_key_is_one_transaction(sending: Sending) -> None:
    hashes = await asyncio.gather(*(sending.mint("one") for _ in range(5)))
    hashes.append(await sending.mint("one"))
    await sending.settle("one")
    hashes.append(await sending.mint("one"))
    await sending.restart()
    hashes.append(await sending.mint("one"))
    assert len(set(hashes)) == 1
    assert await sending.sender.find("one") == hashes[0]
    assert await sending.sender.find("two") is None
    assert sending.minted == 1


async def test_an_outcome_is_remembered_by_the_next_run(sending: Sending) -> None:
    await sending.mint("one")
    [outcome] = await sending.settle("one")
    await sending.restart()
    assert sending.sender.outcomes.recent("one") == outcome
    assert sending.sender.outcomes.recent("two") is None
    assert len(sending.outcomes) == 1, "it was stored once"


async def test_what_was_damaged_on_the_disk_is_not_sent(
    sending: Sending, anvil: Anvil, events: Events
) -> None:
    """Those who wanted it send it again, with a nonce that is free."""
    anvil.set_automine(on=False)
    await sending.mint("one")
    await sending.sender.stop()
    change = "UPDATE transactions SET data = x'00'"
    await sending.database.write(lambda connection: connection.execute(change) and None)
    await sending.restart()
    [(key, outcome)] = sending.outcomes
    assert (key, outcome.status) == ("one", "failed")
    assert "damaged on the disk" in outcome.reason
    assert not sending.sender.in_flight.by_key
    anvil.mine()


@pytest.mark.parametrize("trail", [1, 3])
async def test_it_is_final_when_deep_enough(tmp_path: Path, anvil: Anvil, trail: int) -> None:
    async with Sending(tmp_path, anvil, trail=trail) as sending:
        anvil.wait_for_receipt(await sending.mint("one"))
        for _ in range(trail):
            await sending.poll()
            assert sending.sender.outcomes.recent("one") is None
            anvil.mine()
        await sending.poll()
        assert sending.sender.outcomes.recent("one") is not None


async def test_several_in_flight(sending: Sending, anvil: Anvil) -> None:
    anvil.set_automine(False)
    keys = [f"key {number}" for number in range(20)]
    hashes = await asyncio.gather(*(sending.mint(key) for key in keys))
    await sending.poll(3)
    assert sorted(anvil.mempool()) == sorted(hashes)
    assert len(sending.sender.in_flight.by_key) == 20
    outcomes = await sending.settle(*keys)
    assert {outcome.status for outcome in outcomes} == {"mined"}
    assert len({outcome.block for outcome in outcomes}) == 1
    assert sending.minted == 20
    assert anvil.nonce(NODE.address) == 20


async def test_too_many_in_flight(
    sending: Sending, anvil: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.chain.txm.broadcaster.MAX_IN_FLIGHT", 2)
    anvil.set_automine(False)
    await sending.mint("one")
    await sending.mint("two")
    with pytest.raises(RpcUnavailable, match="2 transactions wait"):
        await sending.mint("three")
    await sending.settle("one", "two")
    await sending.mint("three")
    await sending.settle("three")
    assert sending.minted == 3


async def test_nothing_is_asked_while_nothing_is_in_flight(sending: Sending) -> None:
    assert sending.sender.confirmer.questions() == []
    await sending.mint("one")
    assert len(sending.sender.confirmer.questions()) == 3
    await sending.settle("one")
    assert sending.sender.confirmer.questions() == []


async def test_a_caller_that_is_cancelled_stops_nothing(sending: Sending) -> None:
    task = asyncio.create_task(sending.mint("one"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await sending.mint("one")
    await sending.settle("one")
    assert sending.minted == 1


async def test_a_target_may_be_written_in_any_way(sending: Sending) -> None:
    data = sending.token.encode("mint", ALICE.address, 1)
    await sending.sender.send("one", sending.token.address.lower(), data, gas=GAS)
    await sending.settle("one")
    assert sending.minted == 1


async def test_a_new_key(tmp_path: Path, sending: Sending, anvil: Anvil) -> None:
    anvil.set_automine(False)
    await sending.mint("one")
    await sending.stop()
    sending.account = OTHER_NODE
    await sending.start()
    outcome = sending.sender.outcomes.recent("one")
    assert outcome is not None
    assert outcome.status == "failed"
    assert NODE.address in outcome.reason
    await sending.mint("two")
    await sending.settle("two")


# The chain


async def test_the_chain_is_remembered(sending: Sending, anvil: Anvil) -> None:
    assert sending.rpc.expected_chain_id is None
    await sending.mint("one")
    await sending.restart()
    assert sending.rpc.expected_chain_id == anvil.chain_id


async def test_nothing_is_done_on_another_chain(sending: Sending, anvil: Anvil) -> None:
    anvil.set_automine(False)
    await sending.mint("one")
    with Anvil(chain_id=5) as other:
        sending.url = other.url
        await sending.restart()
        with pytest.raises(RpcUnavailable, match="serves chain 5"):
            await sending.poll()
        with pytest.raises(RpcUnavailable, match="serves chain 5"):
            await sending.mint("two")
        assert other.nonce(NODE.address, "pending") == 0
    sending.url = anvil.url
    await sending.restart()
    await sending.settle("one")
    assert sending.minted == 1
