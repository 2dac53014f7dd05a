"""Delegated subscriptions that the unmodified official client signs, delivered on a real chain."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from eth_abi.abi import decode
from eth_account.signers.local import LocalAccount

from tests.support.echo import EchoService
from tests.support.evm import ALICE, COIN, NOBODY, NODE, OTHER_NODE, V1, Contract, deliveries
from tests.support.node import NodeProcess
from tests.support.official_client import official_python

DELEGATE = Path(__file__).with_name("delegate.py")


def node_config(v1: V1, echo: EchoService) -> dict[str, Any]:
    return {
        "containers": [{"id": "echo", "url": echo.url}, {"id": "last", "url": echo.url}],
        "chain": {
            "enabled": True,
            "rpc_url": v1.anvil.url,
            "registry_address": v1.registry.address,
            "trail_head_blocks": 0,
            "wallet": {"private_key": NODE.key.hex()},
            "snapshot_sync": {"sync_period": 0.1},
        },
    }


def request(
    v1: V1,
    consumer: Contract,
    containers: list[str],
    nonce: int,
    *,
    signer: LocalAccount = ALICE,
    expires_in: int = 600,
) -> dict[str, Any]:
    """What a user of the client gives it."""
    now = v1.anvil.now()
    return {
        "subscription": {
            "owner": consumer.address,
            "active_at": now,
            "period": 0,
            "frequency": 1,
            "redundancy": 1,
            "containers": containers,
            "lazy": False,
            "verifier": NOBODY,
            "payment_amount": 0,
            "payment_token": COIN,
            "wallet": NOBODY,
        },
        "expiry": now + expires_in,
        "nonce": nonce,
        "key": "0x" + signer.key.hex(),
        "data": {"number": nonce, "wide": 2**200, "word": "Grüße"},
    }


def send(v1: V1, node: NodeProcess, requests: list[dict[str, Any]]) -> list[Any]:
    """Let the client sign and send requests; what it saw."""
    task = {
        "node": node.url,
        "rpc": v1.anvil.url,
        "coordinator": v1.coordinator.address,
        "requests": requests,
    }
    done = subprocess.run(
        [official_python(), str(DELEGATE)],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\nnode: {node.state()}\n{node.log()}"
    seen: list[Any] = json.loads(done.stdout)
    return seen


def test_what_the_client_signs_is_delivered(tmp_path: Path, v1: V1) -> None:
    official_python()
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    with EchoService(tmp_path) as echo, NodeProcess(node_config(v1, echo), tmp_path) as node:
        requests = [
            request(v1, consumer, ["echo"], 1),
            request(v1, consumer, ["echo", "last"], 2),
        ]
        assert send(v1, node, requests) == [None, None]
        deadline = time.monotonic() + 30
        while len(received := deliveries(consumer)) < 2:
            assert time.monotonic() < deadline, node.log()
            time.sleep(0.05)
        found = {decode(["string"], each["output"])[0] for each in received}
        single, twice = (each["data"] for each in requests)
        first = {"output": twice, "echo": True}
        assert found == {
            str({"output": single, "echo": True}),
            str({"output": first, "echo": True}),
        }
        assert {each["node"] for each in received} == {NODE.address}


def test_refusals_reach_the_client(tmp_path: Path, v1: V1) -> None:
    official_python()
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    with EchoService(tmp_path) as echo, NodeProcess(node_config(v1, echo), tmp_path) as node:
        forged, expired, unknown = send(
            v1,
            node,
            [
                request(v1, consumer, ["echo"], 1, signer=OTHER_NODE),
                request(v1, consumer, ["echo"], 2, expires_in=-1),
                request(v1, consumer, ["nobody"], 3),
            ],
        )
        assert (forged["status"], forged["error"]) == (405, "Signer mismatch")
        assert forged["params"]["owner"] == consumer.address
        assert (expired["status"], expired["error"]) == (405, "Signature expired")
        assert (unknown["status"], unknown["error"]) == (405, "Container not supported")
    assert deliveries(consumer) == []
