"""The subscriptions that delegated requests make are served once, as the requests say."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.support.asking import received
from tests.support.delegated import Delegated, request_v1
from tests.support.evm import ALICE, NODE, OTHER_NODE, V1, Contract, deliveries
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.onchain import on_chain, settled, state_of, until_state
from tests.support.running import RunningNode
from tests.support.serving import serving


@pytest.fixture
def consumer(v1: V1) -> Contract:
    return v1.deploy("DelegatedConsumer", ALICE.address)


def recurring(v1: V1, consumer: Contract, *, nonce: int = 1, **fields: Any) -> Delegated:
    return request_v1(
        v1, consumer, nonce=nonce, **({"period": 1000, "frequency": 3, "redundancy": 2} | fields)
    )


async def listened(node: RunningNode, next_id: int) -> None:
    """Wait until the listener has read all that comes before an id."""
    database = node.parts.database
    async with asyncio.timeout(10):
        while True:
            [known] = await database.read(
                lambda connection: connection.execute("SELECT next_id FROM listeners").fetchone()
            )
            if known >= next_id:
                return
            await asyncio.sleep(0.02)


async def answered(v1: V1, consumer: Contract, count: int) -> list[int]:
    """Wait for answers, and for more than there should be; returns their intervals."""
    await received(consumer, count)
    await asyncio.sleep(0.25)
    return [each["interval"] for each in deliveries(consumer) if each["node"] == NODE.address]


async def test_a_request_that_makes_a_subscription(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        for nonce in (1, 2):
            request = request_v1(v1, consumer, nonce=nonce)
            assert (await node.post("/api/jobs", request.body)).status == 200
            assert (await settled(node, nonce))["state"] == "delivered"
        await listened(node, 3)
        assert await answered(v1, consumer, 2) == [1, 1]
        assert [await state_of(node, identifier) for identifier in (1, 2)] == ["", ""]
        assert len(echo.calls) == 2
    assert v1.anvil.nonce(NODE.address) == 2


async def test_a_recurring_one_is_served_once_in_each_interval(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    """Also by a node that looks at all subscriptions again, because its rules are others."""
    request = recurring(v1, consumer)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        assert (await node.post("/api/jobs", request.body)).status == 200
        await listened(node, 2)
        v1.anvil.increase_time(1000)
        assert await answered(v1, consumer, 2) == [1, 2]
        assert await state_of(node, 1) == ""
        assert len(echo.calls) == 2
    rules = {"allowed_addresses": [consumer.address]}
    async with on_chain(tmp_path, v1=v1, container=rules) as (node, echo):
        await listened(node, 2)
        v1.anvil.increase_time(1000)
        assert await answered(v1, consumer, 3) == [1, 2, 3]
        assert await state_of(node, 1) == ""
        assert len(echo.calls) == 1
    assert v1.anvil.nonce(NODE.address) == 3


async def test_one_that_another_node_puts_on_the_chain(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    """The request waits for its time; the subscription is there before that."""
    request = recurring(v1, consumer, activeAt=v1.anvil.now() + 1000)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        assert (await node.post("/api/jobs", request.body)).status == 200
        v1.coordinator.send("createSubscriptionDelegatee", *request.creation, sender=OTHER_NODE)
        await listened(node, 2)
        assert await state_of(node, 1) == ""
        for number in (1, 2):
            v1.anvil.increase_time(1000)
            assert await answered(v1, consumer, number) == list(range(1, number + 1))
        assert len(echo.calls) == 2
    assert v1.anvil.nonce(NODE.address) == 2


async def test_one_that_another_node_has_answered_first(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    """The listener follows what it knows no request for, until the request comes."""
    request = recurring(v1, consumer)
    request.deliver(v1.coordinator, sender=OTHER_NODE)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        await until_state(node, 1, "active")
        assert (await settled(node))["state"] == "delivered"
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node, 2))["state"] == "delivered"
        for number in (2, 3):
            v1.anvil.increase_time(1000)
            assert await answered(v1, consumer, number + 1) == list(range(1, number + 1))
        assert len(echo.calls) == 3
    assert v1.anvil.nonce(NODE.address) == 3


async def test_one_of_the_same_owner_that_nobody_sent_to_this_node(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    ours = request_v1(v1, consumer, nonce=1)
    theirs = recurring(v1, consumer, nonce=2)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        assert (await node.post("/api/jobs", ours.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        theirs.deliver(v1.coordinator, sender=OTHER_NODE)
        await until_state(node, 2, "active")
        assert await state_of(node, 1) == ""
        assert await answered(v1, consumer, 3) == [1, 1]


async def test_a_request_whose_container_fails_is_not_served_another_way(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    request = request_v1(v1, consumer, redundancy=2, data={"status": 500})
    async with on_chain(tmp_path, v1=v1) as (node, _):
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "failed"
        request.deliver(v1.coordinator, sender=OTHER_NODE)
        await listened(node, 2)
        assert await state_of(node, 1) == ""
        assert await answered(v1, consumer, 1) == []


@pytest.mark.parametrize("nonsense", ["0x", None])
async def test_a_server_that_does_not_say_what_requests_have_made(
    tmp_path: Path, v1: V1, consumer: Contract, nonsense: Any
) -> None:
    """Nothing is followed on suspicion."""
    request = recurring(v1, consumer)
    key = v1.coordinator.selector("delegateCreatedIds").hex()
    proxy = FaultyRpc(v1.anvil.url)
    asked_for = asyncio.Event()

    async def fault(proxy: FaultyRpc, _: web.Request, asked: Answers) -> web.StreamResponse:
        answers = await proxy.proper(asked)
        for question, answer in zip(asked, answers, strict=True):
            if question["method"] == "eth_call" and question["params"][0]["data"][2:10] == key:
                answer["result"] = nonsense
                asked_for.set()
        content = answers[0] if len(answers) == 1 else answers
        return web.Response(body=msgspec.json.encode(content), content_type="application/json")

    proxy.fault = fault
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, echo):
        assert (await node.post("/api/jobs", request.body)).status == 200
        await received(consumer, 1)
        await asyncio.wait_for(asked_for.wait(), 10)
        await asyncio.sleep(0.3)
        assert await state_of(node, 1) == ""
        proxy.heal()
        await listened(node, 2)
        assert await answered(v1, consumer, 1) == [1]
        assert await state_of(node, 1) == ""
        assert len(echo.calls) == 1
