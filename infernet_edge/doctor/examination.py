"""Runs all checks at the same time, each for some seconds at most."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final

from infernet_edge.doctor import (
    clock,
    configuration,
    containers,
    contracts,
    database,
    gpu,
    images,
    lingering,
    memory,
    node,
    podman,
    ports,
    rpc,
    secrets,
    service,
    sockets,
    space,
    storage,
)
from infernet_edge.doctor.case import CHECK_TIMEOUT, Case
from infernet_edge.doctor.finding import Finding, problem

logger = logging.getLogger(__name__)

# In the order in which to read what they find: what comes first may be the cause of what follows.
CHECKS: Final = (
    configuration,
    clock,
    memory,
    storage,
    space,
    database,
    secrets,
    podman,
    sockets,
    lingering,
    images,
    gpu,
    ports,
    rpc,
    contracts,
    service,
    node,
    containers,
)


async def examine(case: Case) -> dict[str, Finding]:
    """What each check finds, by its name, in the order in which to read them."""
    try:
        findings = await asyncio.gather(*(_bounded(check.check(case)) for check in CHECKS))
    finally:
        await case.close()
    return {check.NAME: found for check, found in zip(CHECKS, findings, strict=True)}


async def _bounded(check: Awaitable[Finding]) -> Finding:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await check
    except TimeoutError:
        return problem(f"no answer within {CHECK_TIMEOUT:g} s")
    except Exception as error:  # one check that fails must not hide the others
        logger.debug("check.failed", exc_info=True)
        return problem(f"this check failed ({type(error).__name__}: {error}); please report it")
