"""The life of deliveries where it is odd: full stores, lost intervals, ends, second requests."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.chain.contracts import delegation
from infernet_edge.chain.delivery import processor, steps
from tests.support.asking import call_back, subscribe
from tests.support.delegated import request_v1
from tests.support.events import Events
from tests.support.evm import ALICE, ETHER, NODE, OTHER_NODE, V1, deliveries
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.onchain import chain_of, delivery, on_chain, settled, waiting
from tests.support.running import configuration
from tests.support.serving import Echo, serving


def consumer_of(v1: V1) -> Any:
    return v1.deploy("DelegatedConsumer", ALICE.address)


def answered(answers: Answers) -> web.Response:
    return web.json_response(answers[0] if len(answers) == 1 else answers)


async def wait_for(consumer: Any, count: int, timeout: float = 20.0) -> None:
    """Wait until a consumer has received so much."""
    async with asyncio.timeout(timeout):
        while len(deliveries(consumer)) < count:
            await asyncio.sleep(0.05)


async def test_later_intervals_find_room_in_a_full_store(tmp_path: Path, v1: V1) -> None:
    """Each takes the place of the one before it."""
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        chain_of(node).deliveries.max_pending = 1
        request = request_v1(v1, consumer, period=100, frequency=2)
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        v1.anvil.increase_time(100)
        await wait_for(consumer, 2)


@pytest.mark.parametrize("answer", ["many", "-0x1", None, 7])
async def test_a_server_that_answers_nonsense_costs_no_delivery(
    tmp_path: Path, v1: V1, answer: Any
) -> None:
    consumer = consumer_of(v1)
    proxy = FaultyRpc(v1.anvil.url)
    seen = asyncio.Event()

    async def nonsense(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        proper = await proxy.proper(asked)
        for question, each in zip(asked, proper, strict=True):
            if question["method"] == "eth_estimateGas":
                each["result"] = answer
                seen.set()
        return answered(proper)

    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        proxy.fault = nonsense
        assert (await node.post("/api/jobs", request_v1(v1, consumer).body)).status == 200
        await asyncio.wait_for(seen.wait(), 10)
        proxy.heal()
        assert (await settled(node))["state"] == "delivered"


async def test_an_error_of_the_server_is_no_wrong_signer(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    proxy = FaultyRpc(v1.anvil.url)

    async def broken(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        proper = await proxy.proper(asked)
        for question, each in zip(asked, proper, strict=True):
            if question["method"] == "eth_call":
                del each["result"]
                each["error"] = {"code": -32000, "message": "missing trie node"}
        return answered(proper)

    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        proxy.fault = broken
        assert (await node.post("/api/jobs", request_v1(v1, consumer).body)).status == 200
        proxy.heal()
        assert (await settled(node))["state"] == "delivered"


async def test_a_container_that_is_gone_after_a_restart(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    echo = Echo()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        request = request_v1(v1, consumer, data={"hold": True})
        assert (await node.post("/api/jobs", request.body)).status == 200
        async with asyncio.timeout(10):
            while not echo.open:
                await asyncio.sleep(0.01)
    async with on_chain(tmp_path, v1=v1, container={"id": "other"}) as (node, _):
        found = await settled(node)
        assert found["state"] == "failed"
        assert '"echo"' in found["reason"]


@pytest.mark.parametrize(
    "damage", ["CAST(request || ' ' AS BLOB)", "CAST('x' || request AS BLOB)", "x''"]
)
async def test_a_request_that_was_damaged_on_the_disk_is_not_computed(
    tmp_path: Path, v1: V1, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Another delivery is made."""
    consumer = consumer_of(v1)
    first = request_v1(v1, consumer, nonce=1, activeAt=v1.anvil.now() + 1000)
    second = request_v1(v1, consumer, nonce=2)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        assert (await node.post("/api/jobs", first.body)).status == 200
        change = f"UPDATE deliveries SET request = {damage}"
        await node.parts.database.write(lambda connection: connection.execute(change) and None)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        found = await settled(node)
        assert found["state"] == "failed"
        assert found["reason"] == "Its request was damaged on the disk"
        assert echo.calls == []
        assert (await node.post("/api/jobs", second.body)).status == 200
        assert (await settled(node, 2))["state"] == "delivered"
    assert [record for record in caplog.records if record.exc_info] == []


async def test_what_was_sent_is_delivered_although_its_request_was_damaged(
    tmp_path: Path, v1: V1
) -> None:
    consumer = consumer_of(v1)
    v1.anvil.set_automine(on=False)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        assert (await node.post("/api/jobs", request_v1(v1, consumer).body)).status == 200
        async with asyncio.timeout(20):
            while (await delivery(node, 1))["state"] != "sent":
                await asyncio.sleep(0.02)
        change = "UPDATE deliveries SET request = x'00'"
        await node.parts.database.write(lambda connection: connection.execute(change) and None)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        v1.anvil.mine()
        found = await settled(node)
        assert (found["state"], found["reason"]) == ("delivered", "")
    v1.anvil.set_automine(on=True)
    assert len(deliveries(consumer)) == 1


