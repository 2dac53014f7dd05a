"""Servers that answer and are of no use, beside one that is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import pytest

from infernet_edge.chain.rpc import choice
from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable
from infernet_edge.chain.rpc.state import heads
from infernet_edge.http_client.client import HttpClient
from tests.support.events import Events, listen
from tests.support.rpc_behaviours import METHOD_REFUSALS, Behaviour
from tests.support.rpc_proxy import RpcProxy
from tests.support.scripted_rpc import RpcFault, ScriptedRpc

LATEST = ("eth_getBlockByNumber", ["latest", False])


class Chain:
    """A chain that the test lets grow, as several servers know it."""

    def __init__(self) -> None:
        self.number = 100

    def block(self, tag: str, full: bool) -> dict[str, str]:
        return self.at(self.number)

    @staticmethod
    def at(number: int) -> dict[str, str]:
        return {"number": hex(number), "timestamp": hex(1000 + 2 * number), "hash": hex(number)}


class Pair(NamedTuple):
    """A client of two servers, each behind a proxy, of one chain."""

    rpc: RpcClient
    chain: Chain
    targets: tuple[ScriptedRpc, ScriptedRpc]
    first: RpcProxy
    second: RpcProxy

    def in_use(self) -> int:
        [used] = [n for n, server in enumerate(self.rpc.servers()) if server.in_use]
        return used

    async def poll_until(self, condition: Callable[[], bool], grows: bool = True) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.chain.number += grows
                await self.rpc.batch([LATEST], priority=True)
                await asyncio.sleep(0.05)


@pytest.fixture
async def pair(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr(heads, "_UNKNOWN_STILL", 0.5)
    monkeypatch.setattr(heads, "_SHORTEST_STILL", 0.5)
    monkeypatch.setattr(choice, "_FIRST_PAUSE", 0.2)
    chain = Chain()
    async with (
        ScriptedRpc() as one,
        ScriptedRpc() as other,
        RpcProxy(one.url) as first,
        RpcProxy(other.url) as second,
        HttpClient() as http,
    ):
        for target in (one, other):
            target.results |= {
                "eth_getBlockByNumber": chain.block,
                "eth_syncing": False,
                "echo": lambda *params: list(params),
            }
        rpc = RpcClient(http, [first.url, second.url], return_after=0.2)
        yield Pair(rpc, chain, (one, other), first, second)
        await rpc.close()


@pytest.fixture
def events() -> Iterator[Events]:
    with listen("infernet_edge.chain.rpc") as events:
        yield events


async def test_a_head_that_stands_still_while_another_moves(pair: Pair, events: Events) -> None:
    await pair.poll_until(lambda: pair.chain.number > 110)
    assert pair.in_use() == 0
    stuck = pair.chain.number
    pair.targets[0].results["eth_getBlockByNumber"] = lambda *params: Chain.at(stuck)
    await pair.poll_until(lambda: pair.in_use() == 1)
    assert f"its head stays at block {stuck}" in pair.rpc.servers()[0].problem
    assert pair.rpc.problem == pair.rpc.servers()[1].problem == ""
    # On a busy machine there may be switches before, from a server that is slow.
    assert any("stays at block" in each["reason"] for each in events.of("rpc.switched"))
    await asyncio.sleep(0.5)
    assert pair.in_use() == 1, "it still stands still"
    pair.targets[0].results["eth_getBlockByNumber"] = pair.chain.block
    await pair.poll_until(lambda: pair.in_use() == 0)
    assert pair.rpc.servers()[0].problem == ""


async def test_a_chain_that_stands_still_is_no_reason_to_switch(pair: Pair) -> None:
    await pair.poll_until(lambda: pair.chain.number > 105)
    end = time.monotonic() + 2
    await pair.poll_until(lambda: time.monotonic() > end, grows=False)
    assert pair.in_use() == 0
    assert len(pair.second.requests) <= 12, "the other one is compared, and not all the time"


async def test_a_server_that_is_syncing(pair: Pair) -> None:
    pair.first.behaviour = Behaviour(latest_is_null=True)
    [block] = await pair.rpc.batch([LATEST], priority=True)
    assert block == Chain.at(pair.chain.number)
    assert pair.in_use() == 1
    assert "syncing" in pair.rpc.servers()[0].problem
    await asyncio.sleep(0.5)
    assert pair.in_use() == 1
    pair.first.behaviour = Behaviour()
    await pair.poll_until(lambda: pair.in_use() == 0)


async def test_the_only_server_is_syncing(pair: Pair) -> None:
    async with HttpClient() as http:
        rpc = RpcClient(http, [pair.first.url])
        pair.first.behaviour = Behaviour(latest_is_null=True)
        assert await rpc.batch([LATEST], priority=True) == [None]
        assert "syncing" in rpc.servers()[0].problem
        pair.first.behaviour = Behaviour()
        await rpc.batch([LATEST], priority=True)
        assert rpc.servers()[0].problem == ""
        await rpc.close()


@pytest.mark.parametrize("form", METHOD_REFUSALS)
async def test_a_method_that_one_server_does_not_offer(pair: Pair, form: str) -> None:
    pair.first.behaviour = Behaviour(
        refused_methods=frozenset({"eth_estimateGas"}), method_refusal=form
    )
    for target in pair.targets:
        target.results["eth_estimateGas"] = "0x5208"
    for _ in range(5):
        assert await pair.rpc.call("eth_estimateGas", [{}]) == "0x5208"
        assert await pair.rpc.batch([("echo", [1]), ("eth_estimateGas", [{}])]) == [[1], "0x5208"]
    assert pair.first.counts["eth_estimateGas"] == 1, "it is remembered"
    assert pair.in_use() == 0
    assert pair.second.counts["echo"] == 0
    assert "eth_estimateGas" in pair.rpc.servers()[0].problem


async def test_a_method_that_no_server_offers(pair: Pair) -> None:
    for _ in range(3):
        with pytest.raises(RpcError, match="not available"):
            await pair.rpc.call("eth_nothing", [])
    assert pair.rpc.problem == ""


@pytest.mark.parametrize(
    "message",
    [
        "missing trie node 2f3a (path ) state 0x1 is not available",
        "required historical state unavailable (reexec=128)",
        "pruned history unavailable",
        "Archive requests require a paid plan",
    ],
)
async def test_a_state_that_one_server_does_not_have(pair: Pair, message: str) -> None:
    def fail(*params: Any) -> Any:
        raise RpcFault({"code": -32000, "message": message})

    pair.targets[0].results["eth_call"] = fail
    pair.targets[1].results["eth_call"] = "0x01"
    assert await pair.rpc.call("eth_call", [{}, "0x1"]) == "0x01"
    assert pair.in_use() == 0
    pair.targets[0].results["eth_call"] = "0x02"
    assert await pair.rpc.call("eth_call", [{}, "latest"]) == "0x02", "other states it may have"


async def test_a_revert_is_the_answer(pair: Pair) -> None:
    def fail(*params: Any) -> Any:
        raise RpcFault({"code": 3, "message": "execution reverted: method not supported"})

    pair.targets[0].results["eth_call"] = fail
    with pytest.raises(RpcError, match="reverted"):
        await pair.rpc.call("eth_call", [{}, "latest"])
    assert not pair.second.requests


async def test_a_call_that_hangs_is_made_at_the_second_server_too(pair: Pair) -> None:
    for _ in range(30):
        await pair.rpc.call("echo", [1])
    pair.first.behaviour = Behaviour(hang_share=0.05)
    began = time.monotonic()
    for n in range(200):
        assert await pair.rpc.call("echo", [n]) == [n]
    assert time.monotonic() - began < 60  # ten hang, for 10 seconds each
    assert pair.in_use() == 0
    assert len(pair.second.requests) < 60


async def test_a_server_that_hangs_all_the_time_is_left(pair: Pair) -> None:
    for _ in range(30):
        await pair.rpc.call("echo", [1])
    pair.first.behaviour = Behaviour(hang_share=1.0)
    for n in range(5):
        assert await pair.rpc.call("echo", [n]) == [n]
    assert pair.in_use() == 1
    assert "no answer within" in pair.rpc.servers()[0].problem


async def test_a_hang_costs_little_with_one_server(pair: Pair) -> None:
    async with HttpClient() as http:
        rpc = RpcClient(http, [pair.first.url])
        for _ in range(30):
            await rpc.call("echo", [1])
        pair.first.behaviour = Behaviour(hang_share=0.05)
        began = time.monotonic()
        await asyncio.gather(*(rpc.call("echo", [n]) for n in range(200)))
        assert time.monotonic() - began < 9  # a hang takes 10
        assert rpc.problem == ""
        await rpc.close()


async def test_a_call_that_is_made_once_is_not_made_at_two_servers(pair: Pair) -> None:
    for _ in range(30):
        await pair.rpc.call("echo", [1])
    pair.first.behaviour = Behaviour(hang_share=1.0)
    with pytest.raises(RpcUnavailable, match="no answer within"):
        await pair.rpc.call_once("echo", [2])
    assert pair.first.counts["echo"] == 31
    assert pair.second.counts["echo"] == 0


async def test_a_call_that_is_made_once_goes_to_a_server_that_offers_it(pair: Pair) -> None:
    pair.first.behaviour = Behaviour(refused_methods=frozenset({"echo"}))
    assert await pair.rpc.call_once("echo", [2]) == [2]
    await pair.first.refuse_connections()
    assert await pair.rpc.call_once("echo", [3]) == [3]
    assert pair.second.counts["echo"] == 2


async def test_the_rate_of_one_server_does_not_hold_up_what_another_can_do(pair: Pair) -> None:
    pair.first.behaviour = Behaviour(requests_per_second=2, burst=2)
    began = time.monotonic()
    found = await asyncio.gather(*(pair.rpc.call("echo", [n]) for n in range(100)))
    assert found == [[n] for n in range(100)]
    assert time.monotonic() - began < 30  # not 50
    assert pair.second.counts["echo"] > 50
