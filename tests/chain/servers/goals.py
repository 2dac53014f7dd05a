"""What the node must reach with limited servers, slow blocks, jumping fees and outages.

Each goal is measured on a chain of its own, whose blocks come by themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Set
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.chain.servers.measuring import (
    USUAL,
    Measured,
    ask_many,
    delivered,
    measure,
    subscribe_many,
)
from tests.chain.servers.profiles import Profile
from tests.support.events import Events, listen
from tests.support.evm import NODE, V1, Anvil, Contract, deliveries, deploy_v1
from tests.support.onchain import on_chain
from tests.support.rpc_behaviours import Behaviour
from tests.support.rpc_proxy import RpcProxy

_ROOM = 60_000_000  # gas of a block, as on Ethereum
_LONGEST = 300.0  # seconds that one thing may take


class Row(NamedTuple):
    """A number that was measured, and its bounds; without bounds it is only shown."""

    text: str
    found: float
    most: float | None = None
    least: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is within its bounds."""
        return (self.most is None or self.found <= self.most) and (
            self.least is None or self.found >= self.least
        )


class World(NamedTuple):
    """A chain, and the consumers on it."""

    v1: V1
    callbacks: Contract
    recurring: Contract

    @property
    def anvil(self) -> Anvil:
        return self.v1.anvil


class Run(NamedTuple):
    """A node behind a server."""

    proxy: RpcProxy
    events: Events


@contextmanager
def world(block_time: int = 0) -> Iterator[World]:
    """A chain whose blocks come each so many seconds; 0: none come by themselves."""
    with Anvil(arguments=[f"--gas-limit={_ROOM}"]) as anvil:
        v1 = deploy_v1(anvil)
        made = World(v1, v1.deploy("CallbackConsumer"), v1.deploy("SubscriptionConsumer"))
        anvil.set_automine(False)
        anvil.set_block_time(block_time)
        yield made


@asynccontextmanager
async def node_behind(
    chain: World, behaviour: Behaviour, folder: Path, settings: Mapping[str, Any] | None = None
) -> AsyncIterator[Run]:
    """A node with its usual settings, whose server behaves so."""
    with listen("infernet_edge.chain") as events:
        async with RpcProxy(chain.anvil.url, behaviour) as proxy:
            laid = {**USUAL, **(settings or {})}
            async with on_chain(folder, v1=chain.v1, rpc_url=proxy.url, chain=laid):
                yield Run(proxy, events)


async def _until(condition: Callable[[], Any], within: float = _LONGEST) -> bool:
    """Wait until something holds; whether it does, in time. It may ask the chain."""
    end = time.monotonic() + within
    while not await asyncio.to_thread(condition):
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True


def _failed_transactions(chain: World, first_block: int) -> tuple[int, int]:
    """How many transactions of the node are in blocks from this one on, and how many failed."""
    made = failed = 0
    for number in range(first_block, chain.anvil.block().number + 1):
        block = chain.anvil.rpc("eth_getBlockByNumber", hex(number), True)
        for transaction in block["transactions"]:
            if transaction["from"].lower() == NODE.address.lower():
                made += 1
                receipt = chain.anvil.receipt(transaction["hash"])
                failed += receipt is not None and not receipt.succeeded
    return made, failed


# 2: a rate


async def rate(folder: Path) -> list[Row]:
    """100 callbacks at once, with 10 requests/s and 10 calls in a batch."""
    limited = await _many(folder / "limited", Behaviour(requests_per_second=10, **_BATCHES))
    free = await _many(folder / "free", Behaviour(**_BATCHES))
    return [
        Row("callbacks delivered, of 100", limited.delivered - 1, least=100),
        Row("seconds for them", limited.last, most=60),
        Row("refused, percent", 100 * limited.refused, most=5),
        Row("calls, of those without a limit", limited.calls / free.calls, most=1.2),
        Row("most requests in a second", limited.peak),
        Row("requests", limited.requests),
        Row("seconds without a limit", free.last),
        Row("requests without a limit", free.requests),
    ]


_BATCHES: dict[str, Any] = {"max_batch": 10, "batch_refusal": "error_object"}


async def _many(folder: Path, behaviour: Behaviour) -> Measured:
    with world(block_time=2) as chain:
        profile = Profile("limited", "", behaviour, "")
        return await measure(chain.v1, profile, folder, callbacks=(1, 100), within=180)


# 3: what is new is found


async def found_soon(folder: Path) -> list[Row]:
    """New callbacks while 300 subscriptions are followed, with 5 requests/s and blocks of 12 s."""
    rows = []
    limited = Behaviour(requests_per_second=5, max_batch=10, batch_refusal="list_of_one_error")
    for title, behaviour in (
        ("batches of 10", limited),
        ("no batches", replace(limited, max_batch=1)),
        ("no logs", replace(limited, refused_methods=frozenset({"eth_getLogs"}))),
    ):
        rows += [
            row._replace(text=f"{title}: {row.text}")
            for row in await _found_soon(folder / title.replace(" ", "-"), behaviour)
        ]
    return rows


