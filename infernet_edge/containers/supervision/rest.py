"""A container that is not to run for now: its supervisor waits, and starts none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from infernet_edge.backoff import Backoff
from infernet_edge.containers.blocking import EngineUnreachable
from infernet_edge.containers.podman import CALL_TIMEOUT
from infernet_edge.containers.supervision.context import SupervisorContext
from infernet_edge.errors import EngineError
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)


class Rest:
    """Whether a container is not to run, and whether its supervisor does nothing now.

    `on_request` is called when an operator wants it to run.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self.on_request: Callable[[], None] | None = None
        self._is_reached = asyncio.Event()
        self._has_ended = asyncio.Event()

    def begin(self) -> None:
        """Start no container from now on."""
        self.is_requested = True
        self._has_ended.clear()

    def end(self) -> None:
        """Start it."""
        self.is_requested = False
        self._has_ended.set()

    async def wait_reached(self) -> None:
        """Wait until the supervisor does nothing any more."""
        await self._is_reached.wait()

    async def wait_end(self) -> None:
        """Do nothing until `end`."""
        self._is_reached.set()
        try:
            await self._has_ended.wait()
        finally:
            self._is_reached.clear()


async def stop_running(context: SupervisorContext, container: str) -> None:
    """Stop all that Podman runs for a configured container; retries until that is done.

    What is stopped is not removed, so that its log can be read; the next start does that.
    """
    connection, timing = context.connection, context.timing
    timeout, pauses = CALL_TIMEOUT + timing.stop, Backoff(timing.retry, timing.retry_limit)
    while True:
        engine = await connection.ready()
        try:
            for found in await connection.run(CALL_TIMEOUT, engine.containers, context.node):
                if found.container == container and (found.running or found.paused):
                    await connection.run(timeout, engine.stop, found.id, found.paused)
        except EngineUnreachable:
            connection.request_check()
            await asyncio.sleep(timing.reconnect)
        except EngineError as error:
            pause = pauses.next()
            log_event(
                logger,
                "container.stop_failed",
                logging.WARNING,
                container=container,
                reason=error,
                next_attempt_seconds=pause,
            )
            await asyncio.sleep(pause)
        else:
            return
