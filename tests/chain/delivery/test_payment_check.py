"""Paid subscriptions: answered when the money is there, and else not computed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from infernet_edge.chain.delivery import processor
from tests.support.asking import subscribe
from tests.support.delegated import request_v1
from tests.support.events import Events
from tests.support.evm import (
    ALICE,
    COIN,
    DEPLOYER,
    FEE_RECIPIENT,
    NODE,
    OTHER_NODE,
    V1,
    Anvil,
    deliveries,
    deploy,
    deploy_v1,
)
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.market import PRICE, Market, Prover
from tests.support.onchain import delivery, settled, subscriptions, waiting
from tests.support.serving import serving


@pytest.fixture(params=[False, True], ids=["coin", "token"])
def market(v1: V1, request: pytest.FixtureRequest) -> Market:
    return Market(v1, deploy(v1.anvil, "Token") if request.param else None)


@pytest.fixture
def coins(v1: V1) -> Market:
    return Market(v1)


async def seen(events: Events, name: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait for events."""
    async with asyncio.timeout(10):
        while len(events.of(name)) < count:
            await asyncio.sleep(0.02)
    return events.of(name)


# Paid


@pytest.mark.parametrize("fee", [0, 500])  # hundredths of a percent; it is taken twice
@pytest.mark.parametrize("with_token", [False, True], ids=["coin", "token"])
async def test_an_answer_is_paid(
    tmp_path: Path, anvil: Anvil, fee: int, with_token: bool, events: Events
) -> None:
    market = Market(deploy_v1(anvil, fee=fee), deploy(anvil, "Token") if with_token else None)
    market.ask()
    async with market.node(tmp_path) as (node, _):
        found = await settled(node)
    share = PRICE * 2 * fee // 10_000
    assert (found["state"], found["reason"]) == ("delivered", "")
    assert market.earned == PRICE - share
    assert market.balance(FEE_RECIPIENT.address) == share
    assert market.balance(market.payer.address) == 0
    (logged,) = events.of("delivery.delivered")
    assert (logged["subscription"], logged["interval"]) == (1, 1)
    assert (logged["amount"], logged["token"]) == (PRICE, market.token)


