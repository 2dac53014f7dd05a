"""What proofs lock in the node's wallet: approved in time, once, and for all that need it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from infernet_edge.chain.contracts.subscription import Payment
from infernet_edge.chain.delivery import escrow as module
from infernet_edge.chain.delivery import processor, steps
from infernet_edge.chain.delivery.errors import ActionNeeded, TransientFailure
from infernet_edge.chain.delivery.escrow import Escrow
from infernet_edge.chain.txm.store import Subject
from tests.support.asking import received, subscribe
from tests.support.client import eventually
from tests.support.delegated import request_v1
from tests.support.echo import EchoService
from tests.support.events import Events
from tests.support.evm import ALICE, COIN, ETHER, NODE, V1, Contract, deliveries, deploy
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.killing import killed_at
from tests.support.market import PRICE, PROOF, Market, Prover
from tests.support.node import NodeProcess
from tests.support.onchain import settled, until, waiting
from tests.support.running import configuration
from tests.support.sending import Proxy, Sending
from tests.support.serving import Echo, serving


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for something does not give up in this test."""
    monkeypatch.setattr(processor, "_MAX_REFUSALS", 1000)


@pytest.fixture
def market(v1: V1) -> Market:
    """Enough for two answers, on both sides; nothing may be locked yet."""
    return two_answers(Market(v1))


def two_answers(market: Market) -> Market:
    market.pay(market.payer.address, PRICE)
    market.approve(2 * PRICE)
    market.pay(market.payee.address, 2 * PRICE)
    return market


@pytest.fixture
def judge(market: Market) -> Contract:
    """A verifier that says at once that all is right."""
    return market.verifier("AtomicVerifier", True)


async def open_calls(echo: Echo, count: int) -> None:
    """Wait until so many calls are held."""
    async with asyncio.timeout(10):
        while echo.open < count:
            await asyncio.sleep(0.01)


async def logged(events: Events, name: str, count: int = 1) -> None:
    """Wait for events."""
    async with asyncio.timeout(10):
        while len(events.of(name)) < count:
            await asyncio.sleep(0.01)


# Approvals


@pytest.mark.parametrize("with_token", [False, True], ids=["coin", "token"])
async def test_an_approval_is_sent_when_it_is_needed(
    tmp_path: Path, v1: V1, events: Events, with_token: bool
) -> None:
    """A verdict gives the allowance back, so that the second answer needs none."""
    market = two_answers(Market(v1, deploy(v1.anvil, "Token") if with_token else None))
    judge = market.verifier("AtomicVerifier", True)
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        assert (await settled(node))["state"] == "delivered"
        (approval,) = events.of("escrow.approval_sent")
        assert (approval["subscription"], approval["interval"]) == (1, 1)
        assert (approval["amount"], approval["before"]) == (PRICE, 0)
        assert (approval["token"], approval["wallet"]) == (market.token, market.payee.address)
        assert v1.anvil.nonce(NODE.address) == 2
        market.ask(verifier=judge.address)
        assert (await settled(node, 2))["state"] == "delivered"
    assert len(events.of("escrow.approval_sent")) == 1
    assert v1.anvil.nonce(NODE.address) == 3
    assert market.earned == 4 * PRICE
    assert [each["proof"] for each in await received(market.consumer, 2)] == [PROOF, PROOF]


async def test_an_allowance_that_is_there_is_used(
    tmp_path: Path, market: Market, judge: Contract, events: Events
) -> None:
    market.payee.send("approve", NODE.address, market.token, PRICE, sender=NODE)
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        assert (await settled(node))["state"] == "delivered"
    assert events.of("escrow.approval_sent") == []


@pytest.mark.parametrize("mining", [True, False], ids=["at once", "late"])
async def test_two_at_once_do_not_take_each_others_approval(
    tmp_path: Path, market: Market, events: Events, mining: bool
) -> None:
    judge = market.verifier("LazyVerifier")
    for _ in range(2):
        market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover(free=0)) as (node, echo):
        await open_calls(echo, 2)
        market.anvil.set_automine(mining)
        echo.release()
        await logged(events, "escrow.approval_sent")
        with contextlib.nullcontext() if mining else market.anvil.blocks_every(0.1):
            assert (await settled(node, 1))["state"] == "delivered"
            assert (await settled(node, 2))["state"] == "delivered"
    assert events.of("transaction.reverted") == []
    assert len(events.of("escrow.approval_sent")) <= 2
    assert len(judge.events("ProofReceived")) == 2
    assert market.allowed <= PRICE  # what is in flight is counted until it is final


