"""A service container of the test's own, down to the bytes that it sends.

with ScriptedService(lambda call: call.send(b"HTTP/1.1 200 OK\\r\\n\\r\\nhalf")) as service:
    NodeProcess({"containers": [{"id": "odd", "url": service.url}]}, ...)

It runs in threads of the test, so that the test can wait for what the node does to it: whether the
node has called, and whether it has ended the call.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

LIMIT = 60.0  # seconds for which a call waits for anything

Script = Callable[["Call"], None]


class Call:
    """One request to /service_output; the connection is closed when the script returns."""

    def __init__(self, connection: socket.socket, body: bytes) -> None:
        self.body = body
        self.gone = threading.Event()  # the node ended the call
        self._connection = connection

    @property
    def data(self) -> Any:
        """The data of the job."""
        return json.loads(self.body)["data"]

    def send(self, content: bytes) -> bool:
        """Send bytes; False when the node takes none any more."""
        try:
            self._connection.sendall(content)
        except OSError:
            self.gone.set()
            return False
        return True

    def begin(self, content_type: str = "text/plain") -> bool:
        """Send the head of an answer in chunks."""
        return self.send(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n"
            b"content-type: " + content_type.encode() + b"\r\n\r\n"
        )

    def chunk(self, content: bytes) -> bool:
        return self.send(b"%x\r\n%b\r\n" % (len(content), content))

    def answer(self, document: Any) -> bool:
        """Answer as a service should."""
        body = json.dumps(document).encode()
        return self.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )

    def is_open(self) -> bool:
        """Whether the node still waits for the answer."""
        self._connection.setblocking(False)
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self._connection.settimeout(LIMIT)

    def wait_until_gone(self) -> None:
        """Wait until the node closes the connection, which it does only to end the call."""
        try:
            while self._connection.recv(65536):
                pass
        except TimeoutError:
            return
        except OSError:
            pass
        self.gone.set()


class Gate:
    """A script: calls wait until the gate is opened, then their data is their answer."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, call: Call) -> None:
        while not self.opened.wait(0.02) and call.is_open():
            pass
        call.answer(call.data)


class ScriptedService:
    """Listens on a free port of 127.0.0.1 and runs the script for each call."""

    def __init__(self, script: Script) -> None:
        self.calls: list[Call] = []
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._threads: list[threading.Thread] = []
        self._connections: set[socket.socket] = set()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _shut_down(self._listener)
        for connection in list(self._connections):
            _shut_down(connection)
        for thread in list(self._threads):
            thread.join(LIMIT)
        self._listener.close()

    def wait_for_calls(self, count: int, within: float = 60.0) -> None:
        """Wait until there have been this many calls; raises AssertionError when there are not."""
        deadline = time.monotonic() + within
        while len(self.calls) < count:
            assert time.monotonic() < deadline, f"{len(self.calls)} calls instead of {count}"
            time.sleep(0.01)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(LIMIT)
        with connection:
            try:
                body = _read_request(connection)
            except OSError:
                body = None
            if body is not None:
                call = Call(connection, body)
                self.calls.append(call)
                self._script(call)
            self._connections.discard(connection)


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _read_request(connection: socket.socket) -> bytes | None:
    """The body of a service call; None when it is a probe, which is answered, or nothing."""
    with connection.makefile("rb") as stream:
        request = stream.readline()
        length = 0
        while line := stream.readline().strip().lower():
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        if request.startswith(b"POST /service_output "):
            return stream.read(length)
    if request:
        connection.sendall(
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
    return None
