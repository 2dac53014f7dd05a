"""Blocking calls off the event loop, each in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from infernet_edge.errors import EngineError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class EngineUnreachable(EngineError):
    """Podman does not answer; what it runs goes on running."""


class Threads:
    """Runs blocking calls in daemon threads.

    Not a ThreadPoolExecutor: the interpreter waits for that one's threads when it exits, so a call
    that hangs would hold up the end of the node; and calls are rare, so idle threads would only
    cost memory.
    """

    def __init__(self) -> None:
        self._outstanding: set[asyncio.Future[None]] = set()

    async def run(
        self,
        timeout: float,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """Await `function(*arguments)`, at most `timeout` seconds.

        Raises EngineUnreachable when it takes longer; the thread is then left to itself, and ends
        by the time-outs of the function's own.
        """
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[None] = loop.create_future()
        outcome: concurrent.futures.Future[Result] = concurrent.futures.Future()

        def work() -> None:
            try:
                outcome.set_result(function(*arguments, **options))
            except BaseException as error:  # noqa: BLE001  # handed to the caller, whatever it is
                outcome.set_exception(error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finished.set_result, None)

        self._outstanding.add(finished)
        finished.add_done_callback(self._outstanding.discard)
        threading.Thread(target=work, name=function.__name__, daemon=True).start()
        await asyncio.wait({finished}, timeout=timeout)
        if not outcome.done():
            raise EngineUnreachable(f"Podman did not answer within {timeout:g} seconds")
        return outcome.result()

    async def settle(self, timeout: float) -> None:
        """Wait until no call is under way any more, at most `timeout` seconds."""
        if self._outstanding:
            await asyncio.wait(set(self._outstanding), timeout=timeout)