@pytest.mark.parametrize("noted", [True, False])
async def test_what_was_sent_by_an_earlier_run_keeps_its_part(
    tmp_path: Path, market: Market, events: Events, noted: bool
) -> None:
    """Also when that run was killed before it noted that it had sent it."""
    judge = market.verifier("LazyVerifier")
    market.payee.send("approve", NODE.address, market.token, PRICE, sender=NODE)
    for _ in range(2):
        market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover(free=1)) as (_, echo):
        market.anvil.set_automine(False)
        await logged(events, "delivery.sent")
        await open_calls(echo, 1)
    if not noted:
        with sqlite3.connect(configuration(tmp_path).database_path) as connection:
            connection.execute("UPDATE deliveries SET state = 'sending' WHERE state = 'sent'")
        connection.close()
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        await logged(events, "escrow.approval_sent")
        market.anvil.set_automine(True)
        market.anvil.mine()
        assert (await settled(node, 1))["state"] == "delivered"
        assert (await settled(node, 2))["state"] == "delivered"
    assert events.of("transaction.reverted") == []
    (approval,) = events.of("escrow.approval_sent")
    assert approval["amount"] == 2 * PRICE


async def test_nobody_else_waits_for_an_approval(
    tmp_path: Path, v1: V1, market: Market, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where there is one place for all."""
    monkeypatch.setattr(steps, "_MAX_AT_CONTRACTS", 1)
    judge = market.verifier("LazyVerifier")
    free = v1.deploy("DelegatedConsumer", ALICE.address)
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover(free=0)) as (node, echo):
        await open_calls(echo, 1)
        market.anvil.set_automine(False)
        echo.release()
        await logged(events, "escrow.approval_sent")
        assert (await node.post("/api/jobs", request_v1(v1, free).body)).status == 200
        await logged(events, "delivery.sent")
        (sent,) = events.of("delivery.sent")
        assert sent["number"] == 2
        with market.anvil.blocks_every(0.1):
            assert (await settled(node, 1))["state"] == "delivered"
            assert (await settled(node, 2))["state"] == "delivered"


async def test_more_than_an_allowance_can_be(tmp_path: Path, v1: V1) -> None:
    wallet = v1.wallet(NODE)
    large = Payment(2**256 - 1, COIN)
    async with Sending(tmp_path, v1.anvil) as sending:
        escrow = Escrow(sending.rpc, sending.sender, wallet.address)
        escrow.reserve(1, large)
        securing = asyncio.create_task(escrow.secure(2, large, Subject(1, 1)))
        async with asyncio.timeout(10):
            while not securing.done():
                await sending.poll()
                await asyncio.sleep(0.01)
        await securing
    assert wallet.call("allowance", NODE.address, COIN) == large.amount


async def test_who_cannot_have_an_approval_takes_nothing_from_others(
    tmp_path: Path, v1: V1
) -> None:
    wallet = v1.wallet(ALICE)
    wallet.send("approve", NODE.address, COIN, PRICE, sender=ALICE)
    async with Sending(tmp_path, v1.anvil) as sending:
        escrow = Escrow(sending.rpc, sending.sender, wallet.address)
        with pytest.raises(TransientFailure, match="have to be approved"):
            await escrow.secure(1, Payment(2 * PRICE, COIN), Subject(1, 1))
        await escrow.secure(2, Payment(PRICE, COIN), Subject(2, 1))


# Approvals that are stuck


def securing(escrow: Escrow, number: int, payment: Payment) -> asyncio.Task[None]:
    """Begin to secure a delivery."""
    return asyncio.create_task(escrow.secure(number, payment, Subject(number, 1)))


async def test_a_stuck_approval_holds_up_only_what_needs_it(tmp_path: Path, v1: V1) -> None:
    wallet, token = v1.wallet(NODE), deploy(v1.anvil, "Token")
    wallet.send("approve", NODE.address, COIN, PRICE, sender=NODE)
    async with Sending(tmp_path, v1.anvil) as sending:
        v1.anvil.set_automine(False)
        escrow = Escrow(sending.rpc, sending.sender, wallet.address)
        stuck = securing(escrow, 1, Payment(9 * PRICE, COIN))
        await until(lambda: len(v1.anvil.mempool()) == 1)
        async with asyncio.timeout(10):  # the allowance suffices for it
            await escrow.secure(2, Payment(PRICE, COIN), Subject(2, 1))
        other = securing(escrow, 3, Payment(PRICE, token.address))
        await until(lambda: len(v1.anvil.mempool()) == 2)  # another token has one of its own
        late = securing(escrow, 4, Payment(PRICE, COIN))
        await asyncio.sleep(0.2)
        assert not any(task.done() for task in (stuck, other, late))
        while not all(task.done() for task in (stuck, other, late)):
            v1.anvil.mine()
            await sending.poll()
            await asyncio.sleep(0.01)
        await asyncio.gather(stuck, other, late)
    assert wallet.call("allowance", NODE.address, COIN) >= 11 * PRICE
    assert wallet.call("allowance", NODE.address, token.address) == PRICE


async def test_who_waits_for_an_approval_checks_its_time_now_and_then(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not send a second one for that, whatever else is needed meanwhile."""
    monkeypatch.setattr(module, "_MAX_WAIT", 0.3)
    wallet = v1.wallet(NODE)
    async with Sending(tmp_path, v1.anvil) as sending:
        v1.anvil.set_automine(False)
        escrow = Escrow(sending.rpc, sending.sender, wallet.address)
        for number in (1, 2, 1):
            with pytest.raises(ActionNeeded, match="waits for a block"):
                await escrow.secure(number, Payment(number * PRICE, COIN), Subject(number, 1))
        assert len(v1.anvil.mempool()) == 1
        v1.anvil.mine()
        await sending.poll()
        monkeypatch.undo()
        await escrow.secure(1, Payment(PRICE, COIN), Subject(1, 1))
    assert wallet.call("allowance", NODE.address, COIN) == PRICE


async def test_an_approval_whose_allowance_is_used_up_meanwhile(tmp_path: Path, v1: V1) -> None:
    """It writes what is zero then, which takes more gas than the estimate."""
    wallet = v1.wallet(NODE)
    wallet.send("approve", NODE.address, COIN, PRICE, sender=NODE)
    data = "0x" + wallet.encode("approve", NODE.address, COIN, 2 * PRICE).hex()
    call = {"from": NODE.address, "to": wallet.address, "data": data}
    estimate = v1.anvil.rpc("eth_estimateGas", call)
    wallet.send("approve", NODE.address, COIN, 0, sender=NODE)
    async with Proxy(v1.anvil) as proxy, Sending(tmp_path, v1.anvil, url=proxy.url) as sending:
        proxy.results["eth_estimateGas"] = estimate
        escrow = Escrow(sending.rpc, sending.sender, wallet.address)
        approving = securing(escrow, 1, Payment(2 * PRICE, COIN))
        while not approving.done():
            await sending.poll()
            await asyncio.sleep(0.01)
        await approving
    assert wallet.call("allowance", NODE.address, COIN) == 2 * PRICE


# Runs that end in the middle


async def test_a_run_that_ended_while_an_approval_was_in_flight(
    tmp_path: Path, market: Market, judge: Contract, events: Events
) -> None:
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover(free=0)) as (_, echo):
        await open_calls(echo, 1)
        market.anvil.set_automine(False)
        echo.release()
        await logged(events, "escrow.approval_sent")
    async with market.node(tmp_path, echo=Prover()) as (node, again):
        market.anvil.set_automine(True)
        market.anvil.mine()
        assert (await settled(node))["state"] == "delivered"
        assert again.calls == []
    assert market.anvil.nonce(NODE.address) == 2
    assert market.earned == 3 * PRICE