async def test_numbers_of_lost_deliveries_are_not_given_again(tmp_path: Path, v1: V1) -> None:
    """Their transactions are still there, and would be taken for those of another."""
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        assert (await node.post("/api/jobs", request_v1(v1, consumer).body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        change = "DELETE FROM deliveries"
        await node.parts.database.write(lambda connection: connection.execute(change) and None)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        second = request_v1(v1, consumer, nonce=2)
        assert (await node.post("/api/jobs", second.body)).status == 200
        assert (await settled(node, 2))["state"] == "delivered"
    assert len(deliveries(consumer)) == 2


async def test_a_request_is_parsed_once(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the event loop, when it comes. The next run parses it in the database's thread."""
    parsed: list[object] = []
    loop_thread = threading.current_thread()
    read = delegation._read  # noqa: SLF001 - every parser of a request ends there

    def counted(*arguments: Any) -> Any:
        if threading.current_thread() is loop_thread:
            parsed.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(delegation, "_read", counted)
    request = request_v1(v1, consumer_of(v1), period=100, frequency=3)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        v1.anvil.increase_time(100)
        assert (await settled(node, 2))["state"] == "delivered"
        assert len(parsed) == 1
    async with on_chain(tmp_path, v1=v1) as (node, _):
        v1.anvil.increase_time(100)
        assert (await settled(node, 3))["state"] == "delivered"
        assert len(parsed) == 1


async def test_a_cancelled_subscription_ends(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        request = request_v1(v1, consumer, period=100, frequency=50)
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        consumer.send("cancelSubscription", 1)
        v1.anvil.increase_time(100)
        found = await settled(node, 2)
        assert (found["state"], found["interval"]) == ("failed", 2)
        assert "cancelled" in found["reason"]
        assert (await node.get("/info")).body["pending"]["onchain"] == 0
        assert len((await chain_of(node).report(10))["deliveries"]) == 2
        assert len(echo.calls) == 1


async def test_a_subscription_that_is_over_is_not_called_delivered(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    v1.anvil.increase_time(1000)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        began = v1.anvil.now() - 500
        request = request_v1(v1, consumer, activeAt=began, period=100, frequency=2)
        assert (await node.post("/api/jobs", request.body)).status == 200
        found = await settled(node)
        assert found["state"] == "failed"
        assert "over" in found["reason"]
        assert echo.calls == []


async def test_what_failed_may_be_requested_again(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    echo = Echo()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        request = request_v1(v1, consumer, data={"status": 500})

        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "failed"
        better = request.body | {"data": {"status": 200}}
        assert (await node.post("/api/jobs", better)).status == 200
        assert (await settled(node, 2))["state"] == "delivered"
        assert (await delivery(node, 1))["state"] == "failed"
        assert len(deliveries(consumer)) == 1


async def test_a_forged_request_does_not_stand_in_the_way_of_the_real_one(
    tmp_path: Path, v1: V1
) -> None:
    consumer = consumer_of(v1)
    forged = request_v1(v1, consumer, signer=OTHER_NODE)
    proper = request_v1(v1, consumer)
    v1.anvil.pause()
    try:
        async with on_chain(tmp_path, v1=v1) as (node, _):
            assert (await node.post("/api/jobs", forged.body)).status == 200
            assert (await node.post("/api/jobs", proper.body)).status == 409
            v1.anvil.resume()
            assert (await settled(node))["state"] == "failed"
            assert (await node.post("/api/jobs", proper.body)).status == 200
            assert (await settled(node, 2))["state"] == "delivered"
    finally:
        v1.anvil.resume()


async def test_a_subscription_outlives_a_failure_of_its_first_interval(
    tmp_path: Path, v1: V1
) -> None:
    consumer = consumer_of(v1)
    echo = Echo()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        request = request_v1(v1, consumer, period=100, frequency=3, data={"status": 500})
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "failed"
        v1.anvil.increase_time(100)
        found = await settled(node, 2)
        assert (found["interval"], found["subscription"]) == (2, None)
        assert len(echo.calls) == 6


async def test_a_server_that_is_late_for_a_later_interval_costs_no_delivery(
    tmp_path: Path, v1: V1
) -> None:
    """Behind one address there may be servers that have not seen the newest block."""
    consumer = consumer_of(v1)
    proxy = FaultyRpc(v1.anvil.url)

    async def late(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        proper = await proxy.proper(asked)
        for question, each in zip(asked, proper, strict=True):
            if question["method"] == "eth_call" and question["params"][1] == "pending":
                each.pop("result", None)
                mismatch = "0x4db310c3"
                each["error"] = {"code": 3, "message": "execution reverted", "data": mismatch}
                proxy.heal()
        return answered(proper)

    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        request = request_v1(v1, consumer, period=100, frequency=2)
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        proxy.fault = late
        v1.anvil.increase_time(100)
        found = await settled(node, 2)
        assert (found["state"], found["reason"]) == ("delivered", "")
        assert proxy.fault is None


async def test_an_allowed_error_of_the_coordinator_passes_the_first_simulation(
    tmp_path: Path, v1: V1
) -> None:
    consumer = v1.deploy("AllowlistConsumer", ALICE.address)
    allowed = {"allowed_sim_errors": ["nodenotallowed"]}
    echo = Echo()
    async with on_chain(tmp_path, v1=v1, echo=echo, chain={"wallet": allowed}) as (node, _):
        request = request_v1(v1, consumer, data={"hold": True})
        assert (await node.post("/api/jobs", request.body)).status == 200
        async with asyncio.timeout(10):
            while not echo.open:
                await asyncio.sleep(0.01)
        consumer.send("allow", NODE.address, True)
        echo.release()
        assert (await settled(node))["state"] == "delivered"


async def test_a_subscription_without_any_interval_is_not_called_delivered(
    tmp_path: Path, v1: V1
) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        request = request_v1(v1, consumer_of(v1), frequency=0)
        assert (await node.post("/api/jobs", request.body)).status == 200
        found = await settled(node)
        assert found["state"] == "failed"
        assert found["reason"].startswith("SubscriptionCompleted")
        assert echo.calls == []


async def test_a_transaction_that_is_remembered_no_more_is_not_waited_for(
    tmp_path: Path, v1: V1
) -> None:
    """The store forgets what ended a month ago, also while the node is off."""
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        request = request_v1(v1, consumer)
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
    with sqlite3.connect(configuration(tmp_path).database_path) as connection:
        connection.execute(
            "UPDATE deliveries SET state = 'sent', output = x'00', answer_sum = NULL"
        )
        connection.execute("DELETE FROM transactions")
    connection.close()
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        found = await settled(node)
        assert found["state"] == "delivered"
        assert "answered" in found["reason"]
        assert len(deliveries(consumer)) == 1
        assert echo.calls == []


@pytest.mark.parametrize("first", ["refused", "not mined", "computing"])
async def test_who_has_to_wait_keeps_no_place(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr(steps, "_MAX_AT_CONTRACTS", 1)
    monkeypatch.setattr(processor, "_FIRST_PAUSE", 60.0)
    refusing = v1.deploy("RevertingConsumer", ALICE.address)
    if first == "refused":
        refusing.send("setMode", 1)
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        if first == "not mined":
            v1.anvil.set_automine(False)
        held = request_v1(v1, refusing, data={"hold": first == "computing"})
        assert (await node.post("/api/jobs", held.body)).status == 200
        async with asyncio.timeout(10):
            while not echo.calls:
                await asyncio.sleep(0.01)
        assert (await node.post("/api/jobs", request_v1(v1, consumer).body)).status == 200
        async with asyncio.timeout(10):
            while len(echo.calls) < 2:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("state", ["accepted", "computing", "sending"])
async def test_a_question_that_is_never_answered_ends_with_its_interval(
    tmp_path: Path, v1: V1, state: str
) -> None:
    consumer = v1.deploy("SubscriptionConsumer")
    subscribe(v1, consumer, period=100, frequency=1)
    proxy = FaultyRpc(v1.anvil.url)

    async def unanswered(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        proper = await proxy.proper(asked)
        for question, each in zip(asked, proper, strict=True):
            if _asked_in(question, consumer.address) == state:
                each.pop("result", None)
                each["error"] = {"code": -32000, "message": "request timed out"}
        return answered(proper)

    proxy.fault = unanswered
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        v1.anvil.increase_time(100)
        await waiting(node, "request timed out")
        assert (await delivery(node))["state"] == state
        v1.anvil.increase_time(100)
        found = await settled(node)
        assert found["state"] == "failed"
        assert "over before it could be answered; before that" in found["reason"]
        assert "request timed out" in found["reason"]


def _asked_in(question: dict[str, Any], owner: str) -> str:
    """The state in which a delivery asks something that its owner decides about."""
    if question["method"] == "eth_estimateGas":
        return "sending"
    if question["method"] != "eth_call":
        return ""
    call, _ = question["params"]
    if call.get("to", "").lower() == owner.lower():
        return "computing"
    return "accepted" if "from" in call else ""


async def test_a_delivery_that_waits_for_gas_is_one_line(
    tmp_path: Path, v1: V1, events: Events
) -> None:
    """The price of gas, and so the amounts in the text, differ with each block."""
    consumer = v1.deploy("CallbackConsumer")
    v1.anvil.set_balance(NODE.address, 1000)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        call_back(v1, consumer)
        await waiting(node, "Insufficient funds")
        for factor in range(2, 6):
            v1.anvil.set_base_fee(factor * 10**9)
            v1.anvil.set_balance(NODE.address, 1000 + factor)
            v1.anvil.mine()
            await asyncio.sleep(0.3)  # a retry or two
        v1.anvil.set_balance(NODE.address, ETHER)
        assert (await settled(node))["state"] == "delivered"
    (line,) = events.of("delivery.deferred")
    assert "Insufficient funds" in line["reason"]
    assert NODE.address in line["reason"]
    assert (line["subscription"], line["interval"]) == (1, 1)
