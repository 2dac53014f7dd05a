"""A node whose database is older than the chain, as after a restore, delivers nothing twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

from infernet_edge.config.model import DATABASE
from tests.support.asking import subscribe
from tests.support.delegated import request_v1
from tests.support.evm import ALICE, NODE, V1, deliveries
from tests.support.onchain import on_chain, polls, settled, until
from tests.support.running import RunningNode
from tests.support.serving import Echo


async def back_up(node: RunningNode, target: Path) -> None:
    await node.parts.database.copy(target, keep_free=0, on_progress=lambda done, total: None)


def restore(folder: Path, copy: Path) -> None:
    (folder / "data" / DATABASE).write_bytes(copy.read_bytes())


def sent(v1: V1) -> int:
    """How many transactions of the node are in blocks."""
    return v1.anvil.nonce(NODE.address)


async def test_what_was_delivered_since_the_backup_is_not_delivered_again(
    tmp_path: Path, v1: V1
) -> None:
    """One was being computed at the backup, one was delivered before, one came after it."""
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    copy = tmp_path / "copy"
    echo = Echo()
    one = request_v1(v1, consumer, nonce=1, data={"n": 1})
    two = request_v1(v1, consumer, nonce=2, data={"n": 2, "hold": True})
    three = request_v1(v1, consumer, nonce=3, data={"n": 3})
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        await node.post("/api/jobs", one.body)
        assert (await settled(node, 1))["state"] == "delivered"
        await node.post("/api/jobs", two.body)
        await until(lambda: echo.open == 1)
        await back_up(node, copy)
        echo.release()
        assert (await settled(node, 2))["state"] == "delivered"
        await node.post("/api/jobs", three.body)
        assert (await settled(node, 3))["state"] == "delivered"
    before = sent(v1)
    assert len(deliveries(consumer)) == 3
    restore(tmp_path, copy)
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        assert (await settled(node, 2))["state"] == "delivered"
        # The client of the third may send it again, as its node does not know it any more.
        await node.post("/api/jobs", three.body)
        assert (await settled(node, 3))["state"] == "delivered"
        await polls(node)
    assert len(deliveries(consumer)) == 3
    assert sent(v1) == before


async def test_a_transaction_that_was_in_flight_is_found_in_its_block(
    tmp_path: Path, v1: V1
) -> None:
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    copy = tmp_path / "copy"
    async with on_chain(tmp_path, v1=v1) as (node, _):
        v1.anvil.set_automine(False)
        before = sent(v1)
        await node.post("/api/jobs", request_v1(v1, consumer, data={"n": 1}).body)
        await until(lambda: v1.anvil.nonce(NODE.address, "pending") == before + 1)
        await asyncio.sleep(0.2)
        await back_up(node, copy)
        v1.anvil.set_automine(True)
        v1.anvil.mine()
        assert (await settled(node, 1))["state"] == "delivered"
    restore(tmp_path, copy)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        assert (await settled(node, 1))["state"] == "delivered"
        await polls(node)
    assert len(deliveries(consumer)) == 1
    assert sent(v1) == before + 1


async def test_intervals_of_a_subscription_that_were_answered_are_not_again(
    tmp_path: Path, v1: V1
) -> None:
    consumer = v1.deploy("SubscriptionConsumer")
    copy = tmp_path / "copy"
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await back_up(node, copy)
        subscribe(v1, consumer, frequency=1, period=0)
        assert (await settled(node, 1))["state"] == "delivered"
    before = sent(v1)
    count = len(deliveries(consumer))
    restore(tmp_path, copy)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await polls(node, 8)
        await asyncio.sleep(0.5)
    assert sent(v1) == before
    assert len(deliveries(consumer)) == count
