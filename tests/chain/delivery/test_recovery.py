"""What an earlier run left, when the configuration is another one now."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import subscribe
from tests.support.delegated import request_v0, request_v1
from tests.support.evm import ALICE, NODE, V0, V1, deliveries, deploy_v1
from tests.support.onchain import chain_of, on_chain, settled
from tests.support.running import RunningNode
from tests.support.serving import Echo


def consumer_of(v1: V1) -> Any:
    return v1.deploy("DelegatedConsumer", ALICE.address)


async def held(echo: Echo, count: int = 1) -> None:
    """Wait until so many answers are being computed."""
    async with asyncio.timeout(10):
        while echo.open < count:
            await asyncio.sleep(0.01)


async def until_listed(node: RunningNode, number: int) -> dict[str, Any]:
    """Wait for a delivery."""
    async with asyncio.timeout(10):
        while True:
            for each in (await chain_of(node).report(10))["deliveries"]:
                if each["number"] == number:
                    return dict(each)
            await asyncio.sleep(0.01)


# Other contracts


async def test_what_was_made_for_another_registry_is_not_answered_on_this_one(
    tmp_path: Path, v1: V1
) -> None:
    """Both have a subscription 1; only that of the configured registry is answered."""
    request = request_v1(v1, consumer_of(v1), period=100, frequency=9, data={"first": True})
    async with on_chain(tmp_path, v1=v1) as (node, _):
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        assert (await until_listed(node, 2))["subscription"] == 1
    other = deploy_v1(v1.anvil)
    asker = other.deploy("SubscriptionConsumer")
    assert subscribe(other, asker, frequency=2, period=200) == 1
    async with on_chain(tmp_path, v1=other) as (node, echo):
        found = await settled(node, 2)
        assert found["state"] == "failed"
        assert f"for registry {v1.registry.address.lower()}," in found["reason"]
        assert f"works with {other.registry.address};" in found["reason"]
        for number, interval in ((3, 1), (4, 2)):
            v1.anvil.increase_time(200)
            found = await settled(node, number)
            assert (found["state"], found["interval"]) == ("delivered", interval)
        assert (len(echo.calls), len(deliveries(asker))) == (2, 2)
        assert (await node.get("/info")).body["pending"]["onchain"] == 0


async def test_a_generation_that_is_served_no_longer(tmp_path: Path, v0: V0, v1: V1) -> None:
    v0.activate(NODE)
    early = request_v0(v0, v0.consumer(), activeAt=v0.anvil.now() + 900)
    async with on_chain(tmp_path, v0=v0, v1=v1) as (node, _):
        assert (await node.post("/api/jobs", early.body)).status == 200
    async with on_chain(tmp_path, v1=v1) as (node, _):
        found = await settled(node)
        assert found["state"] == "failed"
        assert "works with none; set chain.coordinator_address back" in found["reason"]


async def test_another_spelling_of_the_address_is_the_same_one(tmp_path: Path, v1: V1) -> None:
    consumer, echo = consumer_of(v1), Echo()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        request = request_v1(v1, consumer, data={"hold": True})
        assert (await node.post("/api/jobs", request.body)).status == 200
        await held(echo)
    echo.release()
    spelled = {"registry_address": v1.registry.address.lower()}
    async with on_chain(tmp_path, v1=v1, echo=echo, chain=spelled) as (node, _):
        assert (await settled(node))["state"] == "delivered"


# Other rules


def only(address: str) -> dict[str, Any]:
    """The settings of a container that serves one owner of delegated subscriptions."""
    return {"allowed_delegate_addresses": [address]}


@pytest.mark.parametrize("state", ["accepted", "computing"])
async def test_what_the_rules_refuse_now_is_not_computed(
    tmp_path: Path, v1: V1, state: str
) -> None:
    echo = Echo()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        begins = v1.anvil.now() + (900 if state == "accepted" else 0)
        request = request_v1(
            v1, consumer_of(v1), activeAt=begins, period=900, frequency=9, data={"hold": True}
        )
        assert (await node.post("/api/jobs", request.body)).status == 200
        await held(echo, 0 if state == "accepted" else 1)
        assert (await until_listed(node, 1))["state"] == state
    async with on_chain(tmp_path, v1=v1, container=only(ALICE.address)) as (node, again):
        found = await settled(node)
        assert found["state"] == "failed"
        assert found["reason"].startswith("Container not allowed for address")
        assert found["reason"].endswith('before the configuration changed, for "echo"')
        assert len((await chain_of(node).report(10))["deliveries"]) == 1
        assert again.calls == []


async def test_what_is_sent_already_ends_without_a_successor(tmp_path: Path, v1: V1) -> None:
    consumer = consumer_of(v1)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        v1.anvil.set_automine(False)
        request = request_v1(v1, consumer, period=900, frequency=9)
        assert (await node.post("/api/jobs", request.body)).status == 200
        async with asyncio.timeout(10):
            while (await until_listed(node, 1))["state"] != "sent":
                await asyncio.sleep(0.01)
    v1.anvil.set_automine(True)
    v1.anvil.mine()
    async with on_chain(tmp_path, v1=v1, container=only(ALICE.address)) as (node, _):
        assert (await settled(node))["state"] == "delivered"
        assert len((await chain_of(node).report(10))["deliveries"]) == 1
    assert len(deliveries(consumer)) == 1
