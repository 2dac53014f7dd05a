"""Kills at every step of a delivery: each is made once, and none is lost."""

from __future__ import annotations

import ast
import contextlib
import http.client
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode

from tests.support.asking import call_back
from tests.support.client import Api, eventually
from tests.support.delegated import request_v1
from tests.support.echo import EchoService
from tests.support.evm import ALICE, NODE, V1, Contract, deliveries
from tests.support.killing import STEPS, killed_at
from tests.support.node import NodeProcess


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[EchoService]:
    with EchoService(tmp_path) as service:
        yield service


@pytest.fixture
def consumer(v1: V1) -> Contract:
    return v1.deploy("DelegatedConsumer", ALICE.address)


def node_on(v1: V1, echo: EchoService, folder: Path) -> NodeProcess:
    settings = {
        "enabled": True,
        "rpc_url": v1.anvil.url,
        "registry_address": v1.registry.address,
        "trail_head_blocks": 0,
        "snapshot_sync": {"sync_period": 0.1},
        "wallet": {"private_key": NODE.key.hex()},
    }
    containers = [{"id": "echo", "url": echo.url}]
    return NodeProcess({"chain": settings, "containers": containers}, folder / "node")


def numbered(v1: V1, consumer: Contract, number: int) -> dict[str, Any]:
    """A request whose answer holds a number."""
    return request_v1(v1, consumer, nonce=number, data={"number": number}).body


def acknowledged(node: NodeProcess, body: dict[str, Any]) -> bool:
    """Send a request; False when the node dies meanwhile or is not there."""
    try:
        reply = Api(node.port, timeout=20).post(body)
    except (OSError, http.client.HTTPException):
        return False
    assert (reply.status, reply.json) == (200, {}), reply
    return True


def is_idle(node: NodeProcess) -> bool:
    return bool(Api(node.port).get("/info").json["pending"]["onchain"] == 0)


def received(consumer: Contract) -> list[int]:
    """The numbers in the answers that a consumer has received."""
    texts = [decode(["string"], each["output"])[0] for each in deliveries(consumer)]
    return sorted(ast.literal_eval(text)["output"]["number"] for text in texts)


def stored(node: NodeProcess) -> list[tuple[Any, ...]]:
    """State and reason of all deliveries."""
    path = node.data_path / "infernet-edge.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT state, reason FROM deliveries").fetchall()


def test_no_delivery_is_made_twice(
    tmp_path: Path, v1: V1, consumer: Contract, echo: EchoService
) -> None:
    """A kill at each step, and a few once more while no block comes."""
    usual = [(step, True) for step in STEPS]
    without_blocks = [(step, False) for step in ("signed", "broadcast", "sent")]
    node = node_on(v1, echo, tmp_path)
    own_command = node.command
    lost = []
    for number, (step, mining) in enumerate(usual + without_blocks, 1):
        v1.anvil.set_automine(mining)
        body = numbered(v1, consumer, number)
        node.command = [*killed_at(step, number), *own_command[3:]]
        node.start()
        if not acknowledged(node, body):
            lost.append((step, body))
        assert node.exit_code() == -9, f"{step}: {node.log()}"
    assert [step for step, _ in lost] == ["before accepted", "accepted"]
    v1.anvil.set_automine(True)
    v1.anvil.mine()
    node.command = own_command
    with node:
        for _, body in lost:
            assert acknowledged(node, body)
        eventually(lambda: is_idle(node))
        count = len(usual) + len(without_blocks)
        assert received(consumer) == list(range(1, count + 1))
        assert v1.anvil.nonce(NODE.address, "pending") == count
        assert stored(node) == [("delivered", "")] * count


def test_no_accepted_delivery_is_lost(
    tmp_path: Path, v1: V1, consumer: Contract, echo: EchoService
) -> None:
    """Kills at random moments while requests come in, and blocks."""
    moments = random.Random(20)  # the same kills each time
    bodies = [numbered(v1, consumer, number) for number in range(1, 201)]
    v1.anvil.set_automine(False)
    node = node_on(v1, echo, tmp_path)
    taken: list[int] = []
    ended = threading.Event()

    def send() -> None:
        for number, body in enumerate(bodies, 1):
            while not acknowledged(node, body):  # the client tries again, as clients do
                if ended.wait(0.02):
                    return
            taken.append(number)
            if ended.wait(0.05):
                return

    with v1.anvil.blocks_every(0.1):
        client = threading.Thread(target=send)
        client.start()
        try:
            for _ in range(8):
                node.start()
                time.sleep(moments.uniform(0, 0.7))
                node.kill()
        finally:
            ended.set()
            client.join(30)
        with node:
            eventually(lambda: is_idle(node))
            found = received(consumer)
            assert set(taken) <= set(found)
            assert len(found) == len(set(found)) == len(stored(node))
            assert v1.anvil.nonce(NODE.address, "pending") == len(found)
            assert set(stored(node)) == {("delivered", "")}
    assert len(taken) > 8


def test_no_answer_to_a_contract_is_lost_or_given_twice(
    tmp_path: Path, v1: V1, echo: EchoService
) -> None:
    """A kill at each step of the answers to subscriptions that contracts make."""
    consumer = v1.deploy("CallbackConsumer")
    node = node_on(v1, echo, tmp_path)
    own_command = node.command
    for number, step in enumerate(STEPS, 1):
        assert call_back(v1, consumer, input=bytes([number])) == number
        node.command = [*killed_at(step, number), *own_command[3:]]
        node.start()
        assert node.exit_code() == -9, f"{step}: {node.log()}"
    node.command = own_command
    with node:
        eventually(lambda: len(deliveries(consumer)) == len(STEPS))
        eventually(lambda: is_idle(node))
        found = deliveries(consumer)
        assert sorted(each["subscriptionId"] for each in found) == list(range(1, len(STEPS) + 1))
        assert v1.anvil.nonce(NODE.address, "pending") == len(STEPS)
        assert stored(node) == [("delivered", "")] * len(STEPS)


def test_the_next_interval_is_taken_on_once(
    tmp_path: Path, v1: V1, consumer: Contract, echo: EchoService
) -> None:
    """A kill between the storing of the next interval and of the end of this one."""
    node = node_on(v1, echo, tmp_path)
    own_command = node.command
    request = request_v1(v1, consumer, period=1000, frequency=3, data={"number": 1})
    node.command = [*killed_at("before delivered", 1), *own_command[3:]]
    node.start()
    assert acknowledged(node, request.body)
    assert node.exit_code() == -9, node.log()
    assert sorted(stored(node)) == [("accepted", ""), ("sent", "")]
    node.command = own_command
    with node:
        eventually(lambda: sorted(stored(node)) == [("accepted", ""), ("delivered", "")])
        for count in (2, 3):
            v1.anvil.increase_time(1000)
            eventually(lambda: len(deliveries(consumer)) == count)  # noqa: B023 - called at once
        eventually(lambda: is_idle(node))
        assert stored(node) == [("delivered", "")] * 3
        assert [each["interval"] for each in deliveries(consumer)] == [1, 2, 3]
        assert v1.anvil.nonce(NODE.address, "pending") == 3
