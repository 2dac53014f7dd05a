"""Requests to servers, over connections that are kept for a short time."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from infernet_edge.http_client.authorities import client_context
from infernet_edge.http_client.connecting import Connector
from infernet_edge.http_client.connection import HttpConnection, Payload
from infernet_edge.http_client.errors import ConnectionLost
from infernet_edge.http_client.heads import Headers, head_of, with_length
from infernet_edge.http_client.pool import Pool
from infernet_edge.http_client.response import HttpResponse
from infernet_edge.http_client.urls import Origin, Target
from infernet_edge.logs import log_exception
from infernet_edge.tasks import TaskSet

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to connect to a server, perhaps on another machine."""

_WITHOUT_BODY: Final = ("GET", "DELETE")  # methods whose requests need not say that they have none


class HttpClient:
    """Sends requests to any number of servers, as many at once as are asked for.

    It follows no redirects, keeps no cookies and never sends a request twice: a server that fails
    on one would get it again. Only a GET is repeated, which changes nothing: on another connection
    when the server closed an idle one at that moment.
    """

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext] = client_context,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """`context` returns the TLS context, for the first server with TLS."""
        self._connector = Connector(self._make_connection, context)
        self._connect_timeout = connect_timeout
        self._pool = Pool()
        self._sending = TaskSet(
            lambda error: log_exception(logger, "container.sending_crashed", error)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def request(
        self,
        method: str,
        target: Target,
        headers: Headers = (),
        body: Payload = b"",
        size: int | None = None,
    ) -> HttpResponse:
        """Send a request; returns the answer once its head has arrived.

        `size` is the length in bytes of a body that is sent in parts. The caller limits the time,
        except for connecting. Raises HttpError, and what the body in parts raises.
        """
        head = head_of(method, target, headers)
        if isinstance(body, bytes):
            size = len(body)
        assert size is not None, "the size of a body in parts is given"
        head = with_length(head, size if size or method not in _WITHOUT_BODY else None)
        connection = self._pool.take(target.origin)
        if connection is not None:
            try:
                return await connection.ask(head, body)
            except ConnectionLost:
                if method != "GET":
                    raise
        connection = await self._connector.connect(target.origin, self._connect_timeout)
        return await connection.ask(head, body)

    async def close(self) -> None:
        """Close the idle connections, and stop sending bodies in parts.

        Other connections in use are closed after their exchange."""
        self._pool.close()
        await self._connector.close()
        await self._sending.stop()

    def _make_connection(self, origin: Origin) -> HttpConnection:
        loop, keep = asyncio.get_running_loop(), self._pool.keep
        return HttpConnection(loop, self._sending, lambda connection: keep(origin, connection))
