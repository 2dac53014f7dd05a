"""Runs all checks concurrently, each with a time limit."""

from __future__ import annotations

import asyncio
import importlib
import re
import traceback
from pathlib import Path
from typing import Any, Final

from infernet_edge.doctor import (
    backup,
    clock,
    configuration,
    containers,
    contracts,
    database,
    devices,
    discovery,
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
    tokens,
    unpacked,
    volumes,
    wallet,
)
from infernet_edge.doctor.context import CHECK_TIMEOUT, Case
from infernet_edge.doctor.finding import Finding, not_checked, problem
from infernet_edge.doctor.user import CannotCheck

# In the order of the report: the first findings may be the cause of later ones.
CHECKS: Final = (
    configuration,
    clock,
    memory,
    storage,
    space,
    unpacked,
    database,
    backup,
    secrets,
    tokens,
    podman,
    sockets,
    lingering,
    leftovers,
    images,
    volumes,
    gpu,
    devices,
    ports,
    discovery,
    rpc,
    contracts,
    wallet,
    service,
    node,
    containers,
)


async def examine(case: Case) -> dict[str, list[Finding]]:
    """Run all checks; returns the findings of each by its name, in the order of CHECKS."""
    if case.config.chain.enabled:
        # Checks import parts of it, some in threads: what two threads import at once may be
        # incomplete for one of them, where modules import each other.
        importlib.import_module("infernet_edge.chain.chain")
    try:
        findings = await asyncio.gather(*(_bounded(check, case) for check in CHECKS))
    finally:
        await case.close()
    names = [check.NAME for check in CHECKS]
    return {
        name: list(map(_without_credentials, found))
        for name, found in zip(names, findings, strict=True)
    }


async def _bounded(check: Any, case: Case) -> list[Finding]:
    lacking = [need for need in getattr(check, "NEEDS", ("containers",)) if case.lacks(need)]
    if lacking and any(not each.path for each in case.problems):
        return [not_checked("the configuration cannot be read")]
    if lacking:
        return [not_checked(f"the configuration has an error at {lacking[0]}")]
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            found: Finding | list[Finding] = await check.check(case)
    except TimeoutError:
        return [problem(f"not checked: no answer within {CHECK_TIMEOUT:g} s")]
    except CannotCheck as error:
        return [not_checked(str(error), "run the doctor with sudo")]
    except Exception as error:  # noqa: BLE001 - one failed check must not hide the others
        # Without its text, which may contain a secret.
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} in line {place.lineno} of {Path(place.filename).name}"
        return [problem(f"not checked: this check failed; please report it: {kind}")]
    return [found] if isinstance(found, Finding) else found


def _without_credentials(found: Finding) -> Finding:
    """The finding without user names and passwords of URLs."""
    shown = map(_hide, (found.text, found.remedy, found.command))
    return Finding(found.level, *shown)


def _hide(text: str) -> str:
    return re.sub(r"//[^/\s@]+@", "//***@", text)
