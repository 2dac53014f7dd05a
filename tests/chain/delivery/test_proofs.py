"""What verifiers say of the node's proofs, at once and later, and what becomes of the money."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from infernet_edge.chain.delivery import proofs
from tests.support.delegated import request_v1
from tests.support.events import Events
from tests.support.evm import ALICE, NODE, V1, Contract, deliveries, deploy
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.market import PRICE, PROOF, Market, Prover
from tests.support.onchain import chain_of, polls, settled
from tests.support.running import RunningNode
from tests.support.serving import Echo, serving

MANY = 10  # answers for which there is money on both sides


def rich(market: Market) -> Market:
    market.pay(market.payer.address, (MANY - 1) * PRICE)
    market.approve(MANY * PRICE)
    market.pay(market.payee.address, MANY * PRICE)
    return market


@pytest.fixture
def market(v1: V1) -> Market:
    return rich(Market(v1))


async def logged(events: Events, name: str, count: int = 1) -> list[dict[str, object]]:
    """Wait for events."""
    async with asyncio.timeout(10):
        while len(events.of(name)) < count:
            await asyncio.sleep(0.01)
    return events.of(name)


async def verdict(node: RunningNode, number: int = 1) -> str:
    """What is stored of a delivery's proof."""
    followed = chain_of(node).proofs
    assert followed is not None
    return str((await followed.verdicts([number])).get(number, ""))


async def until_verdict(node: RunningNode, wanted: str, number: int = 1) -> None:
    async with asyncio.timeout(10):
        while await verdict(node, number) != wanted:
            await asyncio.sleep(0.01)


# Judged at once


@pytest.mark.parametrize("with_token", [False, True], ids=["coin", "token"])
@pytest.mark.parametrize("right", [True, False])
async def test_a_proof_that_is_judged_at_once(
    tmp_path: Path, v1: V1, events: Events, with_token: bool, right: bool
) -> None:
    market = rich(Market(v1, deploy(v1.anvil, "Token") if with_token else None))
    judge = market.verifier("AtomicVerifier", right)
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, echo):
        found = await settled(node)
        assert (found["state"], found["reason"]) == ("delivered", "")
        assert await verdict(node) == ("accepted" if right else "slashed")
        assert echo.calls[0]["requires_proof"] is True
    (event,) = events.of("proof.accepted" if right else "proof.slashed")
    assert events.of("proof.slashed" if right else "proof.accepted") == []
    assert (event["subscription"], event["interval"], event["number"]) == (1, 1, 1)
    assert (event["amount"], event["token"]) == (PRICE, market.token)
    assert event["wallet"] == market.payee.address
    assert event["transaction"] == found["transaction"]
    gained = PRICE if right else -PRICE
    assert market.earned == MANY * PRICE + gained
    assert market.balance(market.payer.address) == MANY * PRICE - gained
    (received,) = deliveries(market.consumer)
    assert received["proof"] == PROOF


async def test_each_has_its_own_verdict(tmp_path: Path, market: Market, events: Events) -> None:
    judge = market.verifier("AtomicVerifier", True)
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        for number, right in enumerate([True, False, True], 1):
            judge.send("setVerdict", right)
            market.ask(verifier=judge.address)
            assert (await settled(node, number))["state"] == "delivered"
        assert [await verdict(node, n) for n in (1, 2, 3)] == ["accepted", "slashed", "accepted"]
    assert len(events.of("proof.accepted")) == 2
    assert len(events.of("proof.slashed")) == 1


async def test_a_delegated_request_with_a_proof(tmp_path: Path, v1: V1, events: Events) -> None:
    market = rich(Market(v1, consumer=v1.deploy("DelegatedConsumer", ALICE.address)))
    judge = market.verifier("AtomicVerifier", False)
    request = request_v1(
        v1,
        market.consumer,
        paymentAmount=PRICE,
        wallet=market.payer.address,
        verifier=judge.address,
    )
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        assert await verdict(node) == "slashed"
    (event,) = events.of("proof.slashed")
    assert event["subscription"] == 1
    assert market.earned == (MANY - 1) * PRICE


# Judged later


@pytest.mark.parametrize("right", [True, False])
async def test_a_proof_that_is_judged_later(
    tmp_path: Path, market: Market, events: Events, right: bool
) -> None:
    judge = market.verifier("LazyVerifier")
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        assert (await settled(node))["state"] == "delivered"
        assert await verdict(node) == "awaited"
        receipt = judge.send("finalize", 1, 1, NODE.address, right)
        await until_verdict(node, "accepted" if right else "slashed")
        # It is logged after it is stored: the node must not stop between the two.
        (event,) = await logged(events, "proof.accepted" if right else "proof.slashed")
    assert (event["subscription"], event["interval"]) == (1, 1)
    assert event["transaction"] == receipt.hash
    assert market.earned == MANY * PRICE + (PRICE if right else -PRICE)


async def test_a_verdict_is_reported_when_it_is_deep_enough(
    tmp_path: Path, market: Market, events: Events
) -> None:
    judge = market.verifier("LazyVerifier")
    market.ask(verifier=judge.address)
    market.anvil.mine(3)
    async with market.node(tmp_path, echo=Prover(), trail=3) as (node, _):
        await logged(events, "escrow.approval_sent")
        market.anvil.mine(3)
        await logged(events, "delivery.sent")
        market.anvil.mine(3)
        assert (await settled(node))["state"] == "delivered"
        judge.send("finalize", 1, 1, NODE.address, False)
        await polls(node)
        assert await verdict(node) == "awaited"
        market.anvil.mine(3)
        await until_verdict(node, "slashed")
        await logged(events, "proof.slashed")
    assert len(events.of("proof.slashed")) == 1