async def test_a_run_that_ended_between_approval_and_delivery(
    tmp_path: Path, market: Market, judge: Contract, events: Events
) -> None:
    market.ask(verifier=judge.address)
    proxy = FaultyRpc(market.anvil.url)
    coordinator = market.v1.coordinator.address.lower()
    asked = asyncio.Event()

    async def deaf(proxy: FaultyRpc, request: web.Request, asking: Answers) -> web.StreamResponse:
        """Does not say what a delivery costs."""
        answers = await proxy.proper(asking)
        for question, answer in zip(asking, answers, strict=True):
            if question["method"] != "eth_estimateGas":
                continue
            if question["params"][0]["to"].lower() == coordinator:
                answer["result"] = None
                asked.set()
        content = answers[0] if len(answers) == 1 else answers
        return web.Response(body=msgspec.json.encode(content), content_type="application/json")

    proxy.fault = deaf
    async with serving(proxy) as url, market.node(tmp_path, echo=Prover(), rpc_url=url):
        await asyncio.wait_for(asked.wait(), 10)
    assert market.allowed == PRICE
    async with market.node(tmp_path, echo=Prover()) as (node, again):
        assert (await settled(node))["state"] == "delivered"
        assert again.calls == []
    assert len(events.of("escrow.approval_sent")) == 1
    assert market.anvil.nonce(NODE.address) == 2