async def test_a_delegated_request_is_paid(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    market = Market(v1, deploy(v1.anvil, "Token"), consumer=consumer)
    request = request_v1(
        v1,
        consumer,
        paymentAmount=PRICE,
        paymentToken=market.token,
        wallet=market.payer.address,
    )
    async with market.node(tmp_path) as (node, _):
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
    assert market.earned == PRICE


async def test_each_interval_is_paid_for_itself(tmp_path: Path, v1: V1, events: Events) -> None:
    """One without money is skipped, and the next one is served again."""
    market = Market(v1, consumer=v1.deploy("SubscriptionConsumer"))
    subscribe(
        v1, market.consumer, frequency=3, period=100, amount=PRICE, wallet=market.payer.address
    )
    async with market.node(tmp_path) as (node, echo):
        v1.anvil.increase_time(100)
        assert (await settled(node))["state"] == "delivered"
        v1.anvil.increase_time(100)
        found = await settled(node, 2)
        assert (found["state"], found["interval"]) == ("skipped", 2)
        assert "InsufficientFunds" in found["reason"]
        market.pay(market.payer.address, PRICE)
        market.approve(PRICE)
        v1.anvil.increase_time(100)
        assert (await settled(node, 3))["state"] == "delivered"
        await seen(events, "subscription.completed")
        assert len(echo.calls) == 2
    assert market.earned == 2 * PRICE


# Not what the node takes


async def test_a_node_without_a_wallet_serves_nothing_that_is_paid(
    tmp_path: Path, coins: Market, events: Events
) -> None:
    coins.ask()
    async with coins.node(tmp_path, wallet={"payment_address": None}) as (node, echo):
        (logged,) = await seen(events, "subscription.ignored")
        reason = f"Node has no payment address, amount {PRICE}, token {COIN}; set chain.wallet"
        assert logged["reason"].startswith(reason)
        assert (logged["subscription"], logged["amount"], logged["token"]) == (1, PRICE, COIN)
        (ignored,) = await subscriptions(node, ignored=True)
        assert ignored["containers"] == ("echo",), "they are known, whatever else is missing"
        assert echo.calls == []


async def test_containers_say_what_they_are_paid_with(
    tmp_path: Path, market: Market, events: Events
) -> None:
    other = DEPLOYER.address
    market.ask()
    async with market.node(tmp_path, container={"accepted_payments": {other: 1}}) as (_, echo):
        (logged,) = await seen(events, "subscription.ignored")
        assert logged["reason"].startswith("Payment token not accepted")
        assert market.token in logged["reason"]
        assert echo.calls == []


async def test_containers_have_their_least_price(
    tmp_path: Path, market: Market, events: Events
) -> None:
    """What was ignored is read again when the rules are others."""
    market.ask(amount=PRICE - 1)
    least = {"accepted_payments": {market.token: PRICE}}
    async with market.node(tmp_path, container=least) as (_, echo):
        (logged,) = await seen(events, "subscription.ignored")
        assert logged["reason"].startswith("Payment too small")
        assert f"amount {PRICE - 1}" in logged["reason"]
        assert f"minimum {PRICE}" in logged["reason"]
        assert echo.calls == []
    least = {"accepted_payments": {market.token: PRICE - 1}}
    async with market.node(tmp_path, container=least) as (node, _):
        assert (await settled(node))["state"] == "delivered"
    assert market.earned == PRICE - 1


async def test_containers_have_their_owners(tmp_path: Path, coins: Market, events: Events) -> None:
    coins.ask()
    rules = {"allowed_addresses": [DEPLOYER.address]}
    async with coins.node(tmp_path, container=rules) as (_, echo):
        (logged,) = await seen(events, "subscription.ignored")
        assert logged["reason"].startswith("Container not allowed for address")
        assert coins.consumer.address in logged["reason"]
        assert echo.calls == []
    others = {"allowed_addresses": [coins.consumer.address.lower().removeprefix("0x")]}
    async with coins.node(tmp_path, container=others) as (node, _):
        assert (await settled(node))["state"] == "delivered"


# Not paid


async def test_a_consumers_wallet_that_the_factory_does_not_know(
    tmp_path: Path, coins: Market, events: Events
) -> None:
    coins.ask(wallet=ALICE.address)
    async with coins.node(tmp_path) as (node, echo):
        found = await settled(node)
        assert found["state"] == "skipped"
        assert found["reason"].startswith("InvalidWallet: the consumer's wallet")
        assert ALICE.address in found["reason"]
        assert echo.calls == []
        (logged,) = await seen(events, "delivery.skipped")
        assert (logged["subscription"], logged["interval"]) == (1, 1)
        assert (logged["amount"], logged["token"]) == (PRICE, COIN)
        assert logged["reason"] == found["reason"]


async def test_an_own_wallet_that_the_factory_does_not_know(tmp_path: Path, coins: Market) -> None:
    coins.ask()
    async with coins.node(tmp_path, wallet={"payment_address": NODE.address}) as (node, echo):
        found = await settled(node)
        assert found["state"] == "skipped"
        assert found["reason"].startswith("InvalidWallet: chain.wallet.payment_address")
        assert echo.calls == []


@pytest.mark.parametrize("missing", ["InsufficientFunds", "InsufficientAllowance"])
async def test_what_is_not_paid_is_not_computed(
    tmp_path: Path, market: Market, missing: str
) -> None:
    take_away(market, missing)
    market.ask()
    async with market.node(tmp_path) as (node, echo):
        found = await settled(node)
        assert found["state"] == "skipped"
        assert f"{missing}: the " in found["reason"]
        assert str(PRICE - 1) in found["reason"]
        assert market.payer.address in found["reason"]
        assert echo.calls == []
        assert (await node.get("/info")).body["pending"]["onchain"] == 0


@pytest.mark.parametrize("missing", ["InsufficientFunds", "InsufficientAllowance"])
async def test_what_is_paid_after_all_is_computed(
    tmp_path: Path,
    market: Market,
    missing: str,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processor, "_MAX_REFUSALS", 100)
    take_away(market, missing)
    market.ask()
    async with market.node(tmp_path) as (node, echo):
        await seen(events, "delivery.deferred")
        await waiting(node, missing)
        assert echo.calls == []
        market.pay(market.payer.address, 1)
        market.approve(PRICE)
        found = await settled(node)
        assert (found["state"], found["reason"]) == ("delivered", "")
        assert len(deliveries(market.consumer)) == 1
    assert market.earned == PRICE
    # Once for each reason: that of a simulation, when the payment comes between it and the check of
    # the wallets.
    reasons = [each["reason"] for each in events.of("delivery.deferred")]
    assert len(reasons) == len(set(reasons))
    assert reasons[0].startswith(missing)
    assert all(reason.startswith((missing, "TransferFailed")) for reason in reasons), reasons


async def test_what_is_not_paid_until_its_interval_is_over(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short intervals end before the node gives up."""
    monkeypatch.setattr(processor, "_MAX_REFUSALS", 1000)
    market = Market(v1, consumer=v1.deploy("SubscriptionConsumer"))
    take_away(market, "InsufficientAllowance")
    subscribe(
        v1, market.consumer, frequency=2, period=100, amount=PRICE, wallet=market.payer.address
    )
    async with market.node(tmp_path) as (node, echo):
        v1.anvil.increase_time(100)
        await waiting(node, "InsufficientAllowance")
        v1.anvil.increase_time(100)
        found = await settled(node)
        assert found["state"] == "skipped"
        assert "over" in found["reason"]
        assert found["reason"].count("InsufficientAllowance") == 1
        assert echo.calls == []
        market.approve(PRICE)
        assert (await settled(node, 2))["state"] == "delivered"


def take_away(market: Market, missing: str) -> None:
    if missing == "InsufficientFunds":
        market.payer.send("withdraw", market.token, 1, sender=ALICE)
    else:
        market.approve(PRICE - 1)


async def test_a_token_that_is_none(tmp_path: Path, coins: Market) -> None:
    """Whatever is at its address has no balances."""
    coins.token = ALICE.address
    coins.ask()
    async with coins.node(tmp_path) as (node, echo):
        found = await settled(node)
        assert found["state"] == "skipped"
        assert f"token {ALICE.address} is not a token" in found["reason"]
        assert echo.calls == []


async def test_what_others_were_paid_for_is_not_called_unpaid(tmp_path: Path, v1: V1) -> None:
    """The other node has the money, and this one has nothing to wait for."""
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    market = Market(v1, consumer=consumer)
    request = request_v1(v1, consumer, paymentAmount=PRICE, wallet=market.payer.address)
    theirs = v1.wallet(OTHER_NODE)
    request.deliver(v1.coordinator, sender=OTHER_NODE, wallet=theirs.address)
    async with market.node(tmp_path) as (node, echo):
        assert (await node.post("/api/jobs", request.body)).status == 200
        found = await settled(node)
        assert (found["state"], found["answered_by"]) == ("answered", "others")
        assert found["reason"].startswith("IntervalCompleted")
        assert echo.calls == []


@pytest.mark.parametrize(
    "answer",
    [
        {"result": None},
        {"error": {"code": -32603, "message": "Internal error"}},
        {"error": {"code": -32000, "message": "I would rather not"}},
    ],
    ids=["nothing", "internal error", "unknown error"],
)
async def test_a_server_that_does_not_answer_says_nothing_of_wallets(
    tmp_path: Path, coins: Market, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    monkeypatch.setattr(processor, "_MAX_REFUSALS", 1000)
    question = coins.v1.wallet_factory.selector("isValidWallet").hex()
    proxy = FaultyRpc(coins.anvil.url)
    times = asyncio.Semaphore(0)

    async def silent(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
        answers = await proxy.proper(asked)
        if any(question in str(each["params"]) for each in asked):
            answers = [
                proper
                if each["method"] == "eth_chainId"
                else {"jsonrpc": "2.0", "id": each["id"]} | answer
                for each, proper in zip(asked, answers, strict=True)
            ]
            times.release()
        content = answers[0] if len(answers) == 1 else answers
        return web.Response(body=msgspec.json.encode(content), content_type="application/json")

    proxy.fault = silent
    coins.ask()
    async with serving(proxy) as url, coins.node(tmp_path, rpc_url=url) as (node, echo):
        for _ in range(3):
            await asyncio.wait_for(times.acquire(), 10)
        assert (await delivery(node))["state"] == "accepted"
        assert echo.calls == []
        proxy.heal()
        assert (await settled(node))["state"] == "delivered"


# Contracts of others


class Listening(FaultyRpc):
    """Remembers how much gas the contracts at some addresses were given, each time."""

    def __init__(self, url: str, *addresses: str) -> None:
        super().__init__(url)
        self.gas: dict[str, list[Any]] = {address.lower(): [] for address in addresses}
        self.fault = self._note

    @staticmethod
    async def _note(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
        assert isinstance(proxy, Listening)
        for question in asked:
            if question["method"] == "eth_call":
                call = question["params"][0]
                proxy.gas.get(call["to"].lower(), []).append(call.get("gas"))
        answers = await proxy.proper(asked)
        content = answers[0] if len(answers) == 1 else answers
        return web.Response(body=msgspec.json.encode(content), content_type="application/json")


async def test_contracts_of_others_have_a_bound(tmp_path: Path, v1: V1) -> None:
    token = deploy(v1.anvil, "Token")
    market = Market(v1, token, consumer=v1.deploy("DelegatedConsumer", ALICE.address))
    market.pay(market.payee.address, PRICE)
    judge = market.verifier("AtomicVerifier", True)
    request = request_v1(
        v1,
        market.consumer,
        paymentAmount=PRICE,
        paymentToken=token.address,
        wallet=market.payer.address,
        verifier=judge.address,
        period=100,
        frequency=2,
    )
    addresses = [each.address for each in (token, market.consumer, market.payer, judge)]
    proxy = Listening(v1.anvil.url, *addresses)
    async with (
        serving(proxy) as url,
        market.node(tmp_path, rpc_url=url, echo=Prover()) as (node, _),
    ):
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        market.pay(market.payer.address, PRICE)
        market.approve(PRICE)
        v1.anvil.increase_time(100)
        assert (await settled(node, 2))["state"] == "delivered"
    consumer = proxy.gas.pop(market.consumer.address.lower())
    assert consumer == [hex(2_000_000), hex(30_000_000)]  # its signer, and its input
    for gas in proxy.gas.values():
        assert gas
        assert set(gas) == {hex(2_000_000)}


async def test_a_token_that_never_ends(tmp_path: Path, v1: V1, events: Events) -> None:
    """It costs the server little, and others nothing."""
    market = Market(v1)
    market.token = "0x" + 20 * "77"
    v1.anvil.rpc("anvil_setCode", market.token, "0x5b600056")  # a jump to itself
    market.ask()
    async with market.node(tmp_path) as (node, echo):
        found = await settled(node)
        assert found["state"] in ("failed", "skipped")
        assert echo.calls == []
    assert events.of("rpc.lost") == []


async def test_without_a_valid_wallet_a_token_is_not_asked(tmp_path: Path, v1: V1) -> None:
    market = Market(v1, deploy(v1.anvil, "Token"))
    market.ask(wallet=ALICE.address)
    proxy = Listening(v1.anvil.url, market.token, ALICE.address)
    async with serving(proxy) as url, market.node(tmp_path, rpc_url=url) as (node, _):
        assert (await settled(node))["reason"].startswith("InvalidWallet: the consumer's wallet")
    assert list(proxy.gas.values()) == [[], []]
