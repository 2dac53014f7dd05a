from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infernet_edge.chain.txm.in_flight import StuckLimits
from infernet_edge.chain.txm.store import Transaction
from tests.support.events import Events
from tests.support.evm import ALICE, ETHER, NODE, Anvil
from tests.support.sending import GAS, Proxy, Sending

GWEI = 10**9

# Other programs with the same key


async def test_another_program_takes_the_nonce_of_a_transaction_that_waits(
    sending: Sending, anvil: Anvil, events: Events
) -> None:
    anvil.set_automine(False)
    lost = await sending.mint("one")
    kept = await sending.mint("two")
    anvil.send_raw(NODE, ALICE.address, nonce=0, gas_price=900 * GWEI)
    outcomes = await sending.settle("one", "two")
    assert [outcome.status for outcome in outcomes] == ["mined", "mined"]
    assert outcomes[0].hash != lost
    assert outcomes[1].hash == kept
    assert await sending.sender.find("one") == outcomes[0].hash
    assert sending.minted == 2
    assert anvil.nonce(NODE.address) == 3
    [used] = events.of("transaction.nonce_used")
    assert (used["key"], used["nonce"], used["hash"]) == ("one", 0, lost)


async def test_a_count_alone_is_no_proof_that_a_nonce_is_lost(
    proxied: Sending, proxy: Proxy, anvil: Anvil, events: Events
) -> None:
    """A server that has no receipts yet, behind one address with another that counts already."""
    await proxied.mint("one")
    receipts: list[None] = [None] * 3
    proxy.results["eth_getTransactionReceipt"] = lambda hash_: (
        receipts.pop() if receipts else anvil.rpc("eth_getTransactionReceipt", hash_)
    )
    await proxied.settle("one")
    assert not events.of("transaction.nonce_used")
    assert proxied.minted == 1


async def test_a_lost_nonce_without_funds_for_another(sending: Sending, anvil: Anvil) -> None:
    anvil.set_automine(False)
    await sending.mint("one")
    anvil.send_raw(NODE, ALICE.address, nonce=0, gas_price=900 * GWEI)
    anvil.mine()
    anvil.set_balance(NODE.address, 1000)
    [outcome] = await sending.settle("one")
    assert outcome.status == "failed"
    assert "Insufficient funds" in outcome.reason
    await sending.restart()
    assert sending.sender.outcomes.recent("one") == outcome
    assert sending.minted == 0


async def test_a_gap_that_another_program_left_is_filled(
    proxied: Sending, proxy: Proxy, anvil: Anvil
) -> None:
    """It had a transaction waiting that vanished from the mempool."""
    anvil.set_automine(False)
    foreign = anvil.send_raw(NODE, ALICE.address)
    await proxied.mint("one")
    anvil.drop_transaction(foreign)
    await proxied.settle("one")
    assert proxied.minted == 1
    assert anvil.nonce(NODE.address) == 2


# Dropped, stuck, reverted, reorged


async def test_dropped_from_the_mempool(sending: Sending, anvil: Anvil, events: Events) -> None:
    anvil.set_automine(False)
    hash_ = await sending.mint("one")
    await sending.poll()
    assert not events.of("transaction.rebroadcast")
    anvil.drop_transaction(hash_)
    await sending.poll()
    assert anvil.mempool() == [hash_]
    [logged] = events.of("transaction.rebroadcast")
    assert (logged["key"], logged["hash"], logged["nonce"]) == ("one", hash_, 0)
    await sending.settle("one")
    assert sending.minted == 1


async def test_broadcasts_are_not_repeated_at_once(
    tmp_path: Path, anvil: Anvil, events: Events
) -> None:
    limits = StuckLimits(rebroadcast=3600.0, rebroadcast_limit=7200.0)
    async with Sending(tmp_path, anvil, limits=limits) as sending:
        anvil.set_automine(False)
        anvil.drop_transaction(await sending.mint("one"))
        await sending.poll(3)
        assert not events.of("transaction.rebroadcast")


async def make_stuck(sending: Sending, *keys: str, **options: Any) -> list[str]:
    """Send, then let gas become too expensive, for some blocks."""
    sending.anvil.set_automine(False)
    hashes = [await sending.mint(key, **options) for key in keys]
    await sending.poll()
    for _ in range(3):
        sending.anvil.set_base_fee(20 * GWEI)
        sending.anvil.mine()
    sending.anvil.set_base_fee(20 * GWEI)
    return hashes


async def test_stuck_and_replaced(sending: Sending, anvil: Anvil, events: Events) -> None:
    [before] = await make_stuck(sending, "one")
    assert sending.minted == 0
    await sending.poll()
    [replaced] = events.of("transaction.replaced")
    assert (replaced["key"], replaced["before"], replaced["nonce"]) == ("one", before, 0)
    old, new = anvil.transaction(before), anvil.transaction(replaced["hash"])
    assert old is None
    assert new is not None
    assert replaced["max_fee"] == int(new["maxFeePerGas"], 16)
    assert await sending.sender.find("one") == replaced["hash"]
    await sending.restart()
    [outcome] = await sending.settle("one")
    assert outcome.hash == replaced["hash"]
    assert sending.minted == 1