def test_kills_around_an_approval(tmp_path: Path, market: Market) -> None:
    """Each is sent once, and so is the delivery that it is for."""
    judge = market.verifier("LazyVerifier")
    steps = ("signed", "final")
    with EchoService(tmp_path) as echo:
        settings = {
            "enabled": True,
            "rpc_url": market.anvil.url,
            "registry_address": market.v1.registry.address,
            "trail_head_blocks": 0,
            "snapshot_sync": {"sync_period": 0.1},
            "wallet": {
                "private_key": NODE.key.hex(),
                "payment_address": market.payee.address,
            },
        }
        container = {"id": "echo", "url": echo.url + "/prove", "generates_proofs": True}
        config = {"chain": settings, "containers": [container]}
        node = NodeProcess(config, tmp_path / "node")
        own_command = node.command
        for number, step in enumerate(steps, 1):
            assert market.ask(verifier=judge.address) == number
            node.command = [*killed_at(step, number, "approval:{number}:"), *own_command[3:]]
            node.start()
            assert node.exit_code() == -9, f"{step}: {node.log()}"
            node.command = own_command
            with node:
                eventually(lambda: len(deliveries(market.consumer)) == number)  # noqa: B023
            assert market.anvil.nonce(NODE.address, "pending") == 2 * number
    assert len(judge.events("ProofReceived")) == len(steps)


# Approvals that are not to be had


async def test_a_wallet_of_somebody_else(tmp_path: Path, market: Market, judge: Contract) -> None:
    market.own(ALICE)
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, echo):
        found = await settled(node)
        assert found["state"] == "skipped"
        assert "InsufficientAllowance" in found["reason"]
        assert f"{ALICE.address} has to approve {NODE.address}" in found["reason"]
        assert market.payee.address in found["reason"]
        assert echo.calls == []
    assert market.anvil.nonce(NODE.address) == 0


async def test_a_wallet_of_somebody_else_who_approves(
    tmp_path: Path, market: Market, judge: Contract, events: Events, patient: None
) -> None:
    """For one answer; the other has to wait until that is free again."""
    market.own(ALICE)
    for _ in range(2):
        market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover(free=0)) as (node, echo):
        await waiting(node, "InsufficientAllowance")
        market.payee.send("approve", NODE.address, market.token, PRICE, sender=ALICE)
        await open_calls(echo, 2)
        market.anvil.set_automine(False)
        echo.release()
        async with asyncio.timeout(10):
            while len(market.anvil.mempool()) < 1:
                await asyncio.sleep(0.02)
        await logged(events, "delivery.deferred", 3)
        assert "have to be approved" in events.of("delivery.deferred")[-1]["reason"]
        market.anvil.set_automine(True)
        market.anvil.mine()
        assert (await settled(node, 1))["state"] == "delivered"
        assert (await settled(node, 2))["state"] == "delivered"
    assert market.anvil.nonce(NODE.address) == 2


async def test_a_wallet_with_too_little(tmp_path: Path, market: Market, judge: Contract) -> None:
    market.payee.send("withdraw", market.token, PRICE + 1, sender=NODE)
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, echo):
        found = await settled(node)
        assert found["state"] == "skipped"
        assert f"InsufficientFunds: the node's wallet {market.payee.address}" in found["reason"]
        assert echo.calls == []
    assert market.anvil.nonce(NODE.address) == 1


