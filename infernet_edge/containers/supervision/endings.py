"""Why a container stopped, by Podman, with the last lines of its log."""

from __future__ import annotations

import asyncio
import time

from infernet_edge.backoff import Backoff
from infernet_edge.containers.blocking import EngineUnreachable
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.podman import CALL_TIMEOUT, Engine
from infernet_edge.errors import EngineError

# Seconds until Podman reports that a container's process has ended: conmon records it.
_EXIT_CODE_TIMEOUT = 10.0

_EXIT_CODES = {
    125: " (Podman itself failed)",
    126: " (its command cannot be executed)",
    127: " (its command was not found)",
    137: " (killed; out of memory?)",
    139: " (segmentation fault)",
    143: " (terminated)",
}
_UNKNOWN_REASON = "its process ended, and Podman does not report the reason"


async def stop_reason(connection: Connection, container_id: str, pid: int) -> str:
    """Why the container with this first process stopped; takes seconds at most."""
    engine = connection.engine
    if engine is None:
        return _UNKNOWN_REASON
    try:
        reason = await _exit_reason(connection, engine, container_id, pid)
    except EngineUnreachable:
        connection.request_check()
        return _UNKNOWN_REASON
    except EngineError:
        return _UNKNOWN_REASON
    return await with_last_output(connection, container_id, reason)


async def with_last_output(connection: Connection, container_id: str, reason: str) -> str:
    """The reason, followed by the last lines of the container's log if there are any."""
    engine = connection.engine
    if engine is None:
        return reason
    try:
        lines = await connection.run(CALL_TIMEOUT, engine.logs, container_id)
    except EngineUnreachable:
        connection.request_check()
        return reason
    except EngineError:  # a container that was removed has no log
        return reason
    return f"{reason}; its last output: {lines}" if lines else reason


async def _exit_reason(connection: Connection, engine: Engine, container_id: str, pid: int) -> str:
    backoff = Backoff(0.05, 1.0)
    until = time.monotonic() + _EXIT_CODE_TIMEOUT
    while True:
        state = await connection.run(CALL_TIMEOUT, engine.state, container_id)
        if state is None:
            return "it was removed"
        if state.paused:
            return "another program paused it (podman pause)"
        if not state.running:
            code = state.exit_code
            return f"it stopped with exit code {code}{_EXIT_CODES.get(code, '')}"
        if state.process.pid != pid:
            return "it was restarted by another program"
        if time.monotonic() > until:
            return _UNKNOWN_REASON
        await asyncio.sleep(backoff.next())
