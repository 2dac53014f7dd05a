"""What goes wrong around deliveries: requests, servers, clocks, money, and the chain itself."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.chain import chain
from infernet_edge.chain.delivery import processor
from infernet_edge.chain.rpc.client import RpcClient
from infernet_edge.chain.rpc.state import health
from infernet_edge.chain.txm import in_flight
from infernet_edge.chain.txm.in_flight import StuckLimits
from tests.support.delegated import request_v0, request_v1
from tests.support.evm import ALICE, ETHER, NODE, OTHER_NODE, V0, V1, deliveries
from tests.support.faulty_rpc import (
    Fault,
    FaultyRpc,
    down,
    half,
    html,
    internal_error,
    nothing,
    other_chain,
    slow,
    throttled,
    wrong_id,
)
from tests.support.onchain import chain_of, delivery, on_chain, polls, settled, until
from tests.support.running import RunningNode
from tests.support.serving import Echo, serving

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture(autouse=True)
def poll_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a second in a node waits for a moment in these tests."""
    monkeypatch.setattr(chain, "RpcClient", partial(RpcClient, timeout=0.4))
    monkeypatch.setattr(in_flight, "StuckLimits", lambda: StuckLimits(rebroadcast=0.1))


def consumer_of(v1: V1) -> Any:
    return v1.deploy("DelegatedConsumer", ALICE.address)


async def accepted(node: RunningNode, body: dict[str, Any]) -> None:
    reply = await node.post("/api/jobs", body)
    assert (reply.status, reply.body) == (200, {})


async def reaches(node: RunningNode, state: str, number: int = 1) -> dict[str, Any]:
    """Wait until a delivery is in a state."""
    async with asyncio.timeout(20):
        while (found := await delivery(node, number))["state"] != state:
            await asyncio.sleep(0.02)
    return found


# Requests


async def test_every_number_out_of_range_is_answered_with_its_field(
    tmp_path: Path, v1: V1, v0: V0
) -> None:
    bodies = (request_v1(v1, consumer_of(v1)).body, request_v0(v0, v0.consumer()).body)
    wide = 2**256
    signatures = [
        ("r", 0),
        ("r", ORDER),
        ("r", 2**256 - 1),
        ("r", wide),
        ("s", 0),
        ("s", ORDER),
        ("s", wide),
        ("s", -1),
        ("v", 2),
        ("v", 26),
        ("v", 29),
        ("v", 255),
        ("v", wide),
        ("nonce", 2**32),
        ("nonce", wide),
        ("expiry", 2**32),
        ("expiry", -1),
    ]
    async with on_chain(tmp_path, v1=v1, v0=v0) as (node, echo):
        for body in bodies:
            subscription = body["subscription"]
            numbers = [name for name, value in subscription.items() if type(value) is int]
            wrong = [("signature", *pair) for pair in signatures]
            wrong += [("subscription", name, wide) for name in numbers]
            wrong += [("subscription", name, -1) for name in numbers]
            for part, name, value in wrong:
                changed = body | {part: body[part] | {name: value}}
                reply = await node.post("/api/jobs", changed)
                assert reply.status == 400, (part, name, value, reply.body)
                assert reply.body["params"] == {"field": f"{part}.{name}"}
        assert (await node.get("/info")).body["pending"]["onchain"] == 0
        assert echo.calls == []


async def test_an_amount_of_256_bits_is_verified_to_the_digit(tmp_path: Path, v1: V1) -> None:
    """Taken for a float in flight, the signature would be another account's."""
    consumer = consumer_of(v1)
    payment: dict[str, Any] = {"accepted_payments": {}}
    wallet = {"payment_address": v1.wallet(NODE).address}
    settings = {"wallet": wallet}
    async with on_chain(tmp_path, v1=v1, chain=settings, container=payment) as (node, _):
        request = request_v1(v1, consumer, paymentAmount=2**256 - 1)
        await accepted(node, request.body)
        body = request_v1(v1, consumer, nonce=2, paymentAmount=2**256 - 1).body
        body["subscription"]["payment_amount"] -= 1
        reply = await node.post("/api/jobs", body)
        assert (reply.status, reply.body["error"]) == (405, "Signer mismatch")
        found = await settled(node)
        assert found["state"] == "skipped"
        assert found["reason"].startswith("InvalidWallet")


