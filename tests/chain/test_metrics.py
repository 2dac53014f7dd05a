"""The metrics of the chain, over HTTP, on a real EVM."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import call_back
from tests.support.delegated import request_v1
from tests.support.evm import ALICE, ETHER, NODE, V1
from tests.support.faulty_rpc import (
    Fault,
    FaultyRpc,
    down,
    html,
    internal_error,
    slow,
    throttled,
)
from tests.support.metrics import read_metrics
from tests.support.onchain import on_chain, polls, settled, until_state
from tests.support.ports import free_port
from tests.support.prometheus import promtool
from tests.support.running import RunningNode
from tests.support.serving import serving

PREFIX = "infernet_edge_"
OUTCOMES = {"answered", "timeout", "rate_limited", "failed", "cancelled"}


async def text_of(node: RunningNode) -> str:
    reply = await node.get("/metrics", {"accept": "application/openmetrics-text"})
    assert reply.status == 200
    return str(reply.body.decode())


async def metrics(node: RunningNode) -> dict[str, float]:
    values = read_metrics(await text_of(node), openmetrics=True)
    return {name.removeprefix(PREFIX): value for name, value in values.items()}


async def until(node: RunningNode, condition: Any) -> dict[str, float]:
    async with asyncio.timeout(20):
        while not condition(found := await metrics(node)):
            await asyncio.sleep(0.05)
    return found


async def test_a_delivery_changes_them(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    v1.anvil.set_balance(NODE.address, 10 * ETHER + 1)  # a float has no place for the last digit
    async with on_chain(tmp_path, v1=v1) as (node, _):
        before = await until(node, lambda now: "balance_wei" in now)
        assert f"{PREFIX}balance_wei {10 * ETHER + 1}\n" in await text_of(node)
        assert before["head_block"] == v1.anvil.block().number
        assert 0 <= before["head_age_seconds"] < 10
        assert before["gas_wei_total"] == 0
        states = {name: value for name, value in before.items() if name.startswith("deliveries")}
        assert states == {
            f'deliveries_total{{state="{state}"}}': 0
            for state in ("accepted", "delivered", "answered", "failed", "skipped")
        }
        await node.post("/api/jobs", request_v1(v1, consumer, data={"prompt": "x"}).body)
        found = await settled(node)
        assert found["state"] == "delivered"
        after = await until(node, lambda now: now["gas_wei_total"] > 0)
        assert after['deliveries_total{state="accepted"}'] == 1
        assert after['deliveries_total{state="delivered"}'] == 1
        spent = 10 * ETHER + 1 - v1.anvil.balance(NODE.address)
        assert f"{PREFIX}gas_wei_total {spent}\n" in await text_of(node)
        assert after["head_block"] > before["head_block"]
        assert after['job_seconds_count{container="echo"}'] == 1
        assert 'jobs_total{container="echo",outcome="success"}' in after
        classic = await node.get("/metrics")
        read_metrics(classic.body.decode())
        tool = await asyncio.to_thread(promtool, "check", "metrics", text=classic.body.decode())
        assert tool == ""


async def test_a_delivery_that_fails(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1, container={"url": f"http://127.0.0.1:{free_port()}"}) as (
        node,
        _,
    ):
        call_back(v1, consumer)
        await until_state(node, 1, "failed")
        found = await metrics(node)
        ended = {
            state: found[f'deliveries_total{{state="{state}"}}']
            for state in ("failed", "delivered")
        }
        assert ended == {"failed": 1, "delivered": 0}


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (down, "failed"),
        (html, "failed"),
        (throttled, "rate_limited"),
        (slow, "timeout"),
        (internal_error, "answered"),  # it may be the answer to the call
    ],
)
async def test_requests_to_servers_are_counted_by_their_outcome(
    tmp_path: Path, v1: V1, fault: Fault, outcome: str
) -> None:
    """By the host and port of the server: the rest of the URL may be a secret."""
    proxy = FaultyRpc(v1.anvil.url)
    async with serving(proxy) as url:
        secret = f"{url}/0123456789abcdef0123456789abcdef"
        async with on_chain(tmp_path, v1=v1, rpc_url=secret) as (node, _):
            await polls(node)
            server = url.removeprefix("http://")

            def count(found: dict[str, float], outcome: str) -> float:
                return found[f'rpc_requests_total{{server="{server}",outcome="{outcome}"}}']

            before = await metrics(node)
            assert count(before, "answered") > 3
            for each in OUTCOMES - {"answered"}:
                assert count(before, each) == 0
            proxy.fault = fault
            await until(node, lambda now: count(now, outcome) > count(before, outcome) + 1)
            assert "0123456789abcdef" not in await text_of(node)
            proxy.heal()


async def test_servers_of_one_host_are_one_series(tmp_path: Path, v1: V1) -> None:
    async with serving(FaultyRpc(v1.anvil.url)) as url:
        urls = [f"{url}/a", f"{url}/b"]
        async with on_chain(tmp_path, v1=v1, chain={"rpc_url": urls}) as (node, _):
            await polls(node)
            found = await metrics(node)  # raises where a series is there twice
            assert len([name for name in found if name.startswith("rpc_requests")]) == len(OUTCOMES)


async def test_reading_them_asks_no_server(tmp_path: Path, v1: V1) -> None:
    proxy = FaultyRpc(v1.anvil.url)
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        await until(node, lambda now: "balance_wei" in now)
        before = proxy.methods.count("eth_getBalance")
        for _ in range(30):
            await metrics(node)
        assert proxy.methods.count("eth_getBalance") == before