async def test_a_wallet_that_is_filled_meanwhile(
    tmp_path: Path, market: Market, judge: Contract, patient: None
) -> None:
    market.payee.send("withdraw", market.token, PRICE + 1, sender=NODE)
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, echo):
        await waiting(node, "InsufficientFunds")
        assert echo.calls == []
        market.pay(market.payee.address, 1)
        assert (await settled(node))["state"] == "delivered"
    assert market.earned == 2 * PRICE


async def test_what_is_locked_already_is_waited_for(
    tmp_path: Path, market: Market, patient: None
) -> None:
    """Nobody can ask a wallet how much of its money is locked: the simulation finds out."""
    market.payee.send("withdraw", market.token, PRICE, sender=NODE)
    judge = market.verifier("LazyVerifier")
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        assert (await settled(node))["state"] == "delivered"
        market.ask(verifier=judge.address)
        await waiting(node, "InsufficientFunds", 2)
        judge.send("finalize", 1, 1, NODE.address, True)
        assert (await settled(node, 2))["state"] == "delivered"


@pytest.mark.parametrize("fixed", [True, False])
async def test_an_approval_that_reverts(
    tmp_path: Path, market: Market, judge: Contract, events: Events, fixed: bool
) -> None:
    """The wallet has another owner when the approval is mined."""
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover(free=0)) as (node, echo):
        await open_calls(echo, 1)
        market.anvil.set_automine(False)
        echo.release()
        await logged(events, "escrow.approval_sent")
        market.own(ALICE)
        market.anvil.mine()
        if fixed:
            market.own(NODE)
        market.anvil.set_automine(True)
        found = await settled(node)
        (reverted,) = events.of("transaction.reverted")
        assert (reverted["subscription"], reverted["interval"]) == (1, 1)
        if fixed:
            assert found["state"] == "delivered"
            assert market.anvil.nonce(NODE.address) == 3
        else:
            assert found["state"] == "failed"
            assert "Unauthorized" in found["reason"]
            assert f"{PRICE} have to be approved for {NODE.address}" in found["reason"]
            assert market.anvil.nonce(NODE.address) == 1


async def test_a_server_that_cannot_say_what_an_approval_costs(
    tmp_path: Path, market: Market, judge: Contract
) -> None:
    """That is no refusal of the wallet: it is waited for."""
    proxy = FaultyRpc(market.anvil.url)
    wallet = market.payee.address.lower()
    times = asyncio.Semaphore(0)

    async def failing(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
        answers = await proxy.proper(asked)
        for question, answer in zip(asked, answers, strict=True):
            if question["method"] != "eth_estimateGas":
                continue
            if question["params"][0]["to"].lower() == wallet:
                answer.pop("result", None)
                answer["error"] = {"code": -32603, "message": "Internal error"}
                times.release()
        content = answers[0] if len(answers) == 1 else answers
        return web.Response(body=msgspec.json.encode(content), content_type="application/json")

    proxy.fault = failing
    market.ask(verifier=judge.address)
    async with (
        serving(proxy) as url,
        market.node(tmp_path, echo=Prover(), rpc_url=url) as (node, _),
    ):
        for _ in range(12):
            await asyncio.wait_for(times.acquire(), 10)
        proxy.heal()
        assert (await settled(node))["state"] == "delivered"


async def test_nobody_waits_for_gas_longer_than_the_interval(tmp_path: Path, v1: V1) -> None:
    """The node cannot pay for the approval of one interval, and can for the next one."""
    market = two_answers(Market(v1, consumer=v1.deploy("SubscriptionConsumer")))
    judge = market.verifier("AtomicVerifier", True)
    subscribe(
        v1,
        market.consumer,
        frequency=3,
        period=1000,
        amount=PRICE,
        wallet=market.payer.address,
        verifier=judge.address,
    )
    v1.anvil.set_balance(NODE.address, 0)
    async with market.node(tmp_path, echo=Prover()) as (node, echo):
        v1.anvil.increase_time(1000)
        await waiting(node, "Insufficient funds")
        assert len(echo.calls) == 1
        v1.anvil.increase_time(1000)
        found = await settled(node)
        assert found["state"] == "failed"
        assert "over" in found["reason"]
        assert "Insufficient funds" in found["reason"]
        v1.anvil.set_balance(NODE.address, ETHER)
        found = await settled(node, 2)
        assert (found["state"], found["interval"]) == ("delivered", 2)
    assert market.earned == 3 * PRICE
