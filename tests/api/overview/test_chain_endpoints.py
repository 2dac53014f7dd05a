"""GET /api/chain and its lists, of a node on a real chain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infernet_edge.chain.delivery import steps
from tests.api.test_openapi import DOCUMENT, problems
from tests.support.asking import call_back, received, subscribe
from tests.support.delegated import request_v1
from tests.support.evm import ALICE, NODE, V1
from tests.support.onchain import on_chain, settled, until_state
from tests.support.ports import free_port
from tests.support.running import RunningNode

TOKENS = {"ann": "0123456789abcdef", "bob": "fedcba9876543210"}
ANN = {"authorization": f"Bearer {TOKENS['ann']}"}
BOB = {"authorization": f"Bearer {TOKENS['bob']}"}


def schema(path: str) -> dict[str, Any]:
    content = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]
    return dict(content["application/json"]["schema"])


async def read(
    node: RunningNode, path: str, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    reply = await node.get(path, headers)
    assert reply.status == 200, reply
    assert problems(reply.body, schema(path.partition("?")[0])) == []
    return dict(reply.body)


async def of_operator(node: RunningNode, path: str) -> dict[str, Any]:
    socket = str(node.parts.config.storage_path / "control.sock")
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as session,
        session.get(f"http://node{path}") as response,
    ):
        assert response.status == 200
        return dict(await response.json())


async def test_the_state_of_the_chain(tmp_path: Path, v1: V1) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, _):
        async with asyncio.timeout(20):
            while (found := await read(node, "/api/chain"))["head"] is None:
                await asyncio.sleep(0.05)
        assert (found["chain_id"], found["name"]) == (31337, "Anvil")
        assert found["address"] == NODE.address
        assert found["balance"] == str(v1.anvil.balance(NODE.address))  # text: no digit is lost
        assert found["head_at"] == v1.anvil.block().timestamp * 1000
        assert (found["gas_spent_day"], found["pending"]) == ("0", 0)
        (server,) = found["rpc"]
        assert server["host"] == v1.anvil.url.removeprefix("http://")
        assert (server["ok"], server["reason"]) == (True, "")
        assert server["ms"] >= 0
        async with asyncio.timeout(20):
            while (whole := await read(node, "/api/overview"))["chain"] is None:
                await asyncio.sleep(0.05)
        assert whole["chain"]["address"] == NODE.address
        assert whole["attention"] == []


async def test_a_chain_that_cannot_be_reached(tmp_path: Path, v1: V1) -> None:
    down = f"127.0.0.1:{free_port()}"
    async with on_chain(tmp_path, v1=v1, rpc_url=f"http://{down}/key4711") as (node, _):
        async with asyncio.timeout(20):
            while True:
                found = await read(node, "/api/overview")
                if [each["id"] for each in found["attention"]] == ["chain.rpc"]:
                    break
                await asyncio.sleep(0.05)
        (item,) = found["attention"]
        assert item["level"] == "problem"
        assert down in item["text"]
        assert "chain.rpc_url" in item["fix"]
        chain = await read(node, "/api/chain")
        assert chain["head"] is None
        assert chain["rpc"][0]["ok"] is False
        assert "key4711" not in json.dumps([found, chain])


async def test_subscriptions_and_deliveries(tmp_path: Path, v1: V1) -> None:
    callback, recurring = v1.deploy("CallbackConsumer"), v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        subscribe(v1, recurring, frequency=4, period=9000)
        call_back(v1, callback)
        await received(callback, 1)
        call_back(v1, callback, "other")
        await settled(node)
        await until_state(node, 2, "completed")
        await until_state(node, 3, "ignored")
        path = "/api/chain/subscriptions"
        found = await read(node, path)
        assert [each["id"] for each in found["items"]] == [3, 2, 1]
        assert found["next"] is None
        skipped, _, active = found["items"]
        assert "not supported" in skipped["reason"]
        assert skipped["next_due"] is None
        begin = active["active_at"]
        assert (active["next_due"] // 1000 - begin) % 9000 == 0
        assert active["next_due"] > v1.anvil.now() * 1000
        assert active["payment_amount"] == "0"
        for query, expected in {
            "state=served": [2, 1],
            "state=skipped": [3],
            "limit=2": [3, 2],
            "limit=2&before=2": [1],
            "before=1": [],
            "state=served&limit=1": [2],
        }.items():
            items = (await read(node, f"{path}?{query}"))["items"]
            assert [each["id"] for each in items] == expected, query
        reply = await node.get(f"{path}?limit=2")
        assert reply.body["next"] == "2"
        assert reply.headers["link"] == f'<{path}?limit=2&before=2>; rel="next"'
        for query in ("state=none", "limit=0", "limit=501", "before=x", "before=-1"):
            assert (await node.get(f"{path}?{query}")).status == 400, query
        (delivery,) = (await read(node, "/api/chain/deliveries"))["items"]
        assert (delivery["state"], delivery["subscription"]) == ("delivered", 2)
        assert v1.anvil.transaction(delivery["transaction"]) is not None
        chain = await read(node, "/api/chain")
        assert chain["gas_spent_day"] == delivery["fee"] != "0"
        assert chain["block_seconds"] > 0


async def test_only_operators_see_the_clients_of_deliveries(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    request = request_v1(v1, consumer)
    async with on_chain(tmp_path, v1=v1, server={"tokens": TOKENS}) as (node, _):
        assert (await node.post("/api/jobs", request.body, ANN)).status == 200
        await settled(node)
        path = "/api/chain/deliveries"
        assert (await read(node, path, ANN))["items"][0]["client"] == "token:ann"
        assert (await read(node, path, BOB))["items"][0]["client"] is None
        assert (await of_operator(node, path))["items"][0]["client"] == "token:ann"
        assert (await node.get(path)).status == 401


async def test_what_a_container_says_is_for_the_client_of_a_request(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may repeat the request of a client, whom others do not know."""
    monkeypatch.setattr(steps, "_FIRST_PAUSE", 0.01)
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    request = request_v1(v1, consumer, data={"status": 500, "note": "of ann"})
    async with on_chain(tmp_path, v1=v1, server={"tokens": TOKENS}) as (node, _):
        assert (await node.post("/api/jobs", request.body, ANN)).status == 200
        await settled(node)
        path = "/api/chain/deliveries"
        (found,) = (await read(node, path, BOB))["items"]
        assert (found["state"], found["client"], found["reason"]) == ("failed", None, "")
        for items in (await read(node, path, ANN), await of_operator(node, path)):
            assert "of ann" in items["items"][0]["reason"]


async def test_only_operators_see_paths_and_outputs_in_reasons(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "_FIRST_PAUSE", 0.01)
    callback = v1.deploy("CallbackConsumer")
    schema = {"properties": {"file": {"enum": ["a"]}}}
    settings: dict[str, Any] = {"protocol": "http", "input_schema": schema}
    async with on_chain(tmp_path, v1=v1, container=settings, server={"tokens": TOKENS}) as (
        node,
        _,
    ):
        call_back(v1, callback, input=b'{"file":"/srv/secret/x"}')
        await settled(node)
        path = "/api/chain/deliveries"
        (shown,) = (await read(node, path, BOB))["items"]
        (full,) = (await of_operator(node, path))["items"]
        assert (
            shown["reason"] == full["reason"].replace("/srv/secret/x", "(path)") != full["reason"]
        )
        assert (await of_operator(node, "/api/chain/subscriptions"))["items"]
        assert "secret" not in str(await read(node, "/api/chain/subscriptions", BOB))
