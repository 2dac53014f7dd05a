"""Plain HTTP at the port of HTTPS: it gets an answer that says so, in plain HTTP."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

_REFUSAL_TIMEOUT = 2.0  # seconds in which the client has to read the answer and close
_AT_ONCE = 16 * 2**10  # bytes of the request that are read, and dropped, at a time
_BODY: Final = (
    b'{"error":"This port serves HTTPS only: use https:// instead of http:// in the URL",'
    b'"params":{}}'
)
_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
    b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_BODY), _BODY)
)


async def is_plain_http(connection: socket.socket) -> bool:
    """Whether the first byte on a socket, which is awaited and stays there, is not one of TLS.

    TLS begins with the type of a record (RFC 8446, 5.1), requests with a letter, or with the line
    ends that RFC 9112, 2.2 lets servers ignore.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    first = connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return first.isalpha() or first in (b"\r", b"\n")


async def refuse(connection: socket.socket) -> None:
    """Send the answer, and read the request to its end: a reset could destroy the answer."""
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    try:
        async with asyncio.timeout(_REFUSAL_TIMEOUT):
            await loop.sock_sendall(connection, _ANSWER)
            connection.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(connection, _AT_ONCE):
                pass
    except OSError:  # TimeoutError too; the client has the answer, or does not want it
        return
