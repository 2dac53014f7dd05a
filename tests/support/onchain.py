"""A node with the chain on, in front of a real EVM.

async with on_chain(tmp_path, v1=v1) as (node, echo):
    reply = await node.post("/api/jobs", request_v1(v1, consumer).body)
    delivery = await settled(node)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from infernet_edge.chain.chain import ChainSubsystem
from infernet_edge.chain.rpc.client import Call
from infernet_edge.chain.rpc.head_tracker import BlockHeader
from tests.support.evm import NODE, V0, V1
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

ENDED = ("delivered", "answered", "failed", "skipped")


@asynccontextmanager
async def on_chain(
    folder: Path,
    *,
    v1: V1 | None = None,
    v0: V0 | None = None,
    echo: Echo | None = None,
    rpc_url: str = "",
    chain: Mapping[str, Any] | None = None,
    container: Mapping[str, Any] | None = None,
    server: Mapping[str, Any] | None = None,
    others: Sequence[Mapping[str, Any]] = (),
    more: Mapping[str, Any] | None = None,
) -> AsyncIterator[tuple[RunningNode, Echo]]:
    """Run a node with one container, "echo", and `others`.

    `chain`, `container` and `server` are laid over its settings, then `more` over all of them.
    """
    echo = echo or Echo()
    deployment = v1 or v0
    assert deployment is not None
    wallet = {"private_key": NODE.key.hex()}
    settings: dict[str, Any] = {
        "enabled": True,
        "rpc_url": rpc_url or deployment.anvil.url,
        "trail_head_blocks": 0,
        "snapshot_sync": {"sync_period": 0.05},
    }
    if v1 is not None:
        settings["registry_address"] = v1.registry.address
    if v0 is not None:
        settings["coordinator_address"] = v0.coordinator.address
    settings |= dict(chain or {})
    settings["wallet"] = wallet | settings.get("wallet", {})
    async with serving(echo) as url:
        containers = [{"id": "echo", "url": url} | dict(container or {}), *others]
        document = {"chain": settings, "containers": containers, "server": dict(server or {})}
        document |= more or {}
        async with running(folder, document) as node:
            yield node, echo


def chain_of(node: RunningNode) -> ChainSubsystem:
    """The on-chain half of a node."""
    chain = node.node.chain
    assert chain is not None
    return chain


async def delivery(node: RunningNode, number: int = 1) -> dict[str, Any]:
    """What the operator is shown of a delivery."""
    reports = await _deliveries(node)
    return next(report for report in reports if report["number"] == number)


async def _deliveries(node: RunningNode) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await chain_of(node).report(1000))["deliveries"]
    return found


async def subscriptions(node: RunningNode, *, ignored: bool = False) -> list[dict[str, Any]]:
    """What the operator is shown of subscriptions that contracts made, newest first."""
    found: list[dict[str, Any]] = (await chain_of(node).report(1000, skipped=ignored))[
        "subscriptions"
    ]
    return found


async def state_of(node: RunningNode, identifier: int) -> str:
    """How the node sees a subscription; "" when it does not list it."""
    found = [*await subscriptions(node), *await subscriptions(node, ignored=True)]
    return next((str(each["state"]) for each in found if each["id"] == identifier), "")


async def until_state(node: RunningNode, identifier: int, state: str, timeout: float = 60) -> None:
    """Wait until the node sees a subscription so."""
    async with asyncio.timeout(timeout):
        while await state_of(node, identifier) != state:
            await asyncio.sleep(0.02)


async def settled(node: RunningNode, number: int = 1, timeout: float = 60.0) -> dict[str, Any]:
    """Wait for a delivery, and for its end."""
    async with asyncio.timeout(timeout):
        while number not in {each["number"] for each in (await _deliveries(node))}:
            await asyncio.sleep(0.02)
        while (found := await delivery(node, number))["state"] not in ENDED:
            await asyncio.sleep(0.02)
    return found


async def until(condition: Callable[[], Any], timeout: float = 60.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)


class _Polls:
    """Counts the polls of the head."""

    def __init__(self) -> None:
        self.count = 0

    def questions(self) -> list[Call]:
        return []

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        self.count += 1


async def polls(node: RunningNode, times: int = 4) -> None:
    """Wait until the node has polled the head so often, and has done what follows from it.

    That is time enough for what must not happen.
    """
    watcher = _Polls()
    chain_of(node).head.watch(watcher)
    async with asyncio.timeout(60):
        while watcher.count < times:
            await asyncio.sleep(0.01)
    chain_of(node).head.unwatch(watcher)


async def waiting(node: RunningNode, reason: str, number: int = 1, timeout: float = 60.0) -> None:
    """Wait until a delivery says what it waits for; `reason` is part of that."""
    async with asyncio.timeout(timeout):
        while True:
            found = await _deliveries(node)
            if any(each["number"] == number and reason in each["reason"] for each in found):
                return
            await asyncio.sleep(0.02)