async def test_a_nonce_that_is_used_on_the_chain_is_not_answered_again(
    tmp_path: Path, v1: V1
) -> None:
    """The subscription that the nonce made exists, is answered, and no other comes of it."""
    consumer = consumer_of(v1)
    request = request_v1(v1, consumer)
    request.deliver(v1.coordinator, output=b"theirs", sender=OTHER_NODE)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        await accepted(node, request.body)
        assert (await settled(node))["reason"].startswith("IntervalCompleted")
        await accepted(node, request.body)
        other = request_v1(v1, consumer, frequency=2, period=60)
        reply = await node.post("/api/jobs", other.body)
        assert reply.status == 409
        assert echo.calls == []
        assert v1.newest_id() == 1


# The servers

FAULTS = (down, slow, html, throttled, wrong_id, half, internal_error, nothing)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_requests_come_in_while_the_servers_fail(
    tmp_path: Path, v1: V1, fault: Fault
) -> None:
    consumer = consumer_of(v1)
    proxy = FaultyRpc(v1.anvil.url)
    proxy.fault = fault
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, echo):
        for number in (1, 2):
            await accepted(node, request_v1(v1, consumer, nonce=number).body)
            identifier = await node.job()
            assert (await node.finished(identifier))["status"] == "success"
            assert (await delivery(node, number))["state"] == "accepted"
            known = len(proxy.methods)

            def noticed(most: int = known + 3) -> bool:
                return bool(chain_of(node).problem) or len(proxy.methods) > most

            await until(noticed)
            proxy.heal()
            found = await settled(node, number)
            assert (found["state"], found["reason"]) == ("delivered", "")
            assert chain_of(node).problem == ""
            proxy.fault = fault
        proxy.heal()
        assert len(deliveries(consumer)) == 2
        assert len(echo.calls) == 4


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_the_servers_fail_in_the_middle_of_a_delivery(
    tmp_path: Path, v1: V1, fault: Fault
) -> None:
    """The answer is there, and waits for a server that takes it."""
    consumer = consumer_of(v1)
    proxy, echo = FaultyRpc(v1.anvil.url), Echo()
    async with (
        serving(proxy) as url,
        on_chain(tmp_path, v1=v1, rpc_url=url, echo=echo) as (node, _),
    ):
        await accepted(node, request_v1(v1, consumer, data={"hold": True}).body)
        await until(lambda: echo.open)
        proxy.fault = fault
        echo.release()
        await reaches(node, "sending")
        await until(lambda: chain_of(node).problem or "eth_estimateGas" in proxy.methods[-2:])
        proxy.heal()
        found = await settled(node)
        assert (found["state"], len(deliveries(consumer)), len(echo.calls)) == ("delivered", 1, 1)


