"""The control socket in the storage folder: reports of the running node for commands, and its API.

Who calls the API here has the permissions of an operator. The socket is a file that only the
node's user may open: access to it is the permission to see the jobs of every client.
`curl --unix-socket …/control.sock http://node/status` works too, and `http://node/api/jobs`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from infernet_edge.api.json_io import Answer, query
from infernet_edge.errors import StorageError
from infernet_edge.logs import log_event
from infernet_edge.memory import MemoryBudget
from infernet_edge.schema import ErrorResponse
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

Parameters = dict[str, str]
Report = Callable[[Parameters], Awaitable[Any]]

SOCKET_NAME = "control.sock"
_MAX_PATH = 107  # bytes of a Unix socket's address, unix(7)


class ControlServer:
    """Answers GET requests for reports; `reports` maps paths to them. All else goes to `api`.

    `streams` maps paths to applications that answer with something else than JSON.
    """

    def __init__(
        self,
        folder: Path,
        reports: dict[str, Report],
        api: ASGIApp,
        memory: MemoryBudget,
        streams: Mapping[str, ASGIApp] | None = None,
    ) -> None:
        self._streams = streams or {}
        self._memory = memory
        self._api = api
        self._path = folder / SOCKET_NAME
        self._reports = reports
        self._state = ServerState()
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; where the path is too long for a socket, log that and start without one."""
        if len(bytes(self._path)) > _MAX_PATH:
            log_event(
                logger, "control.disabled", logging.WARNING, reason="storage.path is too long"
            )
            return
        loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            http="httptools",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        config.load()
        self._path.unlink(missing_ok=True)  # left by a killed node: the folder is locked
        self._listener = await loop.create_unix_server(
            lambda: HttpToolsProtocol(config, self._state, {}, loop), str(self._path)
        )
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Stop listening and remove the socket; may be called twice."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        for connection in list(self._state.connections):
            connection.shutdown()
        await cancel(*self._state.tasks)
        self._path.unlink(missing_ok=True)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (stream := self._streams.get(scope["path"])) is not None and scope["method"] == "GET":
            await stream(scope, receive, send)
            return
        report = self._reports.get(scope["path"])
        if report is None or scope["method"] != "GET":
            await self._api(scope, receive, send)
            return
        scope["memory"] = self._memory
        parameters = {name: values[-1] for name, values in query(scope, 16).items()}
        try:
            answer = Answer(await report(parameters))
        except StorageError as error:
            answer = Answer(ErrorResponse(str(error)), 503)
        await answer(scope, receive, send)
