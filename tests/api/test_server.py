"""The listening socket and its connections: bounds on all that a client can hold on to."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from infernet_edge.api import plain_http
from infernet_edge.api import server as server_module
from infernet_edge.api.connections import Connections, Slot
from infernet_edge.api.json_io import Answer, BodyReader
from infernet_edge.api.server import MAX_CONNECTIONS, LanServer, raise_file_limit
from infernet_edge.config.model import TLS, Server
from infernet_edge.errors import StartupError
from infernet_edge.memory import MemoryBudget, unlimited
from tests.support.managing import eventually
from tests.support.ports import free_port

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class App:
    """Answers the length of the body and the path; /hold waits, /stream sends without an end."""

    def __init__(self) -> None:
        self.requests = 0
        self.gone = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: bytes | bytearray = b""
        self.released = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        scope["memory"] = unlimited()
        scope["held"] = scope["memory"].reserve("requests")
        body = await BodyReader(2**30).read(scope, receive)
        self.headers = list(scope["headers"])
        self.body = body or self.body
        if scope["path"] == "/hold":
            await self.released.wait()
        if scope["path"] == "/stream":
            head = {"type": "http.response.start", "status": 200, "headers": []}
            await send(head)
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await receive()  # until the client disconnects
            self.gone += 1
            return
        if scope["path"] == "/flood":
            await Answer(b"x" * 64 * 2**20)(scope, receive, send)
        await Answer({"path": scope["path"], "body": len(body)})(scope, receive, send)


class Connection:
    """Raw bytes to and from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """The next response, which has to have a content-length."""
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body

    async def get(self, path: str = "/") -> int:
        await self.send(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode())
        return (await self.response())[0]

    async def rest(self, timeout: float = 20) -> bytes:
        """All until the server closes the connection."""
        async with asyncio.timeout(timeout):
            try:
                return await self.reader.read()
            except ConnectionError:  # it was reset: closed with bytes of ours unread
                return b""

    def finish_writing(self) -> None:
        self.writer.write_eof()


class Running:
    def __init__(self, server: LanServer, app: App) -> None:
        self.server = server
        self.app = app
        self._connections: list[Connection] = []

    async def connect(self) -> Connection:
        streams = await asyncio.open_connection("127.0.0.1", self.server.port)
        connection = Connection(*streams)
        self._connections.append(connection)
        return connection

    def hang_up(self) -> None:
        for connection in self._connections:
            connection.writer.close()


@asynccontextmanager
async def serving(
    settings: Server | None = None,
    limit: int = MAX_CONNECTIONS,
    memory: MemoryBudget | None = None,
) -> AsyncIterator[Running]:
    app = App()
    settings = settings or Server(host="127.0.0.1", port=0)
    server = LanServer(settings, app, max_connections=limit, memory=memory)
    server.bind()
    await server.start(reserve=0)
    running = Running(server, app)
    try:
        yield running
    finally:
        running.hang_up()
        app.released.set()
        await server.stop(0.2)


async def test_keep_alive() -> None:
    async with serving() as running:
        connection = await running.connect()
        for number in range(3):
            assert await connection.get(f"/{number}") == 200
        assert running.server.open_connections == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as running:
        connection = await running.connect()
        await connection.send(GET.replace(b"/ ", b"/1 ") + GET.replace(b"/ ", b"/2 "))
        for path in ("/1", "/2"):
            status, _, body = await connection.response()
            assert (status, json.loads(body)["path"]) == (200, path)


async def test_http_1_0_and_connection_close() -> None:
    async with serving() as running:
        for request in (
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        ):
            connection = await running.connect()
            await connection.send(request)
            assert (await connection.response())[0] == 200
            assert await connection.rest() == b""


async def test_a_head_that_comes_byte_by_byte() -> None:
    async with serving() as running:
        connection = await running.connect()
        for byte in GET:
            await connection.send(bytes([byte]))
        assert (await connection.response())[0] == 200


MALFORMED = [
    b"rubbish\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,  # TLS to a plain port
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost x\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"G\x00T / HTTP/1.1\r\nhost: x\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", MALFORMED)
async def test_malformed_http_is_answered_with_json_and_closed(request_bytes: bytes) -> None:
    async with serving() as running:
        connection = await running.connect()
        await connection.send(request_bytes)
        status, headers, body = await connection.response()
        assert status == 400
        assert headers["content-type"] == "application/json"
        assert headers["connection"] == "close"
        assert json.loads(body) == {"error": "Malformed HTTP request", "params": {}}
        assert await connection.rest() == b""
        assert await (await running.connect()).get() == 200


UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "websocket": b"connection: upgrade\r\nupgrade: websocket\r\n",
    "capitals": b"CONNECTION: UPGRADE\r\nUPGRADE: H2C\r\n",
}


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES.keys())
async def test_an_upgrade_to_another_protocol_is_ignored(upgrade: bytes) -> None:
    head = b"POST /up HTTP/1.1\r\nhost: x\r\n" + upgrade
    bodies = (
        b"content-length: 5\r\n\r\nhello",
        b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    async with serving() as running:
        connection = await running.connect()
        for body in bodies:
            request = head + body
            cuts = [*range(20, len(head) + 3, 3), len(request)]
            for cut in cuts:  # the network decides what arrives together
                await connection.send(request[:cut])
                await asyncio.sleep(0.001)
                await connection.send(request[cut:])
                status, _, answer = await connection.response()
                assert (status, json.loads(answer)) == (200, {"path": "/up", "body": 5})
        await connection.send(head + bodies[0] + GET)
        assert json.loads((await connection.response())[2]) == {"path": "/up", "body": 5}
        assert json.loads((await connection.response())[2]) == {"path": "/", "body": 0}


async def test_huge_headers_are_refused() -> None:
    async with serving() as running:
        connection = await running.connect()
        await connection.send(b"GET / HTTP/1.1\r\nhost: x\r\n")
        line = b"x-more: " + b"x" * 8000 + b"\r\n"
        received = b""
        for _ in range(1000):
            try:
                await connection.send(line)
                await asyncio.sleep(0)
            except ConnectionError:
                break
            if connection.reader.at_eof():
                break
        received = await connection.rest()
        assert received.startswith(b"HTTP/1.1 431 ") or received == b""
        assert running.app.requests == 0
        assert await (await running.connect()).get() == 200


async def test_headers_of_a_sensible_size_are_served() -> None:
    async with serving() as running:
        connection = await running.connect()
        await connection.send(b"GET / HTTP/1.1\r\nhost: x\r\nx-more: " + b"x" * 30_000)
        await connection.send(b"\r\n\r\n")
        assert (await connection.response())[0] == 200


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
TRAILERS = [
    b"x-forwarded-for: 10.9.9.9",
    b"Host: evil",
    b"authorization: Bearer x",
    b"expect: 100-continue",
]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("trailer", TRAILERS)
async def test_trailers_are_no_headers(trailer: bytes, at_once: bool) -> None:
    async with serving() as running:
        connection = await running.connect()
        if at_once:
            await connection.send(CHUNKED + trailer + b"\r\n\r\n")
        else:
            for part in (CHUNKED, trailer[:5], trailer[5:], b"\r\n", b"\r\n"):
                await connection.send(part)
                await asyncio.sleep(0.01)
        status, _, body = await connection.response()
        assert (status, json.loads(body)["body"]) == (200, 3)
        assert running.app.headers == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]
        assert await connection.get() == 200  # the next request's fields are its own
        assert running.app.headers == [(b"host", b"x")]


@pytest.mark.parametrize("line", [b"x-more: " + b"x" * 8000 + b"\r\n", b"x" * 8000])
async def test_trailers_without_an_end_are_refused(line: bytes) -> None:
    async with serving() as running:
        connection = await running.connect()
        await connection.send(CHUNKED)
        for _ in range(1000):
            try:
                await connection.send(line)
                await asyncio.sleep(0)
            except ConnectionError:
                break
            if connection.reader.at_eof():
                break
        else:
            pytest.fail("8 MB of trailers were taken")
        received = await connection.rest()
        assert received == b"" or received.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        assert await (await running.connect()).get() == 200


async def test_a_long_body_with_a_length_arrives_whole_and_the_next_request_too() -> None:
    body = bytes(range(256)) * 12_000
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with serving() as running:
        connection = await running.connect()
        for begin in (0, 1, 20_000, 100_000):
            await connection.send(head + body[:begin])
            await asyncio.sleep(0.02)
            await connection.send(body[begin:] + GET)
            status, _, answer = await connection.response()
            assert (status, json.loads(answer)["body"]) == (200, len(body))
            assert running.app.body == body
            assert (await connection.response())[0] == 200


