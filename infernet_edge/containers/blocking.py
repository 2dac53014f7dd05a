"""Run blocking calls off the event loop, each in a separate thread."""

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
    """Podman does not answer; running containers keep running."""


class Threads:
    """Runs blocking calls in daemon threads.

    Not a ThreadPoolExecutor: the interpreter waits for its threads at exit, so a call that hangs
    would block the shutdown of the node. Calls are rare, so idle threads would only cost memory.
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

        Raises EngineUnreachable when it takes longer; the thread then continues until the time-outs
        of the function end it.
        """
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[None] = loop.create_future()
        outcome: concurrent.futures.Future[Result] = concurrent.futures.Future()

        def work() -> None:
            try:
                outcome.set_result(function(*arguments, **options))
            except BaseException as error:  # noqa: BLE001  # raised again in the caller
                outcome.set_exception(error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits
                loop.call_soon_threadsafe(finished.set_result, None)

        self._outstanding.add(finished)
        finished.add_done_callback(self._outstanding.discard)
        threading.Thread(target=work, name=function.__name__, daemon=True).start()
        await asyncio.wait({finished}, timeout=timeout)
        if not outcome.done():
            raise EngineUnreachable(f"Podman did not answer within {timeout:g} seconds")
        return outcome.result()

    async def wait_idle(self, timeout: float) -> None:
        """Wait until no call is in progress, at most `timeout` seconds."""
        if self._outstanding:
            await asyncio.wait(set(self._outstanding), timeout=timeout)
