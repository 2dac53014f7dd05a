"""Followed subscriptions are read again in pages, and nothing waits for that."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.chain.contracts.abi import (
    GET_SUBSCRIPTION,
    READ_SUBSCRIPTION_BATCH,
    Function,
)
from infernet_edge.chain.subscriptions.recheck import MAX_PAGES
from tests.support.asking import call_back, received, subscribe_many
from tests.support.counting_proxy import CountingProxy
from tests.support.evm import V1, Contract
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.onchain import (
    chain_of,
    on_chain,
    polls,
    state_of,
    subscriptions,
    until_state,
)
from tests.support.rpc_behaviours import Behaviour
from tests.support.rpc_proxy import RpcProxy
from tests.support.running import RunningNode, configuration
from tests.support.serving import serving

_BLOCK_TIME = 1.2  # seconds, a tenth of Ethereum's
_RATE = 50  # calls per second, ten times what a free plan may allow


@pytest.fixture
def consumer(v1: V1) -> Contract:
    return v1.deploy("SubscriptionConsumer")


def small_batches(size: int, **more: Any) -> dict[str, Any]:
    return {"snapshot_sync": {"sync_period": 0.1, "sleep": 0, "batch_size": size, **more}}


async def follow(folder: Path, v1: V1, consumer: Contract, count: int, **chain: Any) -> list[int]:
    """Let a node follow so many subscriptions, and end it."""
    ids = subscribe_many(v1, consumer, count)
    async with on_chain(folder, v1=v1, chain=chain) as (node, _):
        await until_state(node, ids[-1], "active")
    return ids


def selector(call: dict[str, Any]) -> bytes:
    """The function that an eth_call calls."""
    if call["method"] != "eth_call":
        return b""
    return bytes.fromhex(call["params"][0]["data"][2:10])


def page_of(call: dict[str, Any]) -> range:
    """The ids that a call for a page asks for; none, when it is another call."""
    if selector(call) != READ_SUBSCRIPTION_BATCH.selector:
        return range(0)
    words = bytes.fromhex(call["params"][0]["data"][10:])
    return range(int.from_bytes(words[:32]), int.from_bytes(words[32:64]))


class Pages:
    """Notes which pages are asked for, and answers those that hold `refused` with an error."""

    def __init__(self, refused: int = 0) -> None:
        self.asked: list[range] = []
        self.refused = refused

    @asynccontextmanager
    async def before(self, v1: V1) -> AsyncIterator[str]:
        """The URL of a server that behaves so."""
        proxy = FaultyRpc(v1.anvil.url)
        proxy.fault = self._answer
        async with serving(proxy) as url:
            yield url

    async def _answer(self, proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        answers = await proxy.proper(asked)
        for call, answer in zip(asked, answers, strict=True):
            if page := page_of(call):
                self.asked.append(page)
            if self.refused in page:
                answer.pop("result", None)
                answer["error"] = {"code": -32000, "message": "header not found"}
        return web.json_response(answers[0] if len(answers) == 1 else answers)


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(requests_per_second=_RATE, counts_calls=True),
        Behaviour(requests_per_second=_RATE, max_batch=1),
        Behaviour(requests_per_second=_RATE, counts_calls=True, max_batch=10),
    ],
    ids=["calls are counted", "no batches", "batches of ten"],
)
async def test_a_new_callback_is_found_within_three_blocks(
    tmp_path: Path, v1: V1, consumer: Contract, behaviour: Behaviour
) -> None:
    """At the start, with 300 that are followed, and 5 requests a second at blocks of 12 s."""
    await follow(tmp_path, v1, consumer, 300)
    callback = v1.deploy("CallbackConsumer")
    settings = {"trail_head_blocks": 1, "snapshot_sync": {"sync_period": _BLOCK_TIME / 24}}
    async with RpcProxy(v1.anvil.url, behaviour) as proxy:
        with v1.anvil.blocks_every(_BLOCK_TIME):
            async with on_chain(tmp_path, v1=v1, rpc_url=proxy.url, chain=settings) as (node, _):
                identifier = await asyncio.to_thread(call_back, v1, callback)
                created = v1.anvil.block().number
                await until_state(node, identifier, "active")
                assert v1.anvil.block().number <= created + 3


@pytest.mark.parametrize("count", [60, 300])
async def test_a_start_takes_as_many_calls_as_pages(
    tmp_path: Path, v1: V1, consumer: Contract, count: int
) -> None:
    ids = await follow(tmp_path, v1, consumer, count)
    consumer.send("cancelSubscription", ids[-1])
    with CountingProxy(v1.anvil.url) as proxy:
        async with on_chain(tmp_path, v1=v1, rpc_url=proxy.url) as (node, _):
            await until_state(node, ids[-1], "cancelled")
            await polls(node)

        def calls(function: Function) -> int:
            return sum(asked.functions.count(function.selector) for asked in proxy.requests)

        assert calls(READ_SUBSCRIPTION_BATCH) <= 3
        assert calls(GET_SUBSCRIPTION) == 0


async def test_ids_that_are_far_apart_take_a_few_pages_with_each_block(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    ids = await follow(tmp_path, v1, consumer, 3 * MAX_PAGES)
    consumer.send("cancelSubscription", ids[-1])
    pages = Pages()
    async with (
        pages.before(v1) as url,
        on_chain(tmp_path, v1=v1, rpc_url=url, chain=small_batches(1)) as (node, _),
    ):
        for read in (1, 2, 3):
            await until_read(pages, read * MAX_PAGES)
            await polls(node)
            assert len([page for page in pages.asked if page.start in ids]) == read * MAX_PAGES
            v1.anvil.mine()
        await until_state(node, ids[-1], "cancelled")
        assert sorted(page.start for page in pages.asked if page.start in ids) == ids


async def until_read(pages: Pages, count: int) -> None:
    async with asyncio.timeout(10):
        while len(pages.asked) < count:
            await asyncio.sleep(0.02)


async def test_what_was_answered_is_kept_when_a_page_fails(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    ids = await follow(tmp_path, v1, consumer, 9)
    for each in (ids[0], ids[4], ids[8]):
        consumer.send("cancelSubscription", each)
    pages = Pages(refused=ids[4])
    async with (
        pages.before(v1) as url,
        on_chain(tmp_path, v1=v1, rpc_url=url, chain=small_batches(3)) as (node, _),
    ):
        await until_state(node, ids[0], "cancelled")
        await until_state(node, ids[8], "cancelled")
        assert await state_of(node, ids[4]) == "active"
        before = len(pages.asked)
        pages.refused = 0
        v1.anvil.mine()
        await until_state(node, ids[4], "cancelled")
        again = {each for page in pages.asked[before:] for each in page if each in ids}
        assert again == set(ids[3:6]), "the others are not read again"


async def test_a_page_that_fails_stops_nothing_else(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    ids = await follow(tmp_path, v1, consumer, 3)
    callback = v1.deploy("CallbackConsumer")
    async with (
        Pages(refused=ids[0]).before(v1) as url,
        on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _),
    ):
        for number in (1, 2, 3):
            call_back(v1, callback)
            await received(callback, number)
        assert await state_of(node, ids[0]) == "active"


async def test_a_cancellation_is_read_before_all_others(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    ids = await follow(tmp_path, v1, consumer, 4 * MAX_PAGES)
    async with on_chain(tmp_path, v1=v1, chain=small_batches(1)) as (node, _):
        await logs_are_read(node)
        consumer.send("cancelSubscription", ids[-1])
        await until_state(node, ids[-1], "cancelled")


async def logs_are_read(node: RunningNode) -> None:
    """Wait until a cancellation that comes now is in the logs that the node reads."""
    await polls(node, 6)


async def test_new_ones_go_before_those_that_a_reorg_made_doubtful(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    """What is not read again yet is so after the next start."""
    ids = await follow(tmp_path, v1, consumer, 20)
    with closing(sqlite3.connect(configuration(tmp_path).database_path)) as database, database:
        database.execute("UPDATE listeners SET hash = '0x01'")  # as after a reorg
    callback = v1.deploy("CallbackConsumer")
    identifier = call_back(v1, callback)
    slow = small_batches(1, sleep=1.0)
    async with on_chain(tmp_path, v1=v1, chain=slow) as (node, _):
        await received(callback, 1, timeout=8)
        await until_state(node, identifier, "completed")
    with closing(sqlite3.connect(configuration(tmp_path).database_path)) as database:
        [(next_id,)] = database.execute("SELECT next_id FROM listeners")
    assert next_id < ids[-1]
    pages = Pages()
    async with (
        pages.before(v1) as url,
        on_chain(tmp_path, v1=v1, rpc_url=url, chain=small_batches(500)) as (node, _),
    ):
        await polls(node)
        assert any(page.start == next_id for page in pages.asked)
        assert {each["state"] for each in await subscriptions(node)} == {"active", "completed"}
        assert chain_of(node).pending == 0
