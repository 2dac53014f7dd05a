"""Contracts that ask: subscriptions on the chain in one call, and waiting for their answers.

consumer = v1.deploy("SubscriptionConsumer")
identifier = subscribe(v1, consumer, frequency=3, period=60)
await received(consumer, 1)
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.evm import ALICE, COIN, NOBODY, V1, Contract, deliveries


def subscribe(
    v1: V1,
    consumer: Contract,
    containers: str = "echo",
    *,
    frequency: int = 1,
    period: int = 60,
    redundancy: int = 1,
    lazy: bool = False,
    token: str = COIN,
    amount: int = 0,
    wallet: str = NOBODY,
    verifier: str = NOBODY,
) -> int:
    """Let a SubscriptionConsumer ask; the first interval begins after one period."""
    consumer.send(
        "createSubscription",
        containers,
        frequency,
        period,
        redundancy,
        lazy,
        token,
        amount,
        wallet,
        verifier,
    )
    return v1.newest_id()


def call_back(
    v1: V1,
    consumer: Contract,
    containers: str = "echo",
    *,
    input: bytes = b"\x01\x02",
    redundancy: int = 1,
    token: str = COIN,
    amount: int = 0,
    wallet: str = NOBODY,
    verifier: str = NOBODY,
) -> int:
    """Let a CallbackConsumer ask for one answer at once."""
    consumer.send("requestCompute", containers, input, redundancy, token, amount, wallet, verifier)
    return v1.newest_id()


async def received(consumer: Contract, count: int, timeout: float = 60.0) -> list[dict[str, Any]]:
    """Wait until a consumer has received so much; returns it, oldest first."""
    async with asyncio.timeout(timeout):
        while len(found := deliveries(consumer)) < count:
            await asyncio.sleep(0.03)
    return found


def subscribe_many(v1: V1, consumer: Contract, count: int, *, period: int = 100_000) -> list[int]:
    """Let a SubscriptionConsumer ask so many times, in few blocks; returns the ids."""
    anvil, first = v1.anvil, v1.newest_id() + 1
    data = consumer.encode(
        "createSubscription", "echo", 9, period, 1, False, COIN, 0, NOBODY, NOBODY
    )
    nonce = anvil.nonce(ALICE.address)
    anvil.set_automine(False)
    for number in range(count):
        anvil.send_raw(ALICE, consumer.address, data, gas=400_000, nonce=nonce + number)
        if number % 50 == 49:
            anvil.mine()
    anvil.mine()
    anvil.set_automine(True)
    assert v1.newest_id() == first + count - 1
    return list(range(first, first + count))