async def test_a_large_body_in_small_pieces_is_no_trailer() -> None:
    async with serving() as running:
        connection = await running.connect()
        await connection.send(CHUNKED.partition(b"3\r\n")[0])
        for _ in range(300):
            await connection.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await connection.send(b"0\r\n\r\n")
        status, _, body = await connection.response()
        assert (status, json.loads(body)["body"]) == (200, 300 * 1024)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_SWEEP", 0.03)
    monkeypatch.setattr(server_module, "_STUCK_TIME", 0.12)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("begin", [b"", b"G", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(begin: bytes) -> None:
    async with serving() as running:
        connection = await running.connect()
        await connection.send(begin)
        assert await connection.rest() == b""
        await eventually(lambda: running.server.open_connections == 0)
        assert running.app.requests == 0


@pytest.mark.usefixtures("impatient")
async def test_a_trickling_head_is_not_waited_for() -> None:
    """Bytes that keep coming do not help: it is the whole head that has to come in time."""
    async with serving() as running:
        connection = await running.connect()
        await connection.send(b"GET / HTTP/1.1\r\n")
        ended = asyncio.create_task(connection.rest())
        while not ended.done():
            try:
                await connection.send(b"a: b\r\n")
            except ConnectionError:
                break
            await asyncio.sleep(0.01)
        assert await ended == b""


@pytest.mark.usefixtures("impatient")
async def test_an_answer_that_is_not_read_is_not_waited_for() -> None:
    async with serving() as running:
        with socket.create_connection(("127.0.0.1", running.server.port)) as connection:
            connection.sendall(GET.replace(b"/ ", b"/flood "))
            await eventually(lambda: running.app.requests == 1)
            await eventually(lambda: running.server.open_connections == 0)


@pytest.mark.usefixtures("impatient")
async def test_work_that_takes_long_is_waited_for() -> None:
    async with serving() as running:
        connection = await running.connect()
        waiting = asyncio.create_task(connection.get("/hold"))
        await asyncio.sleep(0.3)  # more than 4 checks
        running.app.released.set()
        assert await waiting == 200


async def test_a_client_that_closed_its_half_is_answered() -> None:
    """As with `printf … | nc`."""
    async with serving() as running:
        connection = await running.connect()
        await connection.send(GET.replace(b"/ ", b"/hold "))
        connection.finish_writing()
        await eventually(lambda: running.app.requests == 1)
        await asyncio.sleep(0.05)
        running.app.released.set()
        assert (await connection.response())[0] == 200
        assert await connection.rest() == b""
        await eventually(lambda: running.server.open_connections == 0)


async def test_a_client_that_closed_its_half_in_the_middle_of_a_body_is_gone() -> None:
    async with serving() as running:
        for begin in (b"GET / HT", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc"):
            connection = await running.connect()
            await connection.send(begin)
            await asyncio.sleep(0.05)
            connection.finish_writing()
            assert await connection.rest() == b""
        await eventually(lambda: running.server.open_connections == 0)


async def test_a_streaming_client_that_closed_its_half_is_gone() -> None:
    async with serving() as running:
        connection = await running.connect()
        await connection.send(GET.replace(b"/ ", b"/stream "))
        await eventually(lambda: running.app.requests == 1)
        await asyncio.sleep(0.05)
        connection.finish_writing()
        await eventually(lambda: running.app.gone == 1)
        await connection.rest()


async def test_more_connections_than_allowed_wait_for_a_slot() -> None:
    async with serving(limit=4) as running:
        server = running.server
        holding = [await running.connect() for _ in range(4)]
        answers = [asyncio.create_task(connection.get("/hold")) for connection in holding]
        await eventually(lambda: running.app.requests == 4)
        # The kernel takes further ones into its queue; the node does not.
        waiting = [await running.connect() for _ in range(6)]
        more = [
            asyncio.create_task(connection.get(f"/{n}")) for n, connection in enumerate(waiting)
        ]
        await eventually(lambda: not server.accepting)
        await asyncio.sleep(0.2)
        assert running.app.requests == 4
        assert server.open_connections == 4
        running.app.released.set()
        assert await asyncio.gather(*answers, *more) == [200] * 10
        await eventually(lambda: server.open_connections == 0 or server.accepting)


async def test_idle_connections_make_room() -> None:
    async with serving(limit=4) as running:
        idle = [await running.connect() for _ in range(3)]
        for connection in idle:
            assert await connection.get() == 200
        assert running.server.open_connections == 3
        for oldest in idle:
            holding = await running.connect()
            await holding.send(b"GET ")
            late = await running.connect()
            assert await late.get() == 200
            assert await oldest.rest() == b""
        for _ in range(8):
            assert await (await running.connect()).get() == 200


def replace_all(monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    """Close each connection so many turns of the loop after its accept, as for another one."""
    admit = Connections.admit

    def admit_and_replace(self: Connections, address: str) -> Slot | None:
        if (slot := admit(self, address)) is not None:
            replace(slot, turns)
        return slot

    def replace(slot: Slot, left: int) -> None:
        asyncio.get_running_loop().call_soon(
            *((replace, slot, left - 1) if left else (slot.close,))
        )

    monkeypatch.setattr(Connections, "admit", admit_and_replace)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("https", [False, True])
def test_a_connection_that_is_replaced_while_it_is_made_ends(
    monkeypatch: pytest.MonkeyPatch,
    certificate: TLS,
    run: Callable[[Coroutine[Any, Any, None]], None],
    turns: int,
    https: bool,
) -> None:
    """Where the machine is busy that takes a while; it would stay open, without a slot."""
    problems: list[dict[str, Any]] = []

    async def connect() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, found: problems.append(found))
        settings = Server(host="127.0.0.1", port=0, tls=certificate if https else None)
        async with serving(settings) as node:
            replace_all(monkeypatch, turns)
            connection = await node.connect()
            if https:
                await connection.send(b"\x16\x03\x01 rubbish")
            assert len(await connection.rest(5)) < 10  # an alert of TLS
            await eventually(lambda: node.server.open_connections == 0)

    run(connect())
    assert problems == []


async def test_many_short_connections_under_a_small_cap() -> None:
    async with serving(limit=8) as running:

        async def one() -> int:
            connection = await running.connect()
            status = await connection.get()
            connection.writer.close()
            return status

        statuses = await asyncio.gather(*(one() for _ in range(300)))
        assert statuses == [200] * 300
        await eventually(lambda: running.server.open_connections == 0)


def test_the_cap_follows_from_the_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        limit = raise_file_limit()
        assert limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert limit >= min(hard, 4096)
        assert raise_file_limit() == limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("reserve", "limit"), [(0, 500), (100, 400), (490, 32), (5000, 32)])
async def test_connections_leave_room_for_other_files(
    monkeypatch: pytest.MonkeyPatch, reserve: int, limit: int
) -> None:
    monkeypatch.setattr(server_module, "raise_file_limit", lambda: 500)
    server = LanServer(Server(host="127.0.0.1", port=0), App())
    server.bind()
    await server.start(reserve)
    assert server.max_connections == limit
    await server.stop(0)


async def test_a_busy_port_is_named_and_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = LanServer(Server(host="127.0.0.1", port=port), App())
        with pytest.raises(StartupError, match=f"port {port}.*server.port"):
            server.bind()
        await server.stop(0)


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid", "a..b"])
async def test_an_address_of_another_machine(host: str) -> None:
    server = LanServer(Server(host=host, port=free_port()), App())
    with pytest.raises(StartupError, match=f"Cannot listen on {host}: .*(address|name)") as error:
        server.bind()
    assert "server.port" not in str(error.value)


async def test_both_kinds_of_addresses() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    async with serving(Server(host="::", port=0)) as running:
        assert await (await running.connect()).get() == 200
        streams = await asyncio.open_connection("::1", running.server.port)
        connection = Connection(*streams)
        assert await connection.get() == 200
        connection.writer.close()


async def test_a_stop_lets_requests_in_work_end() -> None:
    async with serving() as running:
        connection = await running.connect()
        answer = asyncio.create_task(connection.get("/hold"))
        await eventually(lambda: running.app.requests == 1)
        stopping = asyncio.create_task(running.server.stop(10))
        await asyncio.sleep(0.05)
        with pytest.raises(ConnectionRefusedError):
            await running.connect()
        running.app.released.set()
        assert await answer == 200
        await stopping
        assert await connection.rest() == b""


async def test_a_stop_has_a_time_limit() -> None:
    async with serving() as running:
        idle, working = await running.connect(), await running.connect()
        assert await idle.get() == 200
        answer = asyncio.create_task(working.rest())
        await working.send(GET.replace(b"/ ", b"/hold "))
        await eventually(lambda: running.app.requests == 2)
        async with asyncio.timeout(10):
            await running.server.stop(0.1)
        assert await answer == b""
        assert await idle.rest() == b""
        assert running.server.requests_in_work == 0
        await running.server.stop(0.1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    folder = tmp_path_factory.mktemp("tls")
    tls = TLS(cert=str(folder / "cert.pem"), key=str(folder / "key.pem"))
    make_certificate(tls)
    return tls


def make_certificate(tls: TLS, kind: str = "rsa:2048") -> None:
    command = f"openssl req -x509 -newkey {kind} -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-out", tls.cert, "-keyout", tls.key], check=True, capture_output=True
    )


async def test_https(certificate: TLS) -> None:
    async with serving(Server(host="127.0.0.1", port=0, tls=certificate)) as running:
        trusting = ssl.create_default_context(cafile=certificate.cert)
        trusting.check_hostname = False
        streams = await asyncio.open_connection("127.0.0.1", running.server.port, ssl=trusting)
        connection = Connection(*streams)
        assert await connection.get() == 200
        assert await connection.get("/2") == 200
        connection.writer.close()
        await eventually(lambda: running.server.open_connections == 0)


@pytest.mark.parametrize("sent", [GET, b"\x16\x03", b""])
async def test_handshakes_that_fail_or_do_not_come_take_no_slots(
    certificate: TLS, sent: bytes
) -> None:
    """Such a connection is never made, nor lost: counted, it would never be released."""
    async with serving(Server(host="127.0.0.1", port=0, tls=certificate), limit=4) as running:
        trusting = ssl.create_default_context(cafile=certificate.cert)
        trusting.check_hostname = False
        for _ in range(20):
            connection = await running.connect()
            await connection.send(sent)
            if sent == GET:
                assert b"400 Bad Request" in await connection.rest()
        async with asyncio.timeout(20):
            streams = await asyncio.open_connection("127.0.0.1", running.server.port, ssl=trusting)
        connection = Connection(*streams)
        assert await connection.get() == 200
        connection.writer.close()
        await eventually(lambda: running.server.open_connections == 0)


@pytest.mark.parametrize(
    "sent",
    [
        GET,
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"\r\nget / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PUT /api/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n" + b"x" * 3_000_000,
    ],
    ids=["GET", "HEAD", "empty line", "body"],
)
async def test_plain_http_at_the_port_of_https_is_answered(certificate: TLS, sent: bytes) -> None:
    async with serving(Server(host="127.0.0.1", port=0, tls=certificate)) as running:
        plain = await running.connect()
        await plain.send(sent)
        status, headers, body = await plain.response()
        assert status == 400
        assert headers["content-type"] == "application/json"
        answer = json.loads(body)
        assert "https://" in answer["error"]
        assert answer["params"] == {}
        assert await plain.rest() == b""
        running.hang_up()
        await eventually(lambda: running.server.open_connections == 0)
        assert running.app.requests == 0


async def test_after_that_answer_a_client_is_not_waited_for(
    certificate: TLS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_http, "_REFUSAL_TIMEOUT", 0.1)
    async with serving(Server(host="127.0.0.1", port=0, tls=certificate)) as running:
        plain = await running.connect()
        await plain.send(GET)
        await eventually(lambda: running.server.open_connections == 0)
        assert (await plain.response())[0] == 400


async def test_a_handshake_in_pieces(certificate: TLS) -> None:
    async with serving(Server(host="127.0.0.1", port=0, tls=certificate)) as running:
        trusting = ssl.create_default_context(cafile=certificate.cert)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
        connection = await running.connect()
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    await connection.send(bytes([byte]))
                    await asyncio.sleep(0)
                incoming.write(await connection.reader.read(2**16))
        client.write(GET)
        await connection.send(outgoing.read())
        while True:
            try:
                assert client.read(2**16).startswith(b"HTTP/1.1 200")
                break
            except ssl.SSLWantReadError:
                incoming.write(await connection.reader.read(2**16))


async def test_a_certificate_that_cannot_be_used(certificate: TLS, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    wrong = TLS(cert=str(tmp_path / "cert.pem"), key=certificate.key)
    server = LanServer(Server(host="127.0.0.1", port=0, tls=wrong), App())
    with pytest.raises(StartupError, match=r"server\.tls cannot be used: cert has no certificate"):
        server.bind()


@pytest.mark.parametrize("kind", ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:prime256v1"])
async def test_a_renewed_certificate_is_used_without_a_restart(
    certificate: TLS, tmp_path: Path, kind: str
) -> None:
    """Also one with another type of key."""
    tls = TLS(cert=str(tmp_path / "cert.pem"), key=str(tmp_path / "key.pem"))

    async def trusted(port: int, cert: bytes) -> bool:
        (tmp_path / "trusted.pem").write_bytes(cert)
        trusting = ssl.create_default_context(cafile=str(tmp_path / "trusted.pem"))
        trusting.check_hostname = False
        try:
            streams = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        except ssl.SSLCertVerificationError:
            return False
        connection = Connection(*streams)
        assert await connection.get() == 200
        connection.writer.close()
        return True

    make_certificate(tls, kind)
    first = Path(tls.cert).read_bytes()
    settings = Server(host="127.0.0.1", port=0, tls=tls)
    async with serving(settings) as running:
        assert await trusted(running.server.port, first)
        shutil.copy(certificate.cert, tls.cert)
        with pytest.raises(StartupError, match="cannot be used"):  # its key is not there yet
            await running.server.prepare(settings)
        assert await trusted(running.server.port, first)
        shutil.copy(certificate.key, tls.key)
        apply = await running.server.prepare(settings)
        assert await trusted(running.server.port, first)
        apply()
        assert not await trusted(running.server.port, first)
        assert await trusted(running.server.port, Path(certificate.cert).read_bytes())


@pytest.mark.usefixtures("impatient")
async def test_nothing_wakes_up_without_connections() -> None:
    async with serving() as running:
        connection = await running.connect()
        assert await connection.get() == 200
        assert running.server.sweeping
        connection.writer.close()
        await eventually(lambda: running.server.open_connections == 0)
        await eventually(lambda: not running.server.sweeping)


async def test_a_head_with_many_fields_is_refused() -> None:
    """Each field takes many times its bytes, so that a head may have only so many."""
    async with serving() as running:
        for fields, expected in ((150, 200), (5000, 431)):
            connection = await running.connect()
            await connection.send(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * fields + b"\r\n")
            status, _, body = await connection.response()
            assert status == expected
        assert json.loads(body)["error"] == "Too many header fields"
        assert await connection.rest() == b""
        assert running.app.requests == 1


@pytest.mark.parametrize("body", [0, 10, 3000])
async def test_very_many_requests_at_once_are_all_answered(body: int) -> None:
    """They are read as they are answered: waiting in memory they would take too much."""
    request = b"POST /%d HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" + b"x" * body
    async with serving() as running:
        connection = await running.connect()
        sending = asyncio.create_task(
            connection.send(b"".join(request % (number, body) for number in range(1000)))
        )
        for number in range(1000):
            status, _, answer = await connection.response()
            assert status == 200
            assert json.loads(answer) == {"path": f"/{number}", "body": body}
        await sending


async def test_a_head_for_which_there_is_no_memory_is_refused() -> None:
    memory = MemoryBudget(3 * 2**20, 2**20)
    async with serving(memory=memory) as running:
        others = [memory.reserve("requests")]
        while others[-1].try_take(60 * 1024):
            others.append(memory.reserve("requests"))
        connection = await running.connect()
        await connection.send(b"GET /" + b"x" * 60_000)
        assert (await connection.response())[0] == 503
        for each in others:
            each.release()
        connection = await running.connect()
        assert await connection.get("/" + "x" * 60_000) == 200
        connection.writer.close()
        await eventually(lambda: memory.total == 0)


@pytest.mark.parametrize(("size", "limit"), [(1, 32), (64, 512), (1000, 1024)])
async def test_the_memory_limits_connections(size: int, limit: int) -> None:
    async with serving(memory=MemoryBudget(size * 2**20, 0)) as running:
        assert running.server.max_connections == limit
