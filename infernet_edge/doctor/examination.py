"""Runs all checks at the same time, each for some seconds at most."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

from infernet_edge.config.tree import Config
from infernet_edge.doctor import contracts, keys, node, podman, rpc, storage
from infernet_edge.doctor.finding import Finding, problem

_TIMEOUT = 30.0  # seconds; starting a Podman service of one's own takes its time


async def examine(config: Config, source: Path | None) -> dict[str, Finding]:
    """What each check finds, by its name, in the order in which to read them."""
    checks: dict[str, Awaitable[Finding]] = {
        storage.NAME: storage.check(config),
        keys.NAME: keys.check(config, source),
        podman.NAME: podman.check(config),
        rpc.NAME: rpc.check(config),
        contracts.NAME: contracts.check(config),
        node.NAME: node.check(config),
    }
    findings = await asyncio.gather(*(_bounded(check) for check in checks.values()))
    return dict(zip(checks, findings, strict=True))


async def _bounded(check: Awaitable[Finding]) -> Finding:
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await check
    except TimeoutError:
        return problem(f"no answer within {_TIMEOUT:g} s")
