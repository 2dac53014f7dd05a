"""Delegated subscriptions, from the request to what the consumer's contract received."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from eth_abi.abi import decode

from infernet_edge.api.server import LanServer
from infernet_edge.chain.chain import ChainSubsystem
from infernet_edge.chain.contracts.delegation import DelegatedRequest, parse_signed
from infernet_edge.chain.contracts.reader import SubscriptionReader
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.containers.manager import ContainerManager
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.storage.database import Database
from tests.support.asking import call_back, received
from tests.support.breaking import read_only
from tests.support.delegated import request_v0, request_v1
from tests.support.evm import ALICE, NODE, OTHER_NODE, V0, V1, Anvil, deliveries, deploy_v0
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.onchain import chain_of, delivery, on_chain, polls, settled, until
from tests.support.serving import Echo, serving


def consumer_of(v1: V1) -> Any:
    return v1.deploy("DelegatedConsumer", ALICE.address)


async def test_a_request_of_sdk_1_is_delivered(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        request = request_v1(v1, consumer, data={"prompt": "hello"})
        reply = await node.post("/api/jobs", request.body)
        assert (reply.status, reply.body) == (200, {})
        found = await settled(node)
        assert (found["state"], found["reason"]) == ("delivered", "")
        (received,) = deliveries(consumer)
        text = decode(["string"], received["output"])[0]
        assert text == str({"output": {"prompt": "hello"}, "by": ""})
        assert echo.calls == [
            {"source": 1, "destination": 0, "data": {"prompt": "hello"}, "requires_proof": False}
        ]
        assert v1.anvil.transaction(found["transaction"]) is not None
        info = await node.get("/info")
        assert info.body["pending"]["onchain"] == 0
        assert info.body["chain"] == {"enabled": True, "address": NODE.address}


async def test_a_request_of_sdk_0_1_is_delivered(tmp_path: Path, v0: V0) -> None:
    v0.activate(NODE)
    consumer = v0.consumer()
    async with on_chain(tmp_path, v0=v0) as (node, _):
        request = request_v0(v0, consumer, data={"prompt": "hello"})
        assert (await node.post("/api/jobs", request.body)).status == 200
        found = await settled(node)
        assert (found["state"], found["reason"]) == ("delivered", "")
        (received,) = deliveries(consumer)
        text = decode(["string"], received["output"])[0]
        assert text == str({"output": {"prompt": "hello"}, "by": ""})


async def test_a_batch_holds_both_kinds(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        good, bad = request_v1(v1, consumer).body, request_v1(v1, consumer, nonce=2).body
        bad["subscription"]["owner"] = 7
        job = {"containers": ["echo"], "data": {}}
        reply = await node.post("/api/jobs/batch", [good, job, bad])
        assert reply.body[0] == {}
        assert set(reply.body[1]) == {"id"}
        assert reply.body[2]["params"] == {"field": "subscription.owner"}
        assert (await settled(node))["state"] == "delivered"


async def test_data_that_does_not_fit_the_schema_is_refused(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    schema = {"properties": {"n": {"type": "integer"}}}
    async with on_chain(tmp_path, v1=v1, container={"input_schema": schema}) as (node, _):
        wrong = request_v1(v1, consumer, data={"n": "one"}).body
        good = request_v1(v1, consumer, data={"n": 1}).body
        reply = await node.post("/api/jobs", wrong)
        assert (reply.status, reply.body) == (
            400,
            {
                "error": 'data.n: expected a whole number, found the text "one"',
                "params": {"field": "data.n", "pointer": "/n", "container": "echo"},
            },
        )
        batch = await node.post("/api/jobs/batch", [wrong, good])
        assert batch.body == [reply.body, {}]
        assert (await settled(node))["state"] == "delivered"
        assert len((await chain_of(node).report(9))["deliveries"]) == 1


async def test_somebody_elses_signature_is_refused(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        reply = await node.post("/api/jobs", request_v1(v1, consumer, signer=OTHER_NODE).body)
        assert reply.status == 405
        assert reply.body["error"] == "Signer mismatch"
        assert reply.body["params"]["owner"] == consumer.address


@pytest.mark.parametrize("contract", ["SignerlessConsumer", None])
async def test_an_owner_without_a_signer_is_refused(
    tmp_path: Path, v1: V1, contract: str | None
) -> None:
    consumer = consumer_of(v1) if contract is None else v1.deploy(contract)
    body = request_v1(v1, consumer).body
    if contract is None:
        body["subscription"]["owner"] = ALICE.address  # an account, not a contract
    async with on_chain(tmp_path, v1=v1) as (node, _):
        reply = await node.post("/api/jobs", body)
        assert (reply.status, reply.body["error"]) == (405, "Signer mismatch")


async def test_an_expired_signature_is_refused(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        reply = await node.post("/api/jobs", request_v1(v1, consumer, expires_in=0).body)
        assert (reply.status, reply.body) == (405, {"error": "Signature expired", "params": {}})


async def test_a_cancelled_subscription_is_refused(tmp_path: Path, v1: V1) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, _):
        request = request_v1(v1, consumer_of(v1), activeAt=2**32 - 1)
        reply = await node.post("/api/jobs", request.body)
        assert (reply.status, reply.body["error"]) == (405, "Subscription is cancelled")


async def test_unknown_containers_are_refused(tmp_path: Path, v1: V1) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, _):
        request = request_v1(v1, consumer_of(v1), containers="nobody")
        reply = await node.post("/api/jobs", request.body)
        assert (reply.status, reply.body["error"]) == (405, "Container not supported")


async def test_the_same_request_twice_is_one_delivery(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored is parsed only when it is another one, and not on the event loop."""
    parsed_in: list[threading.Thread] = []

    def parse(request: bytes) -> DelegatedRequest:
        parsed_in.append(threading.current_thread())
        return parse_signed(request)

    monkeypatch.setattr("infernet_edge.chain.chain.parse_signed", parse)
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        body = request_v1(v1, consumer).body
        assert (await node.post("/api/jobs", body)).status == 200
        await settled(node)
        assert (await node.post("/api/jobs", body)).status == 200
        assert parsed_in == []
        other = request_v1(v1, consumer, redundancy=2).body
        reply = await node.post("/api/jobs", other)
        assert (reply.status, reply.body["error"]) == (
            409,
            "Nonce already used for another subscription",
        )
        [thread] = parsed_in
        assert thread is not threading.current_thread()
        await asyncio.sleep(0.3)
        assert len(deliveries(consumer)) == 1
        assert len(echo.calls) == 1