async def _found_soon(folder: Path, behaviour: Behaviour) -> list[Row]:
    """The node was off for a moment, so it has everything to check again."""
    followed = 300
    with world() as chain:
        for _ in range(3):
            subscribe_many(chain.v1, chain.recurring, followed // 3, period=10**6, frequency=9)
            chain.anvil.mine()
        chain.anvil.mine()
        async with node_behind(chain, Behaviour(), folder) as run:
            found = await _until(lambda: len(run.events.of("subscription.found")) >= followed)
            assert found, "the subscriptions are not found"
        chain.anvil.set_block_time(12)
        async with node_behind(chain, behaviour, folder) as run:
            began = time.monotonic()
            waits = [await _found_after(chain, run) for _ in range(4)]
            requests = [each for each in run.proxy.requests if each.time >= began]
            blocks = (time.monotonic() - began) / 12
        return [
            Row("blocks until a callback is found", max(waits), most=3),
            Row("requests per block", len(requests) / blocks),
            Row("refused, percent", 100 * run.proxy.refused_share, most=5),
        ]


async def _found_after(chain: World, run: Run) -> int:
    """In how many blocks after its own a new callback is found."""
    newest = await asyncio.to_thread(chain.v1.newest_id)
    await asyncio.to_thread(ask_many, chain.v1, chain.callbacks, 1)
    await _until(lambda: chain.v1.newest_id() > newest)
    made = (await asyncio.to_thread(chain.anvil.block)).number

    def found() -> bool:
        return any(
            fields.get("subscription") == newest + 1
            for fields in run.events.of("subscription.found")
        )

    await _until(found, 72)
    return (await asyncio.to_thread(chain.anvil.block)).number - made


# 6: fees


async def fees(folder: Path) -> list[Row]:
    """12 transactions wait when the base fee becomes a hundred times as high, and stays there."""
    count = 12
    with world() as chain:
        anvil = chain.anvil
        async with node_behind(chain, Behaviour(), folder):
            await asyncio.to_thread(ask_many, chain.v1, chain.callbacks, count)
            await asyncio.to_thread(anvil.mine, 2)
            waited = await _until(lambda: _waiting(chain) >= count, 60)
            fee = (await asyncio.to_thread(anvil.block)).base_fee * 100
            began, blocks, done = time.monotonic(), 0, 0
            while done < count and blocks < 120:
                await asyncio.to_thread(anvil.set_base_fee, fee)
                await asyncio.to_thread(anvil.mine)
                blocks += 1
                done = await delivered(chain.callbacks, count, time.monotonic() + 0.9)
            seconds = time.monotonic() - began
    return [
        Row("transactions that waited at the jump", count * waited, least=count),
        Row("callbacks delivered, of 12", done, least=count),
        Row("seconds from the jump to the last", seconds, most=12),
    ]


def _waiting(chain: World) -> int:
    """How many transactions of the node wait to be mined."""
    later, now = (chain.anvil.nonce(NODE.address, tag) for tag in ("pending", "latest"))
    return later - now


# 7: outages and chains that stand still


async def outage(folder: Path) -> list[Row]:
    """The server is away for 60 seconds, while 5 subscriptions are due every 10 seconds."""
    with world(block_time=2) as chain:
        subscribe_many(chain.v1, chain.recurring, 5, period=10, frequency=1000)
        async with node_behind(chain, Behaviour(), folder) as run:
            await delivered(chain.recurring, 10, time.monotonic() + 90)
            await run.proxy.refuse_connections()
            await asyncio.sleep(60)
            run.proxy.clear()
            back, back_at = time.monotonic(), await asyncio.to_thread(chain.anvil.now)
            await run.proxy.listen()
            await _until(lambda: run.proxy.requests, 60)
            silent = time.monotonic() - back
            before = await delivered(chain.recurring, 0, 0)
            await delivered(chain.recurring, before + 1, time.monotonic() + 60)
            first = time.monotonic() - back
            await asyncio.sleep(40)
            now = await asyncio.to_thread(chain.anvil.now)
        expected = _intervals(chain, range(1, 6), back_at + 5, now)
        missed = expected - _answered(chain)
    return [
        Row("seconds until the server is asked again", silent, most=5),
        Row("seconds until the next delivery", first, most=20),
        Row("intervals that were left out after it", len(missed), most=0),
        Row("intervals after it", len(expected), least=10),
    ]


async def standstill(folder: Path) -> list[Row]:
    """No block comes for 60 seconds, while 5 subscriptions are due every 10 seconds."""
    count = 5
    with world(block_time=2) as chain:
        subscribe_many(chain.v1, chain.recurring, count, period=10, frequency=1000)
        async with node_behind(chain, Behaviour(), folder) as run:
            await delivered(chain.recurring, 2 * count, time.monotonic() + 90)
            await asyncio.to_thread(chain.anvil.set_block_time, 0)
            stood = (await asyncio.to_thread(chain.anvil.block)).number
            await asyncio.sleep(30)
            run.proxy.clear()
            await asyncio.sleep(30)
            requests = len(run.proxy.requests)
            waiting = await asyncio.to_thread(_waiting, chain)
            await asyncio.to_thread(chain.anvil.set_block_time, 2)
            await asyncio.sleep(30)
        made, failed = _failed_transactions(chain, stood + 1)
    return [
        Row("transactions that wait at the end", waiting, most=count),
        Row("requests per second, in its second half", requests / 30, most=1),
        Row("transactions that failed after it", failed, most=count),
        Row("transactions after it", made, least=count),
    ]


async def edges(folder: Path) -> list[Row]:
    """20 subscriptions are due every 10 seconds, with blocks of 4 seconds."""
    with world(block_time=4) as chain:
        start = chain.anvil.block().number
        subscribe_many(chain.v1, chain.recurring, 20, period=10, frequency=1000)
        async with node_behind(chain, Behaviour(), folder):
            await delivered(chain.recurring, 200, time.monotonic() + 180)
        made, failed = _failed_transactions(chain, start)
    return [
        Row("transactions", made, least=200),
        Row("of them failed", failed, most=0),
    ]


# 8: many at once


async def at_once(folder: Path) -> list[Row]:
    """100 subscriptions become due in one block, with blocks of 12 s."""
    count = 100
    with world() as chain:
        subscribe_many(chain.v1, chain.recurring, count, period=60, frequency=1)
        chain.anvil.mine()
        due = chain.v1.subscription(1)["activeAt"]
        chain.anvil.set_block_time(12)
        async with node_behind(chain, Behaviour(), folder) as run:
            found = await _until(lambda: len(run.events.of("subscription.found")) >= count)
            assert found, "the subscriptions are not found"
            await _until(lambda: chain.anvil.now() >= due)
            first = (await asyncio.to_thread(chain.anvil.block)).number
            run.proxy.clear()
            done = await delivered(chain.recurring, count, time.monotonic() + 150)
            last = (await asyncio.to_thread(chain.anvil.block)).number
    return [
        Row("delivered, of 100", done, least=count),
        Row("blocks after that in which they are due", last - first, most=3),
        Row("requests for each", len(run.proxy.requests) / count),
        Row("most requests in a second", run.proxy.peak),
    ]


# 9: a server that hangs


async def hanging(folder: Path) -> list[Row]:
    """10 subscriptions are due every 10 seconds; 5 % of the requests are not answered."""
    return await _unreliable(folder, Behaviour(hang_share=0.05))


async def failing(folder: Path) -> list[Row]:
    """10 subscriptions are due every 10 seconds; 5 % of the requests get status 502."""
    return await _unreliable(folder, Behaviour(fail_share=0.05))


async def _unreliable(folder: Path, behaviour: Behaviour) -> list[Row]:
    count = 10
    with world(block_time=2) as chain:
        subscribe_many(chain.v1, chain.recurring, count, period=10, frequency=1000)
        async with node_behind(chain, Behaviour(), folder) as run:
            await delivered(chain.recurring, count, time.monotonic() + 60)
            run.proxy.behaviour = behaviour
            run.proxy.clear()
            since = await asyncio.to_thread(chain.anvil.now)
            await asyncio.sleep(90)
            now = await asyncio.to_thread(chain.anvil.now)
            requests = len(run.proxy.requests)
        expected = _intervals(chain, range(1, count + 1), since, now)
        missed = expected - _answered(chain)
    return [
        Row("intervals", len(expected), least=70),
        Row("of them missed, percent", 100 * len(missed) / len(expected), most=2),
        Row("requests per second", requests / 90),
    ]


def _intervals(chain: World, subscriptions: range, since: int, until: int) -> Set[tuple[int, int]]:
    """The intervals that began and ended in this time (chain seconds), by subscription."""
    found = set()
    for identifier in subscriptions:
        subscription = chain.v1.subscription(identifier)
        start, period = subscription["activeAt"], subscription["period"]
        first = max(0, -(-(since - start) // period))
        last = (until - start) // period
        found |= {(identifier, number + 1) for number in range(first, last)}
    return found


def _answered(chain: World) -> Set[tuple[int, int]]:
    return {(each["subscriptionId"], each["interval"]) for each in deliveries(chain.recurring)}


Goal = Callable[[Path], Coroutine[Any, Any, list[Row]]]

GOALS: Mapping[str, Goal] = {
    goal.__name__: goal
    for goal in (rate, found_soon, fees, outage, standstill, edges, at_once, hanging, failing)
}
