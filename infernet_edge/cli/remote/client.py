"""Requests to a node from the command line: blocking, with a limit for each wait."""

from __future__ import annotations

import contextlib
import http.client
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from infernet_edge.cli.remote.address import NodeAddress
from infernet_edge.cli.remote.failures import NodeError, NodeRefused, lost, not_connected, refusal
from infernet_edge.cli.remote.sockets import TimedSocket, as_socket, connected
from infernet_edge.config.proxies import UnusableProxy

_HEAD_SECONDS: Final = 30.0  # until the head of an answer is there, besides what was asked to wait
_BODY_SECONDS: Final = 900.0  # for a request or an answer as a whole
_IDLE_SECONDS: Final = 30.0  # without a byte
_MAX_ANSWER: Final = 256 * 2**20  # bytes
_MAX_ERROR: Final = 64 * 2**10  # bytes of an answer that is an error
_READ: Final = 64 * 2**10  # bytes
_MAX_RETRY_SECONDS: Final = 60  # that a rate limit may ask for
_MAX_RETRIES: Final = 3  # because of a rate limit

Query = Sequence[tuple[str, str]] | Mapping[str, str]
Body = Sequence[bytes | bytearray | memoryview]
"""The parts of a body, which are sent one after the other and not copied."""


class Incoming:
    """An answer whose body is read as it arrives."""

    def __init__(
        self, address: NodeAddress, response: http.client.HTTPResponse, timed: TimedSocket
    ) -> None:
        self._address = address
        self._response = response
        self._timed = timed
        self._left = response.length  # bytes; None when the length is not known

    def header(self, name: str) -> str:
        """A header; "" when it is not there."""
        return self._response.getheader(name) or ""

    def limit(self, idle: float, total: float | None) -> None:
        """From now on, wait at most `idle` seconds for bytes, and `total` for all; None: no end."""
        self._timed.idle = idle
        self._timed.deadline = None if total is None else time.monotonic() + total

    def read(self) -> bytes:
        """Bytes as they arrive, b"" at the end of a complete body. Raises NodeUnreachable."""
        try:
            part = self._response.read1(_READ)
            if self._left is not None:
                self._left -= len(part)
                if not part and self._left > 0:
                    raise http.client.IncompleteRead(b"", self._left)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise lost(self._address, error) from None
        return part

    def read_all(self, limit: int) -> bytearray:
        """The whole body, at most `limit` bytes, which is held once. Raises NodeError."""
        body = bytearray()
        while part := self.read():
            body += part
            if len(body) > limit:
                raise NodeError(
                    f"The answer of {self._address.name} is longer than {limit >> 20} MiB; read it"
                    " with another client: infernet-edge help api"
                )
        return body


class NodeClient:
    """A client of the node at an address. Each request has a connection of its own."""

    def __init__(self, address: NodeAddress) -> None:
        self.address = address

    @property
    def is_local(self) -> bool:
        """Whether it uses the control socket, which serves the reports too."""
        return self.address.socket is not None

    def get(self, path: str, query: Query = (), *, wait: float = 0) -> Any:
        """The decoded JSON of an answer. Raises NodeError."""
        return decode(self.address, self.fetch("GET", path, query, wait=wait))

    def fetch(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Body = (),
        headers: Mapping[str, str] | None = None,
        *,
        wait: float = 0,
    ) -> bytearray:
        """The body of an answer. Raises NodeError.

        `wait` is how long the node was asked to wait, in seconds. Where a rate limit asks to wait,
        that is done and said on stderr, within bounds.
        """
        for attempt in range(_MAX_RETRIES + 1):
            try:
                with self.open(method, path, query, body, headers, wait=wait) as incoming:
                    incoming.limit(_IDLE_SECONDS, _BODY_SECONDS)
                    return incoming.read_all(_MAX_ANSWER)
            except NodeRefused as error:
                limited = error.status == http.client.TOO_MANY_REQUESTS
                if not limited or attempt == _MAX_RETRIES:
                    raise
                if not 0 < error.retry_after <= _MAX_RETRY_SECONDS:
                    raise
                print(
                    f"The node limits how often it is asked: waiting {error.retry_after} s",
                    file=sys.stderr,
                )
                time.sleep(error.retry_after)
        raise AssertionError("the last attempt returns or raises")

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Body = (),
        headers: Mapping[str, str] | None = None,
        *,
        wait: float = 0,
    ) -> Iterator[Incoming]:
        """Send a request; gives its answer, when that is no error, to be read. Raises NodeError.

        A redirect is an error: the token is sent to the named node only.
        """
        address = self.address
        opening = connected(address)
        try:
            connection, proxy = opening.__enter__()
        except (OSError, UnicodeError, UnusableProxy) as error:
            raise not_connected(address, error) from None
        with contextlib.ExitStack() as stack:
            stack.push(opening)
            size = sum(map(len, body))
            # The time that the body takes is in the limit of the whole.
            timed = TimedSocket(
                connection,
                max(_IDLE_SECONDS, _HEAD_SECONDS + wait),
                time.monotonic() + (_BODY_SECONDS if size > _READ else _HEAD_SECONDS + wait),
            )
            target = f"{address.base}{path}"
            if query:
                target += f"?{urlencode(query)}"
            sent = {"Host": address.authority_form, "Accept": "*/*", "Connection": "close"}
            if proxy is not None:
                target = f"http://{address.authority_form}{target}"
                if proxy.authorization:
                    sent["Proxy-Authorization"] = proxy.authorization
            if address.token:
                sent["Authorization"] = f"Bearer {address.token.reveal()}"
            if body:
                sent |= {"Content-Type": "application/json", "Content-Length": str(size)}
            try:
                response = _exchange(timed, method, target, body, {**sent, **(headers or {})})
                stack.callback(response.close)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise lost(address, error) from None
            incoming = Incoming(address, response, timed)
            if not 200 <= response.status < 300:
                raise _refused(address, response.status, incoming)
            yield incoming


def _exchange(
    timed: TimedSocket, method: str, target: str, body: Body, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    http_connection = http.client.HTTPConnection("node")
    http_connection.sock = as_socket(timed)
    # The node may refuse a body in its middle: its answer says why.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        http_connection.request(method, target, iter(body) if body else None, headers)
    return http_connection.getresponse()


def _refused(address: NodeAddress, status: int, incoming: Incoming) -> NodeError:
    if 300 <= status < 400:
        place = incoming.header("location")[:200]
        return NodeError(
            f"{address.name} answered {status}: it is at another place ({place}). Name the node"
            " itself with --url"
        )
    incoming.limit(_IDLE_SECONDS, _IDLE_SECONDS)
    try:
        body: bytes | bytearray = incoming.read_all(_MAX_ERROR)
    except NodeError:
        body = b""
    return refusal(address, status, incoming.header("retry-after"), body)


def decode(address: NodeAddress, body: bytes | bytearray, kind: Any = Any) -> Any:
    """The JSON of an answer as `kind`. Raises NodeError when it is none."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NodeError(
            f"{address.name} did not answer as an Infernet node does ({error}). Check the URL"
        ) from None