async def test_nothing_is_computed_for_who_does_not_allow_the_node(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("AllowlistConsumer", ALICE.address)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        assert (await node.post("/api/jobs", request_v1(v1, consumer).body)).status == 200
        found = await settled(node)
        assert found["state"] == "failed"
        assert found["reason"].startswith("NodeNotAllowed")
        assert echo.calls == []


async def test_others_have_answered(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    request = request_v1(v1, consumer)
    request.deliver(v1.coordinator, output=b"theirs", sender=OTHER_NODE)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        assert (await node.post("/api/jobs", request.body)).status == 200
        found = await settled(node)
        assert (found["state"], found["answered_by"]) == ("answered", "others")
        assert found["reason"].startswith("IntervalCompleted")
        assert found["transaction"] == ""
        assert echo.calls == []


async def test_a_container_that_fails_is_tried_three_times(tmp_path: Path, v1: V1) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        request = request_v1(v1, consumer_of(v1), data={"status": 500})
        assert (await node.post("/api/jobs", request.body)).status == 200
        found = await settled(node)
        assert found["state"] == "failed"
        assert found["reason"].startswith("The container failed 3 times")
        assert len(echo.calls) == 3


async def test_it_waits_until_the_subscription_is_active(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        request = request_v1(v1, consumer, activeAt=v1.anvil.now() + 600)
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await node.get("/info")).body["pending"]["onchain"] == 1
        await polls(node)
        assert echo.calls == []
        v1.anvil.increase_time(600)
        assert (await settled(node))["state"] == "delivered"


async def test_later_intervals_go_by_the_id(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        request = request_v1(v1, consumer, period=600, frequency=3, data={"first": True})
        assert (await node.post("/api/jobs", request.body)).status == 200
        for number in (1, 2, 3):
            await received(consumer, number)
            v1.anvil.increase_time(600)
        assert [call["source"] for call in echo.calls] == [1, 0, 0]
        reports = (await chain_of(node).report(10))["deliveries"]
        assert sorted(report["interval"] for report in reports) == [1, 2, 3]
        assert {report["subscription"] for report in reports} >= {1}


async def test_a_cancelled_subscription_is_followed_no_longer(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        active = v1.anvil.now() - 60  # long before the edge at which it may not be active yet
        request = request_v1(v1, consumer, activeAt=active, period=70, frequency=100)
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        consumer.send("cancelSubscription", 1)
        v1.anvil.increase_time(70)
        found = await settled(node, 2)
        assert (found["state"], found["interval"]) == ("failed", 2)
        assert "cancelled" in found["reason"]
        await polls(node)
        assert len((await chain_of(node).report(10))["deliveries"]) == 2
        assert (await node.get("/info")).body["pending"]["onchain"] == 0


async def test_a_node_without_its_rpc_serves_jobs_and_catches_up(
    tmp_path: Path, anvil: Anvil, v1: V1
) -> None:
    consumer = consumer_of(v1)
    request = request_v1(v1, consumer)
    wrong = request_v1(v1, consumer, nonce=2, signer=OTHER_NODE)
    anvil.pause()
    try:
        async with on_chain(tmp_path, v1=v1) as (node, echo):
            identifier = await node.job()
            assert (await node.finished(identifier))["status"] == "success"
            for each in (request, wrong):
                assert (await node.post("/api/jobs", each.body)).status == 200
            assert (await delivery(node))["state"] == "accepted"
            anvil.resume()
            assert (await settled(node))["state"] == "delivered"
            refused = await settled(node, 2)
            assert refused["state"] == "failed"
            assert refused["reason"].startswith("Signer mismatch")
            assert len(echo.calls) == 2
    finally:
        anvil.resume()


async def test_a_batch_waits_for_a_silent_chain_once(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.chain.chain._CHECK_TIMEOUT", 1.0)
    consumer = consumer_of(v1)
    bodies = [request_v1(v1, consumer, nonce=nonce).body for nonce in range(1, 41)]
    bodies[5]["subscription"]["owner"] = 7
    v1.anvil.pause()
    try:
        async with on_chain(tmp_path, v1=v1) as (node, _):
            begin = time.monotonic()
            reply = await node.post("/api/jobs/batch", [*bodies, bodies[0]])
            assert time.monotonic() - begin < 25  # not 40 seconds
            assert reply.status == 200
            assert [place for place, answer in enumerate(reply.body) if answer] == [5]
            v1.anvil.resume()
            v1.anvil.mine()
            async with asyncio.timeout(30):
                while len(deliveries(consumer)) < 39:
                    await asyncio.sleep(0.05)
    finally:
        v1.anvil.resume()


async def test_a_restart_goes_on(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    echo = Echo()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        request = request_v1(v1, consumer, data={"hold": True})
        assert (await node.post("/api/jobs", request.body)).status == 200
        async with asyncio.timeout(10):
            while not echo.open:
                await asyncio.sleep(0.01)
    echo.release()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        assert (await settled(node))["state"] == "delivered"
        assert len(deliveries(consumer)) == 1


async def test_it_waits_for_gas_to_cost_what_a_0_1_request_allows(
    tmp_path: Path, anvil: Anvil
) -> None:
    v0 = deploy_v0(anvil)
    v0.activate(NODE)
    async with on_chain(tmp_path, v0=v0) as (node, _):
        request = request_v0(v0, v0.consumer(), maxGasPrice=1)
        assert (await node.post("/api/jobs", request.body)).status == 200
        async with asyncio.timeout(20):
            while "Gas costs" not in (found := await delivery(node))["reason"]:
                await asyncio.sleep(0.02)
        assert (found["state"], found["transaction"]) == ("sending", "")


async def test_more_gas_than_a_0_1_request_allows(tmp_path: Path, v0: V0) -> None:
    v0.activate(NODE)
    async with on_chain(tmp_path, v0=v0) as (node, _):
        request = request_v0(v0, v0.consumer(), maxGasLimit=30_000)
        assert (await node.post("/api/jobs", request.body)).status == 200
        found = await settled(node)
        assert found["state"] == "failed"
        assert "gas" in found["reason"].lower()


async def test_deep_json_does_not_take_the_node_down(tmp_path: Path, v1: V1) -> None:
    """A dependency of eth_account raises Python's recursion limit beyond the C stack."""
    deep = b'{"subscription":' + b"[" * 99_000 + b"]" * 99_000 + b"}"
    async with on_chain(tmp_path, v1=v1) as (node, _):
        for path in ("/api/jobs", "/api/jobs/batch"):
            body = deep if path == "/api/jobs" else b"[" + deep + b"]"
            reply = await node.post(path, body)
            assert (reply.status, reply.body["error"]) == (
                400,
                "Malformed JSON: nested too deeply",
            )


STOPS = [
    (LanServer, "close"),
    (ChainSubsystem, "stop"),
    (Orchestrator, "stop"),
    (ContainerManager, "stop"),
    (Database, "close"),
]


async def test_users_stop_before_what_they_use(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a stop of the node would count as a container that fails."""
    ended: list[str] = []

    def note(part: type, name: str) -> None:
        stop = getattr(part, name)

        async def noted(self: Any) -> None:
            await stop(self)
            ended.append(part.__name__)

        monkeypatch.setattr(part, name, noted)

    for part, name in STOPS:
        note(part, name)
    async with on_chain(tmp_path, v1=v1):
        assert ended == []
    first_ends = list(dict.fromkeys(ended))
    assert first_ends == [part.__name__ for part, _ in STOPS]


async def test_a_stop_does_not_fail_what_is_being_computed(tmp_path: Path, v1: V1) -> None:
    consumer, echo = consumer_of(v1), Echo()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        request = request_v1(v1, consumer, data={"hold": True})
        assert (await node.post("/api/jobs", request.body)).status == 200
        await until(lambda: echo.open == 1)
    echo.release()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        assert (await settled(node))["state"] == "delivered"
        assert len(deliveries(consumer)) == 1


async def test_a_batch_larger_than_the_time_of_one_request_is_verified(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain that answers is given the time that it needs: nothing wrong gets in unchecked."""
    monkeypatch.setattr("infernet_edge.chain.chain._CHECK_TIMEOUT", 5.0)
    consumer = consumer_of(v1)
    proxy = FaultyRpc(v1.anvil.url)

    async def slowly(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        await asyncio.sleep(0.3)  # of each 16, which are asked for at once; no call times out
        answers = await proxy.proper(asked)
        return web.json_response(answers[0] if len(answers) == 1 else answers)

    bodies = [
        request_v1(v1, consumer, nonce=nonce, signer=OTHER_NODE).body for nonce in range(1, 301)
    ]
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        await until(lambda: chain_of(node).head.latest)
        proxy.fault = slowly
        reply = await node.post("/api/jobs/batch", bodies)
        assert {answer["error"] for answer in reply.body} == {"Signer mismatch"}


async def test_a_batch_is_answered_when_the_disk_takes_nothing(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        bodies = [request_v1(v1, consumer, nonce=nonce).body for nonce in (1, 2)]
        with read_only(node.parts.database):
            reply = await node.post("/api/jobs/batch", bodies)
        assert reply.status == 200
        assert all("cannot store" in answer["error"] for answer in reply.body)


async def test_a_chain_that_was_stopped_takes_nothing_on(tmp_path: Path, v1: V1) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await chain_of(node).stop()
        reply = await node.post("/api/jobs", request_v1(v1, consumer_of(v1)).body)
        assert (reply.status, reply.body["error"]) == (503, "The node is shutting down")


async def _fail_once(
    monkeypatch: pytest.MonkeyPatch, node: Any, owner: type, method: str, task: str
) -> None:
    """Make a part of the chain raise what nobody expects, and see that it is reported."""
    proper = getattr(owner, method)

    async def defect(*_: Any, **__: Any) -> Any:
        monkeypatch.setattr(owner, method, proper)
        raise RuntimeError("a defect")

    monkeypatch.setattr(owner, method, defect)
    background = node.node.parts.background
    await until(lambda: background.problems)
    assert [problem for problem in background.problems if task in problem] == background.problems
    assert (await node.get("/health")).body["status"] == "unhealthy"
    assert "a defect" in str((await node.node.report_status())["problems"])


async def test_a_defect_in_the_heads_polls_is_reported_and_they_go_on(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await _fail_once(monkeypatch, node, HeadTracker, "poll", "head of the chain")
        await node.post("/api/jobs", request_v1(v1, consumer_of(v1)).body)
        assert (await settled(node))["state"] == "delivered"


async def test_a_defect_in_the_listener_is_reported_and_it_goes_on(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await polls(node)
        call_back(v1, consumer)
        await _fail_once(monkeypatch, node, SubscriptionReader, "read", "listener")
        call_back(v1, consumer)
        assert len(await received(consumer, 2)) == 2