@pytest.mark.parametrize("right", [True, False])
async def test_a_proof_that_is_judged_while_the_node_is_off(
    tmp_path: Path, market: Market, events: Events, right: bool
) -> None:
    judge = market.verifier("LazyVerifier")
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        assert (await settled(node))["state"] == "delivered"
    receipt = judge.send("finalize", 1, 1, NODE.address, right)
    market.anvil.mine(20)
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        await until_verdict(node, "accepted" if right else "slashed")
        # It is logged after it is stored: the node must not stop between the two.
        (event,) = await logged(events, "proof.accepted" if right else "proof.slashed")
    assert event["transaction"] == receipt.hash


@pytest.mark.parametrize("off", [False, True], ids=["on", "off"])
async def test_verdicts_are_reported_apart(
    tmp_path: Path, market: Market, events: Events, off: bool
) -> None:
    """Three proofs are worth the same; the last one is judged first, and it alone is wrong."""
    judge = market.verifier("LazyVerifier")
    for _ in range(3):
        market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        for number in (1, 2, 3):
            assert (await settled(node, number))["state"] == "delivered"
        if not off:
            judge_all(judge)
            await three_verdicts(node)
    if off:
        judge_all(judge)
        async with market.node(tmp_path, echo=Prover()) as (node, _):
            await three_verdicts(node)
    (event,) = events.of("proof.slashed")
    assert event["subscription"] == 3
    assert len(events.of("proof.accepted")) == 2


def judge_all(judge: Contract) -> None:
    for identifier, right in ((3, False), (1, True), (2, True)):
        judge.send("finalize", identifier, 1, NODE.address, right)


async def three_verdicts(node: RunningNode) -> None:
    for number in (1, 2, 3):
        async with asyncio.timeout(10):
            while await verdict(node, number) == "awaited":
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("limit", [10, 0], ids=["few blocks", "never"])
async def test_a_server_that_gives_few_logs(
    tmp_path: Path, market: Market, events: Events, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """One that gives none leaves open how the money went, and nothing waits for it."""
    monkeypatch.setattr(proofs, "_MAX_BLOCKS", 10)
    judge = market.verifier("LazyVerifier")
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, _):
        assert (await settled(node))["state"] == "delivered"
    market.anvil.mine(25)
    judge.send("finalize", 1, 1, NODE.address, False)
    market.anvil.mine(25)
    proxy = FaultyRpc(market.anvil.url)

    async def sparing(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
        newest = market.anvil.block().number
        answers = await proxy.proper(asked)
        for question, answer in zip(asked, answers, strict=True):
            if question["method"] == "eth_getLogs":
                wanted = question["params"][0]
                first, end = (
                    newest if tag == "latest" else int(tag, 16)
                    for tag in (wanted["fromBlock"], wanted.get("toBlock", "latest"))
                )
                if end - first >= limit:
                    answer.pop("result", None)
                    answer["error"] = {"code": -32602, "message": "block range is too wide"}
        content = answers[0] if len(answers) == 1 else answers
        return web.Response(body=msgspec.json.encode(content), content_type="application/json")

    proxy.fault = sparing
    async with (
        serving(proxy) as url,
        market.node(tmp_path, echo=Prover(), rpc_url=url) as (node, _),
    ):
        await until_verdict(node, "slashed" if limit else "decided")


# Not judged


async def test_a_verifier_that_does_not_take_the_token(tmp_path: Path, market: Market) -> None:
    judge = market.verifier("AtomicVerifier", True)
    judge.send("support", market.token, False, 0)
    market.ask(verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, echo):
        found = await settled(node)
        assert found["state"] == "skipped"
        assert found["reason"].startswith("UnsupportedVerifierToken")
        assert judge.address in found["reason"]
        assert echo.calls == []
    assert market.anvil.nonce(NODE.address) == 0


async def test_a_verifier_that_is_none(tmp_path: Path, market: Market) -> None:
    market.ask(verifier=ALICE.address)
    async with market.node(tmp_path, echo=Prover()) as (node, echo):
        found = await settled(node)
        assert found["state"] == "skipped"
        assert found["reason"].startswith("UnsupportedVerifierToken")
        assert echo.calls == []


async def test_a_proof_without_a_payment_is_not_judged(tmp_path: Path, market: Market) -> None:
    """Coordinators ask verifiers about what is paid only; the proof is delivered all the same."""
    judge = market.verifier("LazyVerifier")
    market.ask(amount=0, verifier=judge.address)
    async with market.node(tmp_path, echo=Prover()) as (node, echo):
        assert (await settled(node))["state"] == "delivered"
        assert await verdict(node) == ""
        assert echo.calls[0]["requires_proof"] is True
    (received,) = deliveries(market.consumer)
    assert received["proof"] == PROOF
    assert judge.events("ProofReceived") == []
    assert market.anvil.nonce(NODE.address) == 1


async def test_a_container_that_proves_nothing(
    tmp_path: Path, market: Market, events: Events
) -> None:
    judge = market.verifier("AtomicVerifier", True)
    market.ask(verifier=judge.address)
    rules = {"generates_proofs": False}
    async with market.node(tmp_path, echo=Echo(), container=rules) as (_, echo):
        (event,) = await logged(events, "subscription.ignored")
        assert str(event["reason"]).startswith("Container does not generate proof")
        assert echo.calls == []
