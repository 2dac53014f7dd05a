"""Contracts whose containers sleep: in real Podman, on a real EVM."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infernet_edge.containers import manager
from tests.support.asking import call_back, received, subscribe
from tests.support.delegated import request_v1
from tests.support.evm import ALICE, V1, deliveries
from tests.support.managing import QUICK, eventually
from tests.support.onchain import delivery, on_chain, settled
from tests.support.operating import managed
from tests.support.podman import IsolatedPodman
from tests.support.running import RunningNode


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "Timing", lambda: msgspec.structs.replace(QUICK, turn=2.0))


@contextlib.asynccontextmanager
async def sleeping(
    podman: IsolatedPodman, folder: Path, v1: V1, *others: dict[str, Any], **settings: Any
) -> AsyncIterator[RunningNode]:
    """Run a node whose containers, "echo" and `others`, start with their first job."""
    common = {"image": podman.echo_image(), "start": "on_demand", "init": False, **settings}
    document = managed(podman, *({**common, **each} for each in ({"id": "echo"}, *others)))
    echo, *rest = document.pop("containers")
    document["max_running"] = 1
    async with on_chain(
        folder, v1=v1, container={**echo, "url": ""}, others=rest, more=document
    ) as (node, _):
        yield node


def running_now(podman: IsolatedPodman) -> list[str]:
    """The ids in the configuration of the containers that Podman runs."""
    return [name.split("-")[2] for name in podman.containers("status=running")]


def state_of(node: RunningNode, container: str = "echo") -> str:
    return node.node.services[container].state


async def test_each_interval_of_a_subscription_wakes_it(
    podman: IsolatedPodman, tmp_path: Path, v1: V1
) -> None:
    consumer = v1.deploy("SubscriptionConsumer")
    async with sleeping(podman, tmp_path, v1, idle_timeout=1.0) as node:
        subscribe(v1, consumer, frequency=2, period=60)
        for number in (1, 2):
            await eventually(lambda: state_of(node) == "asleep")
            assert await asyncio.to_thread(running_now, podman) == []
            consumer.send("setInput", b"\x01\x02", False)
            v1.anvil.increase_time(60)
            v1.anvil.mine()
            found = await settled(node, number)
            assert (found["state"], found["reason"]) == ("delivered", "")
        assert len(deliveries(consumer)) == 2
        await eventually(lambda: state_of(node) == "asleep")


async def test_a_chain_of_containers_that_cannot_run_together(
    podman: IsolatedPodman, tmp_path: Path, v1: V1
) -> None:
    """With jobs of clients beside it, and a delegated subscription."""
    consumer, delegated = (
        v1.deploy("CallbackConsumer"),
        v1.deploy("DelegatedConsumer", ALICE.address),
    )
    async with sleeping(podman, tmp_path, v1, {"id": "b"}) as node:
        jobs = [await node.job([name]) for name in ("b", "echo", "b")]
        call_back(v1, consumer, "echo,b", input=b"\x01")
        call_back(v1, consumer, "b", input=b"\x02")
        request = request_v1(v1, delegated, data={"n": 3})
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert len(await received(consumer, 2)) == 2
        for number in (1, 2, 3):
            assert (await settled(node, number))["state"] == "delivered"
        assert len(deliveries(delegated)) == 1
        for job in jobs:
            assert (await node.finished(job))["status"] == "success"


async def test_a_node_that_stops_while_it_wakes_one(
    podman: IsolatedPodman, tmp_path: Path, v1: V1
) -> None:
    consumer = v1.deploy("CallbackConsumer")
    async with sleeping(podman, tmp_path, v1, command="--delay 4") as node:
        call_back(v1, consumer)
        await eventually(lambda: state_of(node) == "starting")
        assert (await delivery(node))["state"] == "computing"
    assert deliveries(consumer) == []
    async with sleeping(podman, tmp_path, v1, command="--delay 1") as node:
        assert (await settled(node))["state"] == "delivered"
        assert len(deliveries(consumer)) == 1


async def test_one_that_does_not_start_fails_its_delivery_alone(
    podman: IsolatedPodman, tmp_path: Path, v1: V1
) -> None:
    """Nothing is delivered, so that nothing is paid for it."""
    consumer, deaf = v1.deploy("CallbackConsumer"), {"id": "b", "command": "--deaf"}
    async with sleeping(podman, tmp_path, v1, deaf, startup_timeout=3.0) as node:
        call_back(v1, consumer, "b")
        await eventually(lambda: state_of(node, "b") == "starting")
        call_back(v1, consumer, "echo")
        first, second = [await settled(node, number) for number in (1, 2)]
        assert first["state"] == "failed"
        assert "startup_timeout (3 s)" in first["reason"] or "Container is not" in first["reason"]
        assert second["state"] == "delivered"
        assert len(deliveries(consumer)) == 1
