from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.chain.rpc.client import RpcUnavailable
from infernet_edge.chain.txm.broadcaster import OneAtATime, SendError
from infernet_edge.errors import StorageError
from tests.support.events import Events
from tests.support.evm import ALICE, ETHER, NODE, Anvil, deploy
from tests.support.rpc_behaviours import Behaviour
from tests.support.rpc_proxy import RpcProxy
from tests.support.scripted_rpc import hang_up, reply
from tests.support.sending import GAS, Proxy, Sending, require_tip

GWEI = 10**9

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
    assert len(proxied.sender.in_flight.by_key) == 0


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
    [followed] = sending.sender.in_flight.by_key.values()
    cost = GAS * followed.transaction.signed[-1].max_fee
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
    proxy.refuse("eth_sendRawTransaction", words, times=99)
    with pytest.raises(SendError, match=words[:12]) as raised:
        await proxied.mint("one")
    assert raised.value.temporary is temporary
    assert await proxied.sender.find("one") is None
    assert len(proxied.sender.in_flight.by_key) == 0
    del proxy.results["eth_sendRawTransaction"]
    await proxied.mint("two")
    await proxied.settle("two")
    assert anvil.nonce(NODE.address) == 1, "its nonce was used by another"


@pytest.mark.parametrize(
    "words",
    [
        "insufficient funds for gas",
        # The node finds itself that it cannot pay that.
        "transaction underpriced: gas tip cap 1, minimum needed 900000000000000",
    ],
    ids=["refused", "too cheap"],
)
async def test_a_refused_transaction_that_others_wait_for_is_kept(
    proxied: Sending, proxy: Proxy, anvil: Anvil, events: Events, words: str
) -> None:
    """Without it the later nonces would never be mined."""
    anvil.set_balance(NODE.address, ETHER)
    proxy.refuse("eth_sendRawTransaction", words)
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
    proxy.refuse("eth_sendRawTransaction", words)
    leave.set()
    await first
    assert events.of("transaction.refused")[0]["key"] == "one"
    await proxied.poll()
    assert events.of("transaction.rebroadcast")[0]["key"] == "one"
    await proxied.settle("one", "two")
    assert proxied.minted == 2


@pytest.mark.parametrize("words", ["upstream says hello", "internal error", "timeout"])
async def test_an_unclear_answer_is_followed_up(
    proxied: Sending, proxy: Proxy, words: str, events: Events
) -> None:
    proxy.refuse("eth_sendRawTransaction", words)
    await proxied.mint("one")
    assert events.of("transaction.send_unanswered")[0]["reason"] == words
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

    async def then_lose(calls: Any, *, priority: bool = False) -> Any:
        answers = await conditions(calls, priority=priority)
        proxy.faults.append(lose)
        proxied.rpc.batch = conditions  # type: ignore[method-assign]
        return answers

    proxied.rpc.batch = then_lose  # type: ignore[method-assign]
    hash_ = await proxied.mint("one")
    assert events.of("transaction.send_unanswered")
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

    monkeypatch.setattr(sending.store, "add", fail)
    with pytest.raises(StorageError):
        await sending.mint("one")
    assert anvil.nonce(NODE.address, "pending") == 0
    assert len(sending.sender.in_flight.by_key) == 0


