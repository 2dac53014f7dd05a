from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.chain.rpc.client import RpcUnavailable
from infernet_edge.chain.txm.transactions import Pace, SendError
from infernet_edge.errors import StorageError
from tests.support.events import Events
from tests.support.evm import ALICE, ETHER, NODE, OTHER_NODE, Anvil
from tests.support.scripted_rpc import hang_up, reply
from tests.support.sending import GAS, Proxy, Sending

GWEI = 10**9


@pytest.fixture
def events() -> Iterator[Events]:
    logger = logging.getLogger("infernet_edge.chain")
    handler, level = Events(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def nothing_tells_the_key(events: Events, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    assert NODE.key.hex() not in f"{events.seen} {caplog.text}".lower()


@pytest.fixture
async def sending(tmp_path: Path, anvil: Anvil) -> AsyncIterator[Sending]:
    async with Sending(tmp_path, anvil) as sending:
        yield sending


@pytest.fixture
async def proxy(anvil: Anvil) -> AsyncIterator[Proxy]:
    async with Proxy(anvil) as proxy:
        yield proxy


@pytest.fixture
async def proxied(tmp_path: Path, anvil: Anvil, proxy: Proxy) -> AsyncIterator[Sending]:
    async with Sending(tmp_path, anvil, url=proxy.url) as sending:
        yield sending


# Sent and mined


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
    assert len(sending.sender.flights) == 0
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
    assert sending.sender.outcome("one") == outcome
    assert sending.sender.outcome("two") is None
    assert len(sending.outcomes) == 1, "it was told once"


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
    assert not sending.sender.flights
    anvil.mine()


@pytest.mark.parametrize("trail", [1, 3])
async def test_it_is_final_when_deep_enough(tmp_path: Path, anvil: Anvil, trail: int) -> None:
    async with Sending(tmp_path, anvil, trail=trail) as sending:
        anvil.wait_for_receipt(await sending.mint("one"))
        for _ in range(trail):
            await sending.look()
            assert sending.sender.outcome("one") is None
            anvil.mine()
        await sending.look()
        assert sending.sender.outcome("one") is not None


async def test_several_in_flight(sending: Sending, anvil: Anvil) -> None:
    anvil.set_automine(False)
    keys = [f"key {number}" for number in range(20)]
    hashes = await asyncio.gather(*(sending.mint(key) for key in keys))
    await sending.look(3)
    assert sorted(anvil.mempool()) == sorted(hashes)
    assert len(sending.sender.flights) == 20
    outcomes = await sending.settle(*keys)
    assert {outcome.status for outcome in outcomes} == {"mined"}
    assert len({outcome.block for outcome in outcomes}) == 1
    assert sending.minted == 20
    assert anvil.nonce(NODE.address) == 20


async def test_too_many_in_flight(
    sending: Sending, anvil: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.chain.txm.transactions.MOST_IN_FLIGHT", 2)
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
    assert sending.sender.questions() == []
    await sending.mint("one")
    assert len(sending.sender.questions()) == 3
    await sending.settle("one")
    assert sending.sender.questions() == []


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


# Fees


async def test_a_chain_from_before_1559(tmp_path: Path) -> None:
    with Anvil(arguments=["--hardfork=berlin"]) as anvil:
        async with Sending(tmp_path, anvil, with_token=False) as sending:
            hash_ = await sending.sender.send("one", ALICE.address, b"", gas=GAS)
            [outcome] = await sending.settle("one")
        transaction = anvil.transaction(hash_)
    assert outcome.status == "mined"
    assert transaction is not None
    assert transaction["type"] == "0x0"


async def test_a_server_that_knows_no_1559(proxied: Sending, proxy: Proxy, anvil: Anvil) -> None:
    proxy.refuse("eth_sendRawTransaction", "transaction type not supported")
    first = await proxied.mint("one")
    second = await proxied.mint("two")
    for hash_ in (first, second):
        transaction = anvil.transaction(hash_)
        assert transaction is not None
        assert transaction["type"] == "0x0"
    await proxied.settle("one", "two")
    assert proxied.minted == 2
    assert proxy.asked("eth_sendRawTransaction") == 3


async def test_a_chain_without_base_fees(proxied: Sending, proxy: Proxy, anvil: Anvil) -> None:
    def before_1559(*params: Any) -> Any:
        block = anvil.rpc("eth_getBlockByNumber", *params)
        del block["baseFeePerGas"]
        return block

    proxy.results["eth_getBlockByNumber"] = before_1559
    transaction = anvil.transaction(await proxied.mint("one"))
    assert transaction is not None
    assert transaction["type"] == "0x0"
    await proxied.settle("one")


async def test_a_price_cap_is_kept(sending: Sending, anvil: Anvil) -> None:
    cap = anvil.block().base_fee + 5
    transaction = anvil.transaction(await sending.mint("one", max_gas_price=cap))
    assert transaction is not None
    assert int(transaction["maxFeePerGas"], 16) == cap
    assert int(transaction["maxPriorityFeePerGas"], 16) <= cap


async def test_gas_above_the_cap_is_not_bought(sending: Sending, anvil: Anvil) -> None:
    anvil.set_base_fee(50 * GWEI)
    anvil.mine()
    with pytest.raises(SendError, match="may pay 1000000000 wei at most") as raised:
        await sending.mint("one", max_gas_price=GWEI)
    assert raised.value.temporary
    assert await sending.sender.find("one") is None
    assert anvil.nonce(NODE.address, "pending") == 0


@pytest.mark.parametrize("method", ["eth_gasPrice", "eth_maxPriorityFeePerGas", "eth_getBalance"])
async def test_a_price_that_cannot_be(proxied: Sending, proxy: Proxy, method: str) -> None:
    proxy.results[method] = "0x" + "f" * 20 if method != "eth_getBalance" else "much"
    with pytest.raises(RpcUnavailable):
        await proxied.mint("one")
    assert len(proxied.sender.flights) == 0


async def test_servers_that_suggest_no_priority_fee(proxied: Sending, proxy: Proxy) -> None:
    proxy.refuse("eth_maxPriorityFeePerGas", "method not found", times=9)
    await proxied.mint("one")
    await proxied.settle("one")


# Refused


async def test_insufficient_funds(sending: Sending, anvil: Anvil) -> None:
    anvil.set_balance(NODE.address, 1000)
    with pytest.raises(SendError, match=f"{NODE.address} has 1000 wei") as raised:
        await sending.mint("one")
    assert raised.value.temporary
    assert await sending.sender.find("one") is None
    anvil.set_balance(NODE.address, ETHER)
    await sending.mint("one")
    await sending.settle("one")
    assert sending.minted == 1
    assert anvil.nonce(NODE.address) == 1


async def test_funds_are_not_promised_twice(sending: Sending, anvil: Anvil) -> None:
    anvil.set_automine(False)
    await sending.mint("one")
    [flight] = sending.sender.flights.values()
    cost = GAS * flight.transaction.signed[-1].max_fee
    anvil.set_balance(NODE.address, cost + cost // 2)
    with pytest.raises(SendError, match=f"of which {cost} wei are reserved"):
        await sending.mint("two")
    await sending.settle("one")


@pytest.mark.parametrize(
    ("words", "temporary"),
    [
        ("insufficient funds for gas * price + value", True),
        ("transaction underpriced", True),
        ("intrinsic gas too low", False),
        ("exceeds block gas limit", False),
    ],
)
async def test_what_the_server_refuses_was_surely_not_sent(
    proxied: Sending, proxy: Proxy, anvil: Anvil, words: str, temporary: bool
) -> None:
    proxy.refuse("eth_sendRawTransaction", words)
    with pytest.raises(SendError, match=words[:12]) as raised:
        await proxied.mint("one")
    assert raised.value.temporary is temporary
    assert await proxied.sender.find("one") is None
    assert len(proxied.sender.flights) == 0
    await proxied.mint("two")
    await proxied.settle("two")
    assert anvil.nonce(NODE.address) == 1, "its nonce was used by another"


async def test_a_refused_transaction_that_others_wait_for_is_kept(
    proxied: Sending, proxy: Proxy, anvil: Anvil, events: Events
) -> None:
    """Without it the later nonces would never be mined."""
    proxy.refuse("eth_sendRawTransaction", "insufficient funds for gas")
    entered, leave = asyncio.Event(), asyncio.Event()
    broadcast = proxied.rpc.call_once

    async def slow_once(method: str, params: list[Any]) -> Any:
        proxied.rpc.call_once = broadcast  # type: ignore[method-assign]
        entered.set()
        await leave.wait()
        return await broadcast(method, params)

    proxied.rpc.call_once = slow_once  # type: ignore[method-assign]
    first = asyncio.create_task(proxied.mint("one"))
    await entered.wait()
    proxied.rpc.call_once = broadcast  # type: ignore[method-assign]
    anvil.set_automine(False)
    del proxy.results["eth_sendRawTransaction"]
    await proxied.mint("two")
    proxy.refuse("eth_sendRawTransaction", "insufficient funds for gas")
    leave.set()
    await first
    assert events.of("transaction.refused")[0]["key"] == "one"
    await proxied.look()
    assert events.of("transaction.rebroadcast")[0]["key"] == "one"
    await proxied.settle("one", "two")
    assert proxied.minted == 2


@pytest.mark.parametrize("words", ["upstream says hello", "internal error", "timeout"])
async def test_an_unclear_answer_is_followed_up(
    proxied: Sending, proxy: Proxy, words: str, events: Events
) -> None:
    proxy.refuse("eth_sendRawTransaction", words)
    await proxied.mint("one")
    assert events.of("transaction.unanswered")[0]["reason"] == words
    await proxied.settle("one")
    assert proxied.minted == 1


async def test_an_answer_that_is_lost(
    proxied: Sending, proxy: Proxy, anvil: Anvil, events: Events
) -> None:
    """The server has taken the transaction, and the connection breaks before it says so."""
    anvil.set_automine(False)
    send = proxy.answer

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        answered = send(asked)
        if asked["method"] == "eth_sendRawTransaction":
            proxy.always = hang_up
        return answered

    proxy.answer = answer  # type: ignore[method-assign]

    async def lose(request: Any, asked: Any) -> Any:
        for each in asked:
            answer(each)
        return await hang_up(request, asked)

    conditions = proxied.rpc.batch

    async def then_lose(calls: Any) -> Any:
        answers = await conditions(calls)
        proxy.faults.append(lose)
        proxied.rpc.batch = conditions  # type: ignore[method-assign]
        return answers

    proxied.rpc.batch = then_lose  # type: ignore[method-assign]
    hash_ = await proxied.mint("one")
    assert events.of("transaction.unanswered")
    assert anvil.mempool() == [hash_]
    proxy.always = None
    proxy.answer = send  # type: ignore[method-assign]
    await asyncio.sleep(0.05)
    await proxied.settle("one")
    assert proxied.minted == 1
    assert anvil.nonce(NODE.address) == 1


async def test_without_the_chain_nothing_is_stored(proxied: Sending, proxy: Proxy) -> None:
    proxy.always = reply(503)
    with pytest.raises(RpcUnavailable):
        await proxied.mint("one")
    assert await proxied.sender.find("one") is None


async def test_without_the_database_nothing_is_sent(
    sending: Sending, anvil: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*arguments: Any) -> None:
        raise StorageError("The disk is full")

    monkeypatch.setattr(sending.ledger, "add", fail)
    with pytest.raises(StorageError):
        await sending.mint("one")
    assert anvil.nonce(NODE.address, "pending") == 0
    assert len(sending.sender.flights) == 0


async def test_an_outcome_that_cannot_be_stored_is_tried_again(
    sending: Sending, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    finish = sending.ledger.finish

    async def fail_once(*arguments: Any) -> None:
        monkeypatch.setattr(sending.ledger, "finish", finish)
        raise StorageError("The disk is full")

    monkeypatch.setattr(sending.ledger, "finish", fail_once)
    sending.anvil.wait_for_receipt(await sending.mint("one"))
    await sending.look()
    assert not sending.outcomes
    assert "disk" in str(events.of("transaction.waits")[0]["reason"])
    await sending.look()
    assert len(sending.outcomes) == 1


# Other programs with the same key


async def test_transactions_of_another_program_that_wait(sending: Sending, anvil: Anvil) -> None:
    anvil.set_automine(False)
    anvil.send_raw(NODE, ALICE.address)
    await sending.mint("one")
    await sending.settle("one")
    assert sending.minted == 1
    assert anvil.nonce(NODE.address) == 2


@pytest.mark.parametrize("mined", [True, False], ids=["nonce too low", "underpriced"])
async def test_a_nonce_that_was_taken_a_moment_ago(
    proxied: Sending, proxy: Proxy, anvil: Anvil, mined: bool
) -> None:
    anvil.set_automine(mined)
    anvil.send_raw(NODE, ALICE.address, gas_price=900 * GWEI)
    stale = ["0x0"] * 2
    proxy.results["eth_getTransactionCount"] = lambda *params: (
        stale.pop() if stale else anvil.rpc("eth_getTransactionCount", *params)
    )
    await proxied.mint("one")
    await proxied.settle("one")
    assert proxied.minted == 1
    assert anvil.nonce(NODE.address) == 2


async def test_nonces_that_never_stay_free(proxied: Sending, proxy: Proxy) -> None:
    proxy.refuse("eth_sendRawTransaction", "nonce too low", times=99)
    with pytest.raises(SendError, match="another program uses the same key") as raised:
        await proxied.mint("one")
    assert raised.value.temporary
    assert await proxied.sender.find("one") is None
    assert len(proxied.sender.flights) == 0


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
    assert sending.sender.outcome("one") == outcome
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


async def test_a_new_key(tmp_path: Path, sending: Sending, anvil: Anvil) -> None:
    anvil.set_automine(False)
    await sending.mint("one")
    await sending.stop()
    sending.account = OTHER_NODE
    await sending.start()
    outcome = sending.sender.outcome("one")
    assert outcome is not None
    assert outcome.status == "failed"
    assert NODE.address in outcome.reason
    await sending.mint("two")
    await sending.settle("two")


# Dropped, stuck, reverted, reorganised


async def test_dropped_from_the_mempool(sending: Sending, anvil: Anvil, events: Events) -> None:
    anvil.set_automine(False)
    hash_ = await sending.mint("one")
    await sending.look()
    assert not events.of("transaction.rebroadcast")
    anvil.drop_transaction(hash_)
    await sending.look()
    assert anvil.mempool() == [hash_]
    [told] = events.of("transaction.rebroadcast")
    assert (told["key"], told["hash"], told["nonce"]) == ("one", hash_, 0)
    await sending.settle("one")
    assert sending.minted == 1


async def test_broadcasts_are_not_repeated_at_once(
    tmp_path: Path, anvil: Anvil, events: Events
) -> None:
    pace = Pace(rebroadcast=3600.0, rebroadcast_limit=7200.0)
    async with Sending(tmp_path, anvil, pace=pace) as sending:
        anvil.set_automine(False)
        anvil.drop_transaction(await sending.mint("one"))
        await sending.look(3)
        assert not events.of("transaction.rebroadcast")


async def make_stuck(sending: Sending, *keys: str, **options: Any) -> list[str]:
    """Send, then let gas become too expensive, for some blocks."""
    sending.anvil.set_automine(False)
    hashes = [await sending.mint(key, **options) for key in keys]
    await sending.look()
    for _ in range(3):
        sending.anvil.set_base_fee(20 * GWEI)
        sending.anvil.mine()
    sending.anvil.set_base_fee(20 * GWEI)
    return hashes


async def test_stuck_and_replaced(sending: Sending, anvil: Anvil, events: Events) -> None:
    [before] = await make_stuck(sending, "one")
    assert sending.minted == 0
    await sending.look()
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


async def test_only_the_next_nonce_is_replaced(
    sending: Sending, anvil: Anvil, events: Events
) -> None:
    await make_stuck(sending, "one", "two")
    await sending.look()
    assert [told["key"] for told in events.of("transaction.replaced")] == ["one"]
    await sending.settle("one")
    for _ in range(3):
        anvil.mine()
    await sending.settle("two")
    assert sending.minted == 2


async def test_the_form_that_was_replaced_may_still_be_the_one_that_is_mined(
    sending: Sending, anvil: Anvil, events: Events
) -> None:
    await make_stuck(sending, "one")
    [flight] = sending.sender.flights.values()
    old = flight.transaction.signed[0]
    await sending.look()
    anvil.drop_transaction(events.of("transaction.replaced")[0]["hash"])
    anvil.set_base_fee(1)
    anvil.rpc("eth_sendRawTransaction", "0x" + old.raw.hex())
    anvil.mine()
    await sending.look()
    outcome = sending.sender.outcome("one")
    assert outcome is not None
    assert (outcome.status, outcome.hash) == ("mined", old.hash)
    assert sending.minted == 1


async def test_a_price_cap_stops_replacements(
    sending: Sending, anvil: Anvil, events: Events
) -> None:
    cap = 3 * anvil.block().base_fee
    await make_stuck(sending, "one", max_gas_price=cap)
    await sending.look(5)
    assert not events.of("transaction.replaced")
    [stuck] = events.of("transaction.stuck")
    assert f"{cap} wei at most" in stuck["reason"]
    anvil.set_base_fee(1)
    await sending.settle("one")
    assert sending.minted == 1


async def test_replacements_end(
    sending: Sending, anvil: Anvil, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.chain.txm.transactions._MOST_SIGNED", 2)
    await make_stuck(sending, "one")
    await sending.look()
    for _ in range(4):
        anvil.set_base_fee(900 * GWEI)
        anvil.mine()
        await sending.look()
    assert len(events.of("transaction.replaced")) == 1
    assert "replaced 1 times" in events.of("transaction.stuck")[0]["reason"]


async def test_an_account_too_poor_for_a_replacement(
    sending: Sending, anvil: Anvil, events: Events
) -> None:
    await make_stuck(sending, "one")
    anvil.set_balance(NODE.address, 10**12)
    await sending.look()
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
    assert sending.sender.outcome("one") == outcome


async def test_out_of_gas(sending: Sending) -> None:
    await sending.mint("one", gas=30_000)
    [outcome] = await sending.settle("one")
    assert outcome.status == "reverted"
    assert outcome.reason == "It ran out of gas: 30000 were not enough"


async def test_a_reorg_of_one_block(tmp_path: Path, anvil: Anvil, events: Events) -> None:
    async with Sending(tmp_path, anvil, trail=2) as sending:
        hash_ = await sending.mint("one")
        anvil.wait_for_receipt(hash_)
        await sending.look()
        anvil.reorg(1)
        for transaction in anvil.mempool():
            anvil.drop_transaction(transaction)
        await sending.look()
        assert events.of("transaction.reorganised")[0]["hash"] == hash_
        [outcome] = await sending.settle("one")
        assert (outcome.status, outcome.hash) == ("mined", hash_)
        assert sending.minted == 1


async def test_a_reorg_that_moves_it_to_another_block(tmp_path: Path, anvil: Anvil) -> None:
    async with Sending(tmp_path, anvil, trail=3) as sending:
        anvil.wait_for_receipt(await sending.mint("one"))
        [flight] = sending.sender.flights.values()
        raw = "0x" + flight.transaction.signed[0].raw.hex()
        anvil.mine()
        await sending.look()
        anvil.reorg(2, [(raw, 1)])
        [outcome] = await sending.settle("one")
        receipt = anvil.receipt(outcome.hash)
        assert receipt is not None
        assert outcome.block == receipt.block
        assert sending.minted == 1


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
            await sending.look()
        with pytest.raises(RpcUnavailable, match="serves chain 5"):
            await sending.mint("two")
        assert other.nonce(NODE.address, "pending") == 0
    sending.url = anvil.url
    await sending.restart()
    await sending.settle("one")
    assert sending.minted == 1