async def test_the_chain_becomes_another_one(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_CHECK_PERIOD", 0.0)
    consumer = consumer_of(v1)
    proxy = FaultyRpc(v1.anvil.url)
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        await accepted(node, request_v1(v1, consumer).body)
        await settled(node)
        proxy.fault = other_chain(5)
        await until(lambda: chain_of(node).problem)
        await accepted(node, request_v1(v1, consumer, nonce=2).body)
        identifier = await node.job()
        assert (await node.finished(identifier))["status"] == "success"
        assert (await delivery(node, 2))["state"] == "accepted"
        assert "it serves chain 5" in chain_of(node).problem
        proxy.heal()
        assert (await settled(node, 2))["state"] == "delivered"
        assert len(deliveries(consumer)) == 2
    proxy.fault = other_chain(5)
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        await until(lambda: "it serves chain 5" in chain_of(node).problem)


# Clocks


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_clock_of_the_chain_counts(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + hours * 3600)
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until(lambda: chain_of(node).head.latest)
        expired = request_v1(v1, consumer, nonce=2, expires_in=-60)
        reply = await node.post("/api/jobs", expired.body)
        assert (reply.status, reply.body["error"]) == (405, "Signature expired")
        request = request_v1(v1, consumer, expires_in=600, period=600, frequency=2)
        await accepted(node, request.body)
        found = await settled(node)
        assert (found["state"], found["interval"]) == ("delivered", 1)
        assert len(deliveries(consumer)) == 1


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_wrong_clock_without_a_chain_costs_no_delivery(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Before the first block only the clock of the host says anything about the time."""
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + hours * 3600)
    consumer = consumer_of(v1)
    proxy = FaultyRpc(v1.anvil.url)
    proxy.fault = down
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        request = request_v1(v1, consumer, expires_in=600, period=600, frequency=20)
        await accepted(node, request.body)
        proxy.heal()
        found = await settled(node)
        assert (found["state"], found["interval"]) == ("delivered", 1)
        assert len(deliveries(consumer)) == 1


async def test_an_interval_that_passed_while_the_chain_was_away(tmp_path: Path, v1: V1) -> None:
    """The subscription is not lost with it: the interval that has come is answered."""
    consumer = consumer_of(v1)
    proxy = FaultyRpc(v1.anvil.url)
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        await until(lambda: chain_of(node).head.latest)
        request = request_v1(v1, consumer, period=100, frequency=5)
        proxy.fault = down
        await accepted(node, request.body)
        v1.anvil.increase_time(250)
        proxy.heal()
        found = await settled(node)
        assert (found["state"], found["interval"]) == ("delivered", 3), found


# Money, nonces and blocks


async def test_without_money_for_gas_it_waits_for_some(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "_MAX_REFUSALS", 1)
    consumer = consumer_of(v1)
    v1.anvil.set_balance(NODE.address, 0)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        await accepted(node, request_v1(v1, consumer).body)
        async with asyncio.timeout(20):
            while "nsufficient funds" not in (found := await delivery(node))["reason"]:
                await asyncio.sleep(0.02)
        assert (found["state"], found["transaction"]) == ("sending", "")
        v1.anvil.set_balance(NODE.address, ETHER)
        found = await settled(node)
        assert (found["state"], found["reason"]) == ("delivered", "")
        assert (len(deliveries(consumer)), len(echo.calls)) == (1, 1)


async def test_who_never_gets_money_is_reported_why_and_given_up_in_the_end(
    tmp_path: Path, v1: V1
) -> None:
    v1.anvil.set_balance(NODE.address, 0)
    v1.anvil.set_block_time(1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await accepted(node, request_v1(v1, consumer_of(v1), expires_in=500).body)
        async with asyncio.timeout(20):
            while "nsufficient funds" not in (await delivery(node))["reason"]:
                await asyncio.sleep(0.02)
        v1.anvil.increase_time(600)
        found = await settled(node)
        assert found["state"] == "failed"
        assert found["reason"].startswith("SignatureExpired")
        assert v1.anvil.nonce(NODE.address) == 0


async def test_another_program_uses_the_nonce(tmp_path: Path, v1: V1) -> None:
    consumer, anvil = consumer_of(v1), v1.anvil
    async with on_chain(tmp_path, v1=v1) as (node, _):
        anvil.set_automine(False)
        await accepted(node, request_v1(v1, consumer).body)
        await reaches(node, "sent")
        theirs = anvil.send_raw(NODE, ALICE.address, gas=21_000, nonce=0, gas_price=10**12)
        anvil.mine()
        assert anvil.receipt(theirs) is not None
        anvil.set_automine(True)
        anvil.mine(3)
        found = await settled(node)
        assert (found["state"], len(deliveries(consumer))) == ("delivered", 1)
        transaction = anvil.transaction(found["transaction"])
        assert transaction is not None
        assert int(transaction["nonce"], 16) == 1


async def test_a_transaction_that_vanishes_is_given_to_the_server_again(
    tmp_path: Path, v1: V1
) -> None:
    consumer, anvil = consumer_of(v1), v1.anvil
    async with on_chain(tmp_path, v1=v1) as (node, _):
        anvil.set_automine(False)
        await accepted(node, request_v1(v1, consumer).body)
        sent = await reaches(node, "sent")
        await until(anvil.mempool)
        for _ in range(2):
            anvil.drop_transaction(sent["transaction"])
            await until(anvil.mempool)
            assert anvil.mempool() == [sent["transaction"]]
        anvil.mine()
        found = await settled(node)
        assert (found["state"], found["transaction"]) == ("delivered", sent["transaction"])
        assert (len(deliveries(consumer)), anvil.nonce(NODE.address)) == (1, 1)


async def test_a_block_is_replaced_by_another(tmp_path: Path, v1: V1) -> None:
    consumer, anvil = consumer_of(v1), v1.anvil
    async with on_chain(tmp_path, v1=v1, chain={"trail_head_blocks": 2}) as (node, echo):
        await accepted(node, request_v1(v1, consumer).body)
        await until(lambda: deliveries(consumer))
        await polls(node, 3)  # at a block that is not deep enough
        assert (await delivery(node))["state"] == "sent"
        anvil.reorg(1)
        await until(lambda: deliveries(consumer))
        assert (await delivery(node))["state"] == "sent"
        anvil.mine(2)
        assert (await settled(node))["state"] == "delivered"
        assert (len(deliveries(consumer)), len(echo.calls)) == (1, 1)
        assert anvil.nonce(NODE.address) == 1


# Consumers that refuse


async def test_a_consumer_that_refuses_only_on_the_chain(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("RevertingConsumer", ALICE.address)
    consumer.send("setMode", 7)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        await accepted(node, request_v1(v1, consumer).body)
        found = await settled(node)
        assert found["state"] == "failed"
        assert found["reason"].startswith("Given up after 3 transactions: ")
        await polls(node)
        assert v1.anvil.nonce(NODE.address, "pending") == 3
        assert len(echo.calls) == 1


async def test_a_consumer_that_refuses_in_the_simulation(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("RevertingConsumer", ALICE.address)
    consumer.send("setMode", 1)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        await accepted(node, request_v1(v1, consumer).body)
        found = await settled(node)
        assert found["state"] == "failed"
        assert "not today" in found["reason"]
        assert v1.anvil.nonce(NODE.address) == 0
        assert len(echo.calls) == 1


async def test_an_allowed_refusal_in_the_simulation_is_sent_all_the_same(
    tmp_path: Path, v1: V1
) -> None:
    consumer, anvil = v1.deploy("RevertingConsumer", ALICE.address), v1.anvil
    consumer.send("setMode", 1)
    wallet = {"allowed_sim_errors": ["NOT TODAY"], "max_gas_limit": 1_234_567}
    async with on_chain(tmp_path, v1=v1, chain={"wallet": wallet}) as (node, _):
        anvil.set_automine(False)
        await accepted(node, request_v1(v1, consumer).body)
        sent = await reaches(node, "sent")
        transaction = anvil.transaction(sent["transaction"])
        assert transaction is not None
        assert int(transaction["gas"], 16) == 1_234_567
        anvil.send_raw(
            ALICE, consumer.address, consumer.encode("setMode", 0), gas=100_000, gas_price=10**12
        )
        anvil.mine()  # the dearer transaction comes first
        found = await settled(node)
        assert (found["state"], len(deliveries(consumer))) == ("delivered", 1)


class Pairs(Echo):
    """A container that answers with raw and processed bytes."""

    async def answer(self, request: web.Request, data: Any) -> web.StreamResponse:
        keys = ("raw_input", "processed_input", "raw_output", "processed_output", "proof")
        return web.json_response(dict.fromkeys(keys, "0a0b"))


async def test_a_consumer_that_cannot_decode_an_empty_output(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("RevertingConsumer", ALICE.address)
    consumer.send("setMode", 6)
    async with on_chain(tmp_path, v1=v1, echo=Pairs()) as (node, echo):
        await accepted(node, request_v1(v1, consumer).body)
        assert (await settled(node))["state"] == "delivered"
        assert (len(deliveries(consumer)), len(echo.calls)) == (1, 1)


# Two nodes


@pytest.mark.parametrize("redundancy", [1, 2])
async def test_two_nodes_on_one_chain(tmp_path: Path, v1: V1, redundancy: int) -> None:
    consumer = consumer_of(v1)
    other = {"wallet": {"private_key": OTHER_NODE.key.hex()}}
    async with (
        on_chain(tmp_path / "one", v1=v1) as (one, _),
        on_chain(tmp_path / "two", v1=v1, chain=other) as (two, _),
    ):
        numbers = range(1, 6)
        for nonce in numbers:
            body = request_v1(v1, consumer, nonce=nonce, redundancy=redundancy).body
            await asyncio.gather(accepted(one, body), accepted(two, body))
        for node in (one, two):
            for number in numbers:
                assert (await settled(node, number))["state"] in ("delivered", "answered")
        for number in numbers:
            states = [(await settled(node, number))["state"] for node in (one, two)]
            assert states.count("delivered") == redundancy, "each names its own answers only"
        assert len(deliveries(consumer)) == redundancy * len(numbers)
        fulfilled = {(each["id"], each["node"]) for each in v1.fulfilled()}
        assert len(fulfilled) == redundancy * len(numbers)