async def test_an_outcome_that_cannot_be_stored_is_tried_again(
    sending: Sending, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    finish = sending.store.finish

    async def fail_once(*arguments: Any) -> None:
        monkeypatch.setattr(sending.store, "finish", finish)
        raise StorageError("The disk is full")

    monkeypatch.setattr(sending.store, "finish", fail_once)
    sending.anvil.wait_for_receipt(await sending.mint("one"))
    await sending.poll()
    assert not sending.outcomes
    assert "disk" in str(events.of("transaction.deferred")[0]["reason"])
    await sending.poll()
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
    assert len(proxied.sender.in_flight.by_key) == 0


# Floors of fees


FLOOR = 25 * GWEI
TIP = 2 * GWEI  # that the server suggests
NAMED = "transaction underpriced: gas tip cap {tip}, minimum needed {floor}"


async def test_a_floor_that_is_named_is_paid_and_remembered(
    proxied: Sending, proxy: Proxy, anvil: Anvil, events: Events
) -> None:
    offered = require_tip(proxy, anvil, FLOOR, NAMED)
    await proxied.mint("one")
    await proxied.mint("two")
    assert offered == [TIP, FLOOR, FLOOR]
    assert events.of("fees.floor_learned")[0]["tip"] == FLOOR
    await proxied.settle("one", "two")
    assert proxied.minted == 2


@pytest.mark.parametrize(
    "words", ["transaction underpriced", "FeeTooLow, MaxFeePerGas too low.", "fee too low"]
)
async def test_a_floor_that_is_not_named_is_found_by_steps(
    proxied: Sending, proxy: Proxy, anvil: Anvil, words: str
) -> None:
    offered = require_tip(proxy, anvil, FLOOR, words)
    await proxied.mint("one")
    assert offered == [TIP * 2**step for step in range(5)]
    await proxied.settle("one")
    assert proxied.minted == 1


async def test_what_blocks_pay_is_offered_before_steps(
    proxied: Sending, proxy: Proxy, anvil: Anvil
) -> None:
    rewards = [[hex(30 * GWEI)], ["0x0"], [hex(30 * GWEI)]]
    proxy.results["eth_feeHistory"] = {"reward": rewards, "gasUsedRatio": [0.5, 0, 0.1]}
    offered = require_tip(proxy, anvil, FLOOR, "transaction underpriced")
    await proxied.mint("one")
    assert offered == [TIP, 30 * GWEI]


@pytest.mark.parametrize("words", [NAMED, "transaction underpriced"])
async def test_a_floor_above_the_cap_is_not_paid(
    proxied: Sending, proxy: Proxy, anvil: Anvil, words: str
) -> None:
    cap = 5 * GWEI
    offered = require_tip(proxy, anvil, FLOOR, words)
    with pytest.raises(SendError, match=f"may pay {cap} wei at most") as raised:
        await proxied.mint("one", max_gas_price=cap)
    assert raised.value.temporary
    assert max(offered) <= cap
    assert await proxied.sender.find("one") is None


async def test_a_floor_that_cannot_be(proxied: Sending, proxy: Proxy, anvil: Anvil) -> None:
    offered = require_tip(proxy, anvil, 10**16, NAMED)
    with pytest.raises(SendError, match="minimum needed 10000000000000000"):
        await proxied.mint("one")
    assert len(offered) == 1


async def test_no_more_steps_than_are_reasonable(
    proxied: Sending, proxy: Proxy, anvil: Anvil
) -> None:
    offered = require_tip(proxy, anvil, 10**15, "transaction underpriced")
    with pytest.raises(SendError, match="underpriced"):
        await proxied.mint("one")
    assert max(offered) == 64 * GWEI
    assert len(proxied.sender.in_flight.by_key) == 0


async def test_the_base_fee_has_jumped_since_the_last_block(
    proxied: Sending, proxy: Proxy, anvil: Anvil
) -> None:
    """Servers check it before the node has seen the block."""
    await proxied.poll()
    await proxied.mint("before")
    await proxied.settle("before")
    await proxied.mint("kept")  # whose conditions are kept
    await proxied.settle("kept", mine=False)
    anvil.set_base_fee(900 * GWEI)
    anvil.mine()
    words = "max fee per gas less than block base fee: address 0x20, maxFeePerGas: 1, baseFee: 2"
    proxy.refuse("eth_sendRawTransaction", words)
    transaction = anvil.transaction(await proxied.mint("one"))
    assert transaction is not None
    assert int(transaction["maxFeePerGas"], 16) > 900 * GWEI


# Accounts that are delegated (EIP-7702)

ONE = Behaviour(max_in_flight=1)


@asynccontextmanager
async def delegated(tmp_path: Path, anvil: Anvil) -> AsyncIterator[tuple[Sending, RpcProxy]]:
    """A sender whose server takes one transaction of an account at a time."""
    token = deploy(anvil, "Token")
    anvil.set_automine(False)
    async with (
        RpcProxy(anvil.url, ONE) as server,
        Sending(tmp_path, anvil, url=server.url, token=token) as sending,
    ):
        yield sending, server


async def test_a_delegated_account_sends_one_after_the_other(tmp_path: Path, anvil: Anvil) -> None:
    async with delegated(tmp_path, anvil) as (sending, _):
        slots = sending.sender.slots
        await sending.mint("one")
        with pytest.raises(OneAtATime, match="EIP-7702"):
            await sending.mint("two")
        assert await sending.sender.find("two") is None, "no server has it"
        assert slots.limit == 1
        waiting = asyncio.create_task(_mint_in_turn(sending, "two"))
        await asyncio.sleep(0.05)
        assert len(anvil.mempool()) == 1
        await sending.settle("one")
        await waiting
        await sending.settle("two")
        assert sending.minted == 2


async def _mint_in_turn(sending: Sending, key: str) -> None:
    async with sending.sender.slots.slot(key):
        await sending.mint(key)


async def test_transactions_of_a_delegated_account_that_were_stored_before(
    tmp_path: Path, anvil: Anvil, events: Events
) -> None:
    """The account was delegated while they waited, and the mempool has lost them."""
    async with delegated(tmp_path, anvil) as (sending, server):
        server.behaviour = Behaviour(loses_transactions=True)
        keys = [f"key {number}" for number in range(4)]
        for key in keys:
            await sending.mint(key)
        server.behaviour = ONE
        for mined in range(4):
            await sending.poll(3)
            assert len(anvil.mempool()) == 1
            anvil.mine()
            assert sending.minted == mined + 1
        refused = [each for each in events.of("transaction.rebroadcast") if "reason" in each]
        assert len(refused) == 3, "none is refused twice"
        await sending.settle(*keys)


# Conditions


async def test_conditions_are_asked_for_once_for_each_block(
    proxied: Sending, proxy: Proxy, anvil: Anvil
) -> None:
    anvil.set_automine(False)
    await proxied.poll()
    for blocks in range(1, 4):
        keys = [f"key {blocks} {number}" for number in range(10)]
        await asyncio.gather(*map(proxied.mint, keys))
        assert proxy.asked("eth_maxPriorityFeePerGas") == blocks
        anvil.mine()
        await proxied.poll()
