"""Polls the ports of containers whose processes are not visible, see `Timing`."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from infernet_edge.containers.connection import Connection
from infernet_edge.containers.service import Service
from infernet_edge.containers.timing import Timing

if TYPE_CHECKING:  # which imports this package
    from infernet_edge.containers.supervisor import Supervisor

_BUSY_POLLS = 4.5  # polls at the interval of a busy node after the last job


async def poll_ports(
    services: Mapping[str, Service],
    supervisors: Mapping[str, Supervisor],
    connection: Connection,
    needed: asyncio.Event,
    timing: Timing,
) -> None:
    """Find containers that have stopped; `needed` is set with the first one to poll.

    Never returns.
    """
    checked = busy_until = 0.0
    calls = 0
    await needed.wait()
    while True:
        await asyncio.sleep(timing.port_poll_busy)
        now = time.monotonic()
        before, calls = calls, sum(service.calls for service in services.values())
        if calls != before or any(service.working_on for service in services.values()):
            # Some polls more, since the crash of a container ends its job as well.
            busy_until = now + _BUSY_POLLS * timing.port_poll_busy
        if now >= busy_until and now - checked < timing.port_poll_idle:
            continue
        checked = now
        present = list(supervisors.values())
        closed = await asyncio.gather(*(each.needs_check() for each in present))
        if any(closed) and not connection.problem:
            connection.request_check()
            continue
        for supervisor in itertools.compress(present, closed):
            supervisor.request_probe(connection.problem)
