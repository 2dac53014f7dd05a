"""Subscriptions that contracts make: found, chosen, and served."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eth_abi.abi import decode

from tests.support.evm import COIN, NOBODY, V1, deliveries
from tests.support.onchain import on_chain, settled


async def test_a_callback_is_answered(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        consumer.send("requestCompute", "echo", b"\x01\x02", 1, COIN, 0, NOBODY, NOBODY)
        async with asyncio.timeout(10):
            while not deliveries(consumer):
                await asyncio.sleep(0.05)
        found = await settled(node)
        assert (found["state"], found["subscription"], found["interval"]) == ("delivered", 1, 1)
        (received,) = deliveries(consumer)
        text = decode(["string"], received["output"])[0]
        assert text == str({"output": "0102", "by": ""})
        assert echo.calls == [
            {"source": 0, "destination": 0, "data": "0102", "requires_proof": False}
        ]
