"""Deliveries through servers that do not know the tag "pending", or take it for "latest"."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.chain import chain
from infernet_edge.chain.rpc import head_tracker
from infernet_edge.chain.rpc.client import RpcClient
from tests.support.asking import call_back, received, subscribe
from tests.support.delegated import request_v1
from tests.support.evm import ALICE, NODE, V1, deliveries
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.onchain import chain_of, on_chain, polls, settled, until
from tests.support.rpc_behaviours import PENDING_REFUSALS, Behaviour
from tests.support.rpc_proxy import RpcProxy
from tests.support.serving import serving

METHODS = frozenset({"eth_getTransactionCount", "eth_call", "eth_estimateGas"})


def with_latest(call: dict[str, Any]) -> dict[str, Any]:
    params = ["latest" if param == "pending" else param for param in call["params"]]
    return call | {"params": params}


async def as_latest(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
    """A server whose "pending" is the newest block."""
    proper = await proxy.proper([with_latest(call) for call in asked])
    return web.json_response(proper if len(proper) > 1 else proper[0])


async def hanging(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
    """A server that does not answer requests with "pending" in them."""
    if any("pending" in call["params"] for call in asked):
        await proxy.wait_until_healed()
    return await as_latest(proxy, request, asked)


async def without_results(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
    """A server whose answers have nothing in them where "pending" is asked for."""
    proper = await proxy.proper(asked)
    for call, reply in zip(asked, proper, strict=True):
        if "pending" in call["params"]:
            del reply["result"]
    return web.json_response(proper if len(proper) > 1 else proper[0])


@asynccontextmanager
async def server(v1: V1, kind: str) -> AsyncIterator[str]:
    """The URL of a server of a kind: a name in PENDING_REFUSALS, or one of the faults above."""
    if kind in PENDING_REFUSALS:
        behaviour = Behaviour(refuses_pending=METHODS, pending_refusal=kind)
        async with RpcProxy(v1.anvil.url, behaviour) as proxy:
            yield proxy.url
        return
    faulty = FaultyRpc(v1.anvil.url)
    faulty.fault = {
        "as latest": as_latest,
        "hanging": hanging,
        "without results": without_results,
    }[kind]
    async with serving(faulty) as url:
        try:
            yield url
        finally:
            faulty.heal()


KINDS = ["unavailable", "internal", "null", "as latest", "hanging"]


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that do not answer are waited for for a moment only."""
    monkeypatch.setattr(chain, "RpcClient", functools.partial(RpcClient, timeout=0.5))


@pytest.mark.parametrize("kind", KINDS)
async def test_each_of_21_deliveries_arrives_once(tmp_path: Path, v1: V1, kind: str) -> None:
    """Callbacks that are due at once, requests over REST, and intervals at their edges."""
    called, delegated = v1.deploy("CallbackConsumer"), v1.deploy("DelegatedConsumer", ALICE.address)
    recurring = [v1.deploy("SubscriptionConsumer") for _ in range(2)]
    for _ in range(7):
        call_back(v1, called)
    for consumer in recurring:
        subscribe(v1, consumer, frequency=4, period=10)
    v1.anvil.set_automine(False)
    async with server(v1, kind) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        with v1.anvil.blocks_every(0.25):
            for nonce in range(1, 7):
                begins = v1.anvil.now() + nonce % 3
                request = request_v1(v1, delegated, nonce=nonce, activeAt=begins)
                assert (await node.post("/api/jobs", request.body)).status == 200
                await asyncio.sleep(0.1)
            await received(called, 7)
            await received(delegated, 6)
            for consumer in recurring:
                await received(consumer, 4, 40)
            await polls(node)
    assert (len(deliveries(called)), len(deliveries(delegated))) == (7, 6)
    for consumer in recurring:
        assert [each["interval"] for each in deliveries(consumer)] == [1, 2, 3, 4]
    assert v1.anvil.nonce(NODE.address) == 21, "no transaction was in vain"


async def test_answers_with_nothing_in_them(tmp_path: Path, v1: V1) -> None:
    """They are taken for a server with a limit first, which costs some time."""
    consumer = v1.deploy("CallbackConsumer")
    for _ in range(7):
        call_back(v1, consumer)
    async with server(v1, "without results") as url, on_chain(tmp_path, v1=v1, rpc_url=url) as on:
        await received(consumer, 7, 40)
        await polls(on[0])
    assert len(deliveries(consumer)) == v1.anvil.nonce(NODE.address) == 7


@pytest.mark.parametrize("kind", ["unavailable", "as latest"])
async def test_an_interval_that_begins_between_two_blocks(
    tmp_path: Path, v1: V1, kind: str
) -> None:
    """With "latest" the contract says that it is not active; the next block decides."""
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    v1.anvil.set_automine(False)
    async with server(v1, kind) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, echo):
        begins = v1.anvil.now() + 1
        while chain_of(node).head.now() < begins:
            await asyncio.sleep(0.05)
        request = request_v1(v1, consumer, activeAt=begins)
        assert (await node.post("/api/jobs", request.body)).status == 200
        await polls(node, 10)
        assert not echo.calls
        v1.anvil.set_time(begins + 1)
        await until(lambda: echo.calls)
        await until(v1.anvil.mempool)
        v1.anvil.mine()
        found = await settled(node)
        assert (found["state"], found["reason"]) == ("delivered", "")


async def test_a_chain_that_makes_no_empty_blocks(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No block would ever come to wait for: the deliveries themselves bring them."""
    monkeypatch.setattr(head_tracker, "_MAX_BLOCK_INTERVAL", 0.5)
    consumer = v1.deploy("SubscriptionConsumer")
    subscribe(v1, consumer, frequency=50, period=2)  # a busy machine is too late for some of them
    async with server(v1, "unavailable") as url, on_chain(tmp_path, v1=v1, rpc_url=url):
        await received(consumer, 2)
    intervals = [each["interval"] for each in deliveries(consumer)]
    assert intervals == sorted(set(intervals))
