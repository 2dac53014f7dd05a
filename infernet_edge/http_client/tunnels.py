"""Tunnels through proxies, by CONNECT (RFC 9110, 9.3.6)."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from infernet_edge.http_client.errors import ConnectionLost, NotHttp, ProxyRefused
from infernet_edge.http_client.urls import Origin

MAX_TUNNEL_HEAD: Final = 16 * 2**10
"""Bytes of a proxy's answer to CONNECT."""

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")
_END: Final = b"\r\n\r\n"


def connect_head(origin: Origin) -> bytes:
    """The request for a tunnel to a server through its proxy."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    if origin.proxy is not None and origin.proxy.authorization:
        lines.append(f"Proxy-Authorization: {origin.proxy.authorization}")
    return "\r\n".join(lines).encode() + _END


class TunnelAnswer(asyncio.Protocol):
    """Waits for the answer to CONNECT, up to where the tunnel begins."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._answer: asyncio.Future[bytes] = loop.create_future()
        self._data = b""

    async def wait(self) -> None:
        """Wait until the tunnel is open. Raises ProxyRefused, NotHttp or ConnectionLost."""
        head = await self._answer
        found = _STATUS.match(head)
        if found is None:
            raise NotHttp("the proxy's answer is not HTTP")
        status = int(found[1])
        if not 200 <= status < 300:
            raise ProxyRefused(status)
        if not head.endswith(_END):  # the server cannot have begun to speak before TLS
            raise NotHttp("the proxy sent more than its answer")

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._answer.done():
            return
        if _END in self._data:
            self._answer.set_result(self._data)
        elif len(self._data) > MAX_TUNNEL_HEAD:
            self._answer.set_exception(NotHttp("the head of the proxy's answer is too long"))

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answer.done():
            os_error = error if isinstance(error, OSError) else None
            self._answer.set_exception(ConnectionLost(os_error))
            self._answer.exception()  # so that it is not logged when nothing waits for it any more
