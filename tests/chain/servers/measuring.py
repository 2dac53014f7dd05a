"""A node that answers callbacks through a server, and what that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.chain.servers.profiles import Profile
from tests.support.events import Events, listen
from tests.support.evm import COIN, NOBODY, NODE, V1, Contract
from tests.support.onchain import on_chain
from tests.support.rpc_behaviours import Behaviour
from tests.support.rpc_proxy import RpcProxy

_FINAL_WITHIN = 20.0  # seconds
USUAL: Mapping[str, Any] = {"trail_head_blocks": 1, "snapshot_sync": {}}
"""The settings that a node has without others."""
_GAS = 600_000  # to make a subscription


class Measured(NamedTuple):
    """What a run took: of `asked` callbacks so many were `delivered` within `seconds`.

    `last` is the time of the last ones that were asked for together. `answers` counts the
    deliveries that the coordinator took, `transactions` what the node made of them. `requests`,
    `calls`, `refused` (a share) and `peak` (requests within a second) are the first server's;
    `second` is how many requests the second server got.
    """

    asked: int
    delivered: int
    answers: int
    transactions: int
    seconds: float
    last: float
    requests: int
    calls: int
    refused: float
    peak: int
    second: int


def ask_many(v1: V1, consumer: Contract, count: int) -> None:
    """Ask for so many callbacks, in the next block."""
    data = consumer.encode("requestCompute", "echo", b"\x01\x02", 1, COIN, 0, NOBODY, NOBODY)
    _send_many(v1, consumer, data, count)


def subscribe_many(
    v1: V1,
    consumer: Contract,
    count: int,
    *,
    containers: str = "echo",
    period: int,
    frequency: int = 1,
) -> None:
    """Make so many subscriptions, in the next block; all become due at the same time."""
    arguments = (containers, frequency, period, 1, False, COIN, 0, NOBODY, NOBODY)
    _send_many(v1, consumer, consumer.encode("createSubscription", *arguments), count)


def _send_many(v1: V1, consumer: Contract, data: bytes, count: int) -> None:
    """Call a consumer so often, with anvil's own account, which signs by itself."""
    anvil = v1.anvil
    [sender] = anvil.rpc("eth_accounts")
    price = hex(200 * anvil.block().base_fee + 10**9)
    nonce = anvil.nonce(sender, "pending")
    question = {"from": sender, "to": consumer.address, "data": "0x" + data.hex()}
    question |= {"gas": hex(_GAS), "gasPrice": price}
    some = [[question | {"nonce": hex(nonce + number)}] for number in range(count)]
    anvil.batch("eth_sendTransaction", some)


@asynccontextmanager
async def before(v1: V1, profile: Profile) -> AsyncIterator[list[RpcProxy]]:
    """The profile's server, and the second one if it has one."""
    behaviour = profile.behaviour
    if profile.freezes:
        behaviour = replace(behaviour, frozen_at=v1.anvil.block().number)
    async with RpcProxy(v1.anvil.url, behaviour) as first:
        if not profile.second:
            yield [first]
            return
        async with RpcProxy(v1.anvil.url, Behaviour()) as second:
            yield [first, second]


async def measure(
    v1: V1,
    profile: Profile,
    folder: Path,
    *,
    callbacks: Sequence[int],
    within: float,
    settings: Mapping[str, Any] | None = None,
) -> Measured:
    """Let a node answer callbacks: each number is how many are asked for at once.

    The first ones are there when the node starts, the next ones come when those are answered. It
    ends after `within` seconds. Blocks must come by themselves.
    """
    consumer = v1.deploy("CallbackConsumer")
    made = v1.anvil.nonce(NODE.address)
    async with before(v1, profile) as servers:
        await asyncio.to_thread(ask_many, v1, consumer, callbacks[0])
        rpc_url = [server.url for server in servers]
        laid = {**USUAL, **(settings or {}), "rpc_url": rpc_url}
        with listen("infernet_edge.chain") as events:
            async with on_chain(folder, v1=v1, chain=laid):
                began = time.monotonic()
                asked_at, wanted = began, callbacks[0]
                done = await delivered(consumer, wanted, began + within)
                for count in callbacks[1:]:
                    asked_at = time.monotonic()
                    await asyncio.to_thread(ask_many, v1, consumer, count)
                    wanted += count
                    done = await delivered(consumer, wanted, began + within)
                ended = time.monotonic()
                await _final(events, done)
        first = servers[0]
        return Measured(
            asked=sum(callbacks),
            delivered=done,
            answers=len(v1.fulfilled()),
            transactions=v1.anvil.nonce(NODE.address) - made,
            seconds=ended - began,
            last=ended - asked_at,
            requests=len(first.requests),
            calls=first.counts.total(),
            refused=first.refused_share,
            peak=first.peak,
            second=len(servers[1].requests) if len(servers) > 1 else 0,
        )


async def delivered(consumer: Contract, count: int, until: float) -> int:
    """Wait until a consumer has received so much, or the time is over; how much it has."""
    while True:
        found = int(await asyncio.to_thread(consumer.call, "deliveryCount"))
        if found >= count or time.monotonic() > until:
            return found
        await asyncio.sleep(0.05)


async def _final(events: Events, count: int) -> None:
    """Wait until the node counts so many deliveries as final, and a moment more.

    A second answer would come in that time, and must not.
    """
    until = time.monotonic() + _FINAL_WITHIN
    while len(events.of("delivery.delivered")) < count and time.monotonic() < until:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