async def test_all_below_the_base_fee_are_replaced_at_once_the_lowest_nonce_first(
    sending: Sending, anvil: Anvil, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first block after the jump, whatever the limits of time are."""
    anvil.set_automine(False)
    keys = [f"key {number}" for number in range(12)]
    for key in keys:
        await sending.mint(key)
    await sending.poll()
    price = 100 * anvil.block().base_fee
    anvil.set_base_fee(price)
    anvil.mine()
    stored, replace = [], sending.store.replace

    async def recorded(transaction: Transaction) -> None:
        stored.append(transaction.key)
        await replace(transaction)

    monkeypatch.setattr(sending.store, "replace", recorded)
    await sending.poll()
    assert stored == keys
    replaced = events.of("transaction.replaced")
    assert len(replaced) == len(keys)
    assert all(logged["max_fee"] >= price for logged in replaced)
    await sending.poll()
    assert len(events.of("transaction.replaced")) == len(keys), "once is enough"
    anvil.mine()
    assert sending.minted == len(keys)
    await sending.settle(*keys)


async def test_the_form_that_was_replaced_may_still_be_the_one_that_is_mined(
    sending: Sending, anvil: Anvil, events: Events
) -> None:
    await make_stuck(sending, "one")
    [followed] = sending.sender.in_flight.by_key.values()
    old = followed.transaction.signed[0]
    await sending.poll()
    anvil.drop_transaction(events.of("transaction.replaced")[0]["hash"])
    anvil.set_base_fee(1)
    anvil.rpc("eth_sendRawTransaction", "0x" + old.raw.hex())
    anvil.mine()
    await sending.poll()
    outcome = sending.sender.outcomes.recent("one")
    assert outcome is not None
    assert (outcome.status, outcome.hash) == ("mined", old.hash)
    assert sending.minted == 1


async def test_a_price_cap_stops_replacements(
    sending: Sending, anvil: Anvil, events: Events
) -> None:
    cap = 3 * anvil.block().base_fee
    await make_stuck(sending, "one", max_gas_price=cap)
    await sending.poll(5)
    assert not events.of("transaction.replaced")
    [stuck] = events.of("transaction.stuck")
    assert f"{cap} wei at most" in stuck["reason"]
    anvil.set_base_fee(1)
    await sending.settle("one")
    assert sending.minted == 1


async def test_replacements_end(
    sending: Sending, anvil: Anvil, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.chain.txm.confirmer._MAX_SIGNED", 2)
    await make_stuck(sending, "one")
    await sending.poll()
    for _ in range(4):
        anvil.set_base_fee(900 * GWEI)
        anvil.mine()
        await sending.poll()
    assert len(events.of("transaction.replaced")) == 1
    assert "replaced 1 times" in events.of("transaction.stuck")[0]["reason"]


async def test_an_account_too_poor_for_a_replacement(
    sending: Sending, anvil: Anvil, events: Events
) -> None:
    await make_stuck(sending, "one")
    anvil.set_balance(NODE.address, 10**12)
    await sending.poll()
    assert "too few coins" in events.of("transaction.stuck")[0]["reason"]
    anvil.set_balance(NODE.address, ETHER)
    anvil.set_base_fee(1)
    await sending.settle("one")
    assert sending.minted == 1


async def test_reverted_on_the_chain(sending: Sending, anvil: Anvil, events: Events) -> None:
    data = sending.token.encode("transfer", ALICE.address, 5)  # which the node does not have
    await sending.sender.send("one", sending.token.address, data, gas=GAS)
    [outcome] = await sending.settle("one")
    assert outcome.status == "reverted"
    assert "InsufficientBalance" in outcome.reason
    assert events.of("transaction.reverted")[0]["reason"] == outcome.reason
    await sending.restart()
    assert sending.sender.outcomes.recent("one") == outcome


async def test_out_of_gas(sending: Sending) -> None:
    await sending.mint("one", gas=30_000)
    [outcome] = await sending.settle("one")
    assert outcome.status == "reverted"
    assert outcome.reason == "It ran out of gas: 30000 were not enough"


async def test_a_reorg_of_one_block(tmp_path: Path, anvil: Anvil, events: Events) -> None:
    async with Sending(tmp_path, anvil, trail=2) as sending:
        hash_ = await sending.mint("one")
        anvil.wait_for_receipt(hash_)
        await sending.poll()
        anvil.reorg(1)
        for transaction in anvil.mempool():
            anvil.drop_transaction(transaction)
        await sending.poll()
        assert events.of("transaction.reorged")[0]["hash"] == hash_
        [outcome] = await sending.settle("one")
        assert (outcome.status, outcome.hash) == ("mined", hash_)
        assert sending.minted == 1


async def test_a_reorg_that_moves_it_to_another_block(tmp_path: Path, anvil: Anvil) -> None:
    async with Sending(tmp_path, anvil, trail=3) as sending:
        anvil.wait_for_receipt(await sending.mint("one"))
        [followed] = sending.sender.in_flight.by_key.values()
        raw = "0x" + followed.transaction.signed[0].raw.hex()
        anvil.mine()
        await sending.poll()
        anvil.reorg(2, [(raw, 1)])
        [outcome] = await sending.settle("one")
        receipt = anvil.receipt(outcome.hash)
        assert receipt is not None
        assert outcome.block == receipt.block
        assert sending.minted == 1
