"""Runs all checks at the same time, each for some seconds at most."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

from infernet_edge.doctor import (
    clock,
    configuration,
    containers,
    contracts,
    database,
    devices,
    gpu,
    images,
    leftovers,
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
    unpacked,
)
from infernet_edge.doctor.case import CHECK_TIMEOUT, Case
from infernet_edge.doctor.finding import Finding, problem

# In the order in which to read what they find: what comes first may be the cause of what follows.
CHECKS: Final = (
    configuration,
    clock,
    memory,
    storage,
    space,
    unpacked,
    database,
    secrets,
    podman,
    sockets,
    lingering,
    leftovers,
    images,
    gpu,
    devices,
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
    names = [check.NAME for check in CHECKS]
    return dict(zip(names, map(_without_credentials, findings), strict=True))


async def _bounded(check: Awaitable[Finding]) -> Finding:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await check
    except TimeoutError:
        return problem(f"no answer within {CHECK_TIMEOUT:g} s")
    except Exception as error:  # noqa: BLE001 - one that fails must not hide the others
        # Without its text, which may hold anything.
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} in line {place.lineno} of {Path(place.filename).name}"
        return problem(f"this check failed; please report it: {kind}")


def _without_credentials(found: Finding) -> Finding:
    """Without the user names and passwords of URLs, whoever put them into a text."""
    return Finding(found.level, _hide(found.text), _hide(found.remedy))


def _hide(text: str) -> str:
    return re.sub(r"//[^/\s@]+@", "//***@", text)
