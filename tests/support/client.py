"""A plain HTTP client of the node, and the raw bytes of one where HTTP libraries are too polite.

api = Api(node.port)
identifier = api.submit("echo", {"n": 1})
[result] = api.finished([identifier])
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

_IDS_AT_ONCE = 500


class Reply(NamedTuple):
    """What came back; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The text of an ErrorResponse; raises AssertionError when it is none."""
        assert self.headers.get("content-type") == "application/json", self
        document = self.json
        assert set(document) == {"error", "params"}, document
        assert isinstance(document["error"], str), document
        assert document["error"], document
        assert isinstance(document["params"], dict), document
        return document["error"]

    @property
    def params(self) -> dict[str, Any]:
        params: dict[str, Any] = self.json["params"]
        return params


class Streamed(NamedTuple):
    """A stream that was answered: without its end when `complete` is false."""

    id: str
    content: bytes
    complete: bool


class Api:
    """The node on a port of 127.0.0.1; each request on a connection of its own."""

    def __init__(
        self,
        port: int,
        *,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.port = port
        self._headers = dict(headers or {})
        self._tls = tls
        self._timeout = timeout

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request; a body that is not bytes is sent as JSON."""
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = self._connection()
        try:
            all_headers = {"content-type": "application/json", **self._headers, **(headers or {})}
            connection.request(method, path, sent, all_headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=self._timeout)
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=self._timeout, context=self._tls
        )

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, headers=headers)

    def post(self, body: bytes | Any, path: str = "/api/jobs", **headers: str) -> Reply:
        return self.request("POST", path, body, headers)

    def submit(self, containers: str | Sequence[str], data: Any = None) -> str:
        """Submit one job that has to be accepted; returns its id."""
        chain = [containers] if isinstance(containers, str) else list(containers)
        reply = self.post({"containers": chain, "data": {} if data is None else data})
        assert reply.status == 200, reply
        identifier: str = reply.json["id"]
        return identifier

    def stream(self, container: str, data: Any = None) -> Streamed:
        """Run one streaming job that has to be accepted, and read it to its end."""
        complete = True
        try:
            body = {"containers": [container], "data": {} if data is None else data}
            reply = self.post(body, "/api/jobs/stream")
            assert reply.status == 200, reply
            content = reply.body
        except http.client.IncompleteRead as error:
            content, complete = error.partial, False
        identifier, newline, rest = content.partition(b"\n")
        assert newline, content
        return Streamed(identifier.decode(), rest, complete)

    def results(
        self, identifiers: Iterable[str], *, intermediate: bool = False
    ) -> list[dict[str, Any]]:
        """The JobResults of jobs, in this order; those that the node does not know are left out."""
        wanted = list(identifiers)
        results: list[dict[str, Any]] = []
        for start in range(0, len(wanted), _IDS_AT_ONCE):
            query = "&".join(f"id={quote(each)}" for each in wanted[start : start + _IDS_AT_ONCE])
            reply = self.get(f"/api/jobs?{query}&intermediate={str(intermediate).lower()}")
            assert reply.status == 200, reply
            results += reply.json
        return results

    def finished(
        self, identifiers: Iterable[str], *, within: float = 60.0, intermediate: bool = False
    ) -> list[dict[str, Any]]:
        """Wait until jobs have ended and return their JobResults; none of them may be unknown."""
        wanted = list(identifiers)
        results: list[dict[str, Any]] = []

        def ended() -> bool:
            results[:] = self.results(wanted, intermediate=intermediate)
            assert [each["id"] for each in results] == wanted, "a job is lost"
            return all(each["status"] != "running" for each in results)

        eventually(ended, within=within)
        return results

    def running(self) -> list[str]:
        """The ids of the unfinished jobs."""
        listed: list[str] = self.get("/api/jobs?pending=true").json
        return listed

    def health(self) -> str:
        status: str = self.get("/health").json["status"]
        return status


@contextmanager
def connected(port: int, timeout: float = 60.0) -> Iterator[socket.socket]:
    """A bare connection to the node."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        yield connection


def exchange(port: int, request: bytes, timeout: float = 60.0) -> bytes:
    """Send bytes as they are and return all that comes until the node closes the connection."""
    with connected(port, timeout) as connection:
        connection.sendall(request)
        return until_closed(connection)


def until_closed(connection: socket.socket) -> bytes:
    """All that comes until the other side closes or resets the connection."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionError:
        pass
    return received


def head(method: str, path: str, **headers: str) -> bytes:
    """The head of a request; `_` in a header's name stands for `-`."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post(path: str, body: bytes) -> bytes:
    """A whole request with a JSON body."""
    length = str(len(body))
    return head("POST", path, content_type="application/json", content_length=length) + body


def eventually(condition: Callable[[], Any], within: float = 60.0) -> None:
    """Wait until something holds; raises AssertionError when it does not in time (seconds)."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {within} seconds"
        time.sleep(0.02)
