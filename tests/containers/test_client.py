"""HTTP to one service container, against real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import pytest
from aiohttp import web

from infernet_edge.config.model import Container
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers import client as client_module
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.client import ServiceClient
from infernet_edge.containers.protocols import infernet
from infernet_edge.containers.protocols.call import ContainerInput, StoredInput
from infernet_edge.containers.service import Service
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError
from infernet_edge.memory import unlimited
from tests.support.managing import eventually
from tests.support.ports import free_port
from tests.support.serving import Echo, Talk, read_request, serving, talking

MEGABYTE = 2**20
GIVEN = ContainerInput(b'{"a":1}', 1, 1, requires_proof=False)
BODY = b'{"source":1,"destination":1,"data":{"a":1},"requires_proof":false}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.fixture
async def client() -> AsyncIterator[ServiceClient]:
    async with HttpClient() as http:
        yield ServiceClient(http, 16 * MEGABYTE)


def service(url: str, **settings: Any) -> Service:
    container = Container(id="x", url=url, **{"timeout": 5.0, **settings})
    return Service(container, managed=False)


def sending(*parts: bytes) -> Talk:
    """A container that says this to each connection's first request, and hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return talk


async def failure(awaitable: Awaitable[Any]) -> str:
    """The reason that the job's client gets."""
    with pytest.raises(ContainerFailure) as failed:
        await awaitable
    text = str(failed.value)
    assert "Traceback" not in text
    assert "aiohttp" not in text
    assert " object at 0x" not in text
    return text


async def streamed(client: ServiceClient, to: Service) -> list[bytes]:
    async with client.stream(to, GIVEN) as stream:
        return [chunk async for chunk in stream.chunks()]


def streamed_whole(client: ServiceClient) -> Callable[..., Coroutine[Any, Any, bytes]]:
    """What is called like `client.call`, and streams."""

    async def call(to: Service, given: ContainerInput, timeout: float | None = None) -> bytes:
        async with client.stream(to, given, timeout) as stream:
            return b"".join([chunk async for chunk in stream.chunks()])

    return call


def test_the_body_is_what_containers_expect() -> None:
    wide = b'{"r":%d, "text":"\\u00e9"}' % 2**256
    call = infernet.request(Container(id="x"), ContainerInput(wide, 0, 2, requires_proof=True), "")
    body = call.body
    assert isinstance(body, bytes)
    assert json.loads(body) == {
        "source": 0,
        "destination": 2,
        "data": {"r": 2**256, "text": "é"},
        "requires_proof": True,
    }
    assert wide in body


async def test_an_answer_is_returned_unchanged(client: ServiceClient) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.method == "POST"
        assert request.path == "/some/where/service_output"
        assert request.headers["content-type"] == "application/json"
        assert await request.read() == BODY
        return web.Response(body=b' {"wide": %d, "f": 1.10} ' % 2**256)

    async with serving(answer) as url:
        for address in (f"{url}/some/where", f"{url}/some/where/"):
            answered = await client.call(service(address), GIVEN)
            assert answered == b' {"wide": %d, "f": 1.10} ' % 2**256


@pytest.mark.parametrize("text", [b"null", b"42", b"[1,2]", b'"x"', b"{}", '"ü"'.encode()])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream"])
async def test_any_json_of_any_content_type_is_an_answer(
    client: ServiceClient, text: bytes, kind: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=text, content_type=kind)

    async with serving(answer) as url:
        assert await client.call(service(url), GIVEN) == text


async def test_the_bearer_token_goes_to_its_container_only(client: ServiceClient) -> None:
    echo = Echo()
    async with serving(echo) as url:
        await client.call(service(url, bearer=Secret("abc")), GIVEN)
        await client.call(service(url), GIVEN)
    assert echo.headers[0]["Authorization"] == "Bearer abc"
    assert "Authorization" not in echo.headers[1]


async def test_a_container_gets_no_cookies_and_no_compression_is_requested(
    client: ServiceClient,
) -> None:
    seen: list[set[str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append({name.lower() for name in request.headers})
        response = web.json_response({})
        response.set_cookie("session", "1")
        return response

    async with serving(answer) as url:
        for _ in range(2):
            await client.call(service(url), GIVEN)
    for headers in seen:
        assert headers == {"host", "content-type", "content-length"}


NOT_JSON = {
    "html": b"<h1>hello</h1>",
    "text": b"hello",
    "empty": b"",
    "half": b'{"a":',
    "half NaN": b'{"a": NaN',
    "-NaN": b'{"a": -NaN}',
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "trailing": b"{} {}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "deep": b"[" * 10_000 + b"]" * 10_000,
    "single quotes": b"{'a': 1}",
}


@pytest.mark.parametrize("name", NOT_JSON)
async def test_an_answer_that_is_not_json(client: ServiceClient, name: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=NOT_JSON[name], content_type="text/html")

    async with serving(answer) as url:
        reason = await failure(client.call(service(url), GIVEN))
        assert reason.startswith("Container's answer is not JSON (text/html")
        assert len(reason) < 400


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b'{"error":"boom","code":7}', '{"error":"boom","code":7}'),
        (400, b'{"code": "400", "name": "x"}', '{"code": "400", "name": "x"}'),
        (404, b"<h1>not here</h1>", "Container answered 404 Not Found: not here"),
        (
            500,
            b"<!doctype html>\n<title>500 Internal Server Error</title>\n<p>It\nbroke.</p>",
            "Container answered 500 Internal Server Error - It broke.",
        ),
        (
            500,
            b"<html><title>Internal Server Error</title></html>",
            "Container answered 500 Internal Server Error",
        ),
        (502, b"<html></html>", "Container answered 502 Bad Gateway"),
        (500, b"", "Container answered 500 Internal Server Error"),
        (503, b" \n ", "Container answered 503 Service Unavailable"),
        (500, b"caf\xe9", "caf\ufffd"),
    ],
)
async def test_an_error_status(
    client: ServiceClient, status: int, body: bytes, reason: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    async with serving(answer) as url:
        assert await failure(client.call(service(url), GIVEN)) == reason
        assert await failure(streamed(client, service(url))) == reason


async def test_a_long_error_is_cut(client: ServiceClient) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=500, body=b"x" * MEGABYTE)

    async with serving(answer) as url:
        assert await failure(client.call(service(url), GIVEN)) == "x" * 4096


class Logs:
    """The logs of containers, in which each has the same last line."""

    def __init__(self) -> None:
        self.reads = 0

    async def last_log_line(self, service: Service) -> str:
        self.reads += 1
        return "ValueError: no such model"


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (500, b"<html><h1>Oh</h1></html>", "Container answered 500 Internal Server Error: Oh"),
        (500, b"Internal Server Error", "Internal Server Error"),
        (503, b"", "Container answered 503 Service Unavailable"),
        (200, b"<html><h1>Oh</h1></html>", "Container's answer is not JSON (text/html): Oh"),
        (500, b'{"error": "its own"}', None),
        (404, b"<h1>not here</h1>", None),
    ],
)
async def test_a_failure_that_says_little_is_completed_by_the_log(
    status: int, body: bytes, shown: str | None
) -> None:
    async def answer(request: web.Request) -> web.Response:
        kind = "text/html" if body.startswith(b"<") else "text/plain"
        return web.Response(status=status, body=body, content_type=kind)

    logs = Logs()
    async with HttpClient() as http, serving(answer) as url:
        client = ServiceClient(http, MEGABYTE, logs)
        reason = await failure(client.call(service(url), GIVEN))
        if shown:
            assert reason == f"{shown}; the last line of its log: ValueError: no such model"
        assert logs.reads == (shown is not None)
        if status >= 400:
            assert await failure(streamed(client, service(url))) == reason


NUMBERS = b'{"a": [NaN, -Infinity, 1.10], "NaN": "Infinity"}'


async def test_numbers_that_json_does_not_have(client: ServiceClient) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=NUMBERS)

    async with serving(answer) as url:
        expected = b'{"a": [null, null, 1.10], "NaN": "Infinity"}'
        assert await client.call(service(url), GIVEN) == expected
        assert await client.call(service(url), GIVEN, keep_numbers=True) == NUMBERS


async def test_an_answer_that_gets_too_long_with_null() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"[NaN,NaN]")

    async with HttpClient() as http, serving(answer) as url:
        budget = unlimited()
        memory = budget.reserve("outputs")
        assert len(await ServiceClient(http, 11).call(service(url), GIVEN, memory)) == 11
        assert memory.size == 11
        reason = await failure(ServiceClient(http, 10).call(service(url), GIVEN))
        assert reason == "Container's answer is larger than 10 bytes"


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_RETRY_PAUSE", 0.001)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        ("closed", 3),
        ("hangs", 3),
        ("broken off", 3),
        (500, 3),
        (503, 3),
        (429, 3),
        (400, 1),
        (302, 1),
        ("not JSON", 1),
    ],
)
async def test_a_failed_call_is_repeated_where_that_may_help(
    client: ServiceClient, fault: str | int, attempts: int
) -> None:
    calls = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        assert (await read_request(reader)).endswith(BODY)
        calls += 1
        if fault == "hangs":
            await reader.read()
        elif fault == "broken off":
            writer.write(OK + b"content-length: 1000\r\n\r\n{")
        elif fault == "not JSON":
            writer.write(OK + b"connection: close\r\ncontent-length: 1\r\n\r\nx")
        elif isinstance(fault, int):
            writer.write(b"HTTP/1.1 %d Oh\r\nconnection: close\r\n\r\n" % fault)

    async with talking(talk) as url:
        await failure(client.call(service(url, retries=2, timeout=0.3), GIVEN))
        assert calls == attempts
        await failure(client.call(service(url, timeout=0.3), GIVEN))
        assert calls == attempts + 1


@pytest.mark.usefixtures("no_pauses")
async def test_a_repeated_call_sends_the_whole_input_and_returns_the_answer(
    client: ServiceClient,
) -> None:
    seen: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(await request.read())
        if len(seen) < 3:
            return web.Response(status=500, body=b"x" * 1000)
        return web.Response(body=b"[1]")

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"a"'
        yield b":1}"

    memory = unlimited().reserve("outputs")
    memory.take(100)
    data = StoredInput(7, pieces)
    async with serving(answer) as url:
        body = ContainerInput(data, 1, 1, requires_proof=False)
        assert await client.call(service(url, retries=2), body, memory) == b"[1]"
    assert seen == [BODY] * 3
    assert memory.size == 100 + 3


def nowhere() -> str:
    """A URL that nobody serves."""
    return f"http://127.0.0.1:{free_port()}"


def managed(url: str, **settings: Any) -> Service:
    """A managed container that is ready."""
    container = Container(
        id="x", image="y", port=int(url.rpartition(":")[2]), **{"timeout": 0.3, **settings}
    )
    made = Service(container, managed=True)
    made.set_ready()
    return made


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (b"", "suspect"),
        (None, "suspect"),
        (OK + b"content-length: 9\r\n\r\n{", "suspect"),
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", "ready"),
        (b"HTTP/1.1 400 Oh\r\ncontent-length: 0\r\n\r\n", "ready"),
        (OK + b"content-length: 1\r\n\r\nx", "ready"),
    ],
    ids=["closed", "hangs", "broken off", "500", "400", "not JSON"],
)
async def test_a_call_without_an_answer_makes_a_managed_container_suspect(
    client: ServiceClient, said: bytes | None, state: str
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if said is None:
            await reader.read()
        writer.write(said or b"")

    async with talking(talk) as url:
        called = managed(url)
        reason = await failure(client.call(called, GIVEN))
        assert called.state == state
        assert called.in_call == called.working_on == 0
        assert called.reason == (f"a call failed: {reason}" if state == "suspect" else "")
        assert called.probe_requested.is_set() == (state == "suspect")
        elsewhere = service(url, timeout=0.3)
        before = elsewhere.state
        await failure(client.call(elsewhere, GIVEN))
        assert elsewhere.state == before


async def test_a_stream_that_breaks_off_makes_its_container_suspect(client: ServiceClient) -> None:
    head = OK + b"transfer-encoding: chunked\r\n\r\n"
    async with talking(sending(head, b"3\r\nabc\r\n")) as url:
        called = managed(url)
        async with client.stream(called, GIVEN) as stream:
            chunks = stream.chunks()
            await anext(chunks)
            assert (called.state, called.in_call) == ("ready", 1)
            await failure(anext(chunks))
        assert (called.state, called.in_call) == ("suspect", 0)


async def test_a_chunk_of_a_stream_clears_the_suspicion(client: ServiceClient) -> None:
    echo = Echo()
    body = ContainerInput(b'{"chunks":["one","wait","two"]}', 1, 2, requires_proof=False)
    async with serving(echo) as url:
        called = managed(url, timeout=20.0)
        async with client.stream(called, body) as stream:
            chunks = stream.chunks()
            await anext(chunks)
            called.set_suspect("a call failed")
            echo.release()
            assert await anext(chunks) == b"two"
            assert called.state == "ready"


async def test_a_server_error_makes_a_container_with_a_health_path_suspect(
    client: ServiceClient,
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=503)

    async with serving(answer) as url:
        called = managed(url, health_path="/health")
        await failure(client.call(called, GIVEN))
        assert called.state == "suspect"


async def test_a_suspect_gets_no_calls_until_one_in_progress_is_answered(
    client: ServiceClient,
) -> None:
    echo = Echo()
    hold = ContainerInput(b'{"hold":true}', 1, 1, requires_proof=False)
    async with serving(echo) as url:
        called = managed(url, timeout=20.0)
        first = asyncio.create_task(client.call(called, hold))
        await eventually(lambda: echo.open == 1)
        called.set_suspect("a call failed")
        second = asyncio.create_task(client.call(called, GIVEN))
        await asyncio.sleep(0.1)
        assert (len(echo.calls), called.in_call, called.working_on) == (1, 1, 2)
        echo.release()
        await asyncio.gather(first, second)
        assert called.state == "ready"
        assert len(echo.calls) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(client: ServiceClient, status: int) -> None:
    """They could lead anywhere in the user's network, with the job's data and the token."""
    visited = []

    async def answer(request: web.Request) -> web.Response:
        visited.append(request.path)
        return web.Response(status=status, headers={"location": "/elsewhere"})

    async with serving(answer) as url:
        for call in (client.call(service(url), GIVEN), streamed(client, service(url))):
            reason = await failure(call)
            assert reason == f"Container answered with a redirect ({status}), not followed"
    assert set(visited) == {"/service_output"}


async def test_a_container_that_is_down(client: ServiceClient) -> None:
    down = service(f"http://127.0.0.1:{free_port()}")
    expected = "Cannot connect to container: Connection refused"
    assert await failure(client.call(down, GIVEN)) == expected
    assert await failure(streamed(client, down)) == expected


async def test_a_call_waits_for_a_container_that_has_just_ended(client: ServiceClient) -> None:
    """Its sockets are closed before its process ends: what nobody received may be sent again."""
    for call in (client.call, streamed_whole(client)):
        ended = managed(nowhere(), timeout=5.0)
        called = asyncio.create_task(call(ended, GIVEN))
        await ended.probe_requested.wait()
        assert (ended.state, ended.in_call) == ("suspect", 0)
        ended.set_starting("it stopped")
        async with serving(Echo()) as url:
            ended.set_port(int(url.rpartition(":")[2]))
            ended.set_ready()
            assert json.loads(await called)["output"] == {"a": 1}
        assert (ended.working_on, ended.calls) == (0, 1)


async def test_a_call_waits_for_one_that_is_found_to_be_well(client: ServiceClient) -> None:
    """It is ready again before it accepts connections, as behind a forwarder of ports."""
    port = free_port()
    ended = managed(f"http://127.0.0.1:{port}", timeout=5.0)
    called = asyncio.create_task(client.call(ended, GIVEN))
    for _ in range(3):
        await ended.probe_requested.wait()
        ended.probe_requested.clear()
        ended.set_ready()
    async with serving(Echo(), port=port):
        assert json.loads(await called)["output"] == {"a": 1}


async def test_a_call_waits_no_longer_than_its_time_limit(client: ServiceClient) -> None:
    for settings, timeout in (
        ({}, None),
        ({"timeout": 5.0}, 0.3),
        ({"startup_timeout": 0.2}, None),
    ):
        for call in (client.call, streamed_whole(client)):
            reason = await failure(call(managed(nowhere(), **settings), GIVEN, timeout=timeout))
            assert reason == (
                "Container is not ready: a call failed: Cannot connect to container:"
                " Connection refused"
            )


async def test_a_call_does_not_wait_for_one_that_failed(client: ServiceClient) -> None:
    ended = managed(nowhere(), timeout=5.0)
    called = asyncio.create_task(client.call(ended, GIVEN))
    await ended.probe_requested.wait()
    ended.set_failed("it stopped 5 times in a row")
    assert await failure(called) == "Container is not running: it stopped 5 times in a row"


async def test_a_call_that_was_received_is_not_sent_again(client: ServiceClient) -> None:
    received = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        received += 1
        await read_request(reader)

    async with talking(talk) as url:
        for call in (client.call, streamed_whole(client)):
            reason = await failure(call(managed(url), GIVEN))
            assert reason == "Container closed the connection without an answer"
    assert received == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://no-such-host.invalid:3000",
        "http://a..b:3000",
        "http://" + "x" * 70 + ".invalid",
        "http://127.0.0.1:99999",
    ],
)
async def test_an_invalid_address(client: ServiceClient, url: str) -> None:
    assert len(await failure(client.call(service(url), GIVEN))) < 500
    await failure(streamed(client, service(url)))


async def test_the_address_of_a_container_is_not_shown(client: ServiceClient) -> None:
    """The text is for the client of a job; a URL may hold a password and names of inner hosts."""
    for said in (b"rubbish\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"):
        async with talking(sending(said)) as url:
            hidden = url.replace("http://", "http://user:hunter2@") + "/inner"
            for call in (client.call(service(hidden), GIVEN), streamed(client, service(hidden))):
                reason = await failure(call)
                assert not any(part in reason for part in ("hunter2", "inner", "127.0.0.1")), reason
    down = service(f"http://user:hunter2@127.0.0.1:{free_port()}/inner")
    reason = await failure(client.call(down, GIVEN))
    assert not any(part in reason for part in ("hunter2", "inner", "127.0.0.1")), reason


async def test_a_token_that_cannot_be_sent_is_not_shown(client: ServiceClient) -> None:
    async with serving(Echo()) as url:
        reason = await failure(client.call(service(url, bearer=Secret("top\nsecret")), GIVEN))
    assert "secret" not in reason


async def test_a_container_that_does_not_accept() -> None:
    """Its queue of connections is full, as when its process is stopped."""
    client = ServiceClient(HttpClient(connect_timeout=0.2), MEGABYTE)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        for _ in range(8):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(address)
        reason = await failure(client.call(service(f"http://127.0.0.1:{address[1]}"), GIVEN))
        for one in waiting:
            one.close()
    assert reason == "Cannot connect to container: Connection timed out"


async def test_a_container_that_hangs(client: ServiceClient) -> None:
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read()  # until the node closes the connection
        gone.set()

    async with talking(talk) as url:
        reason = await failure(client.call(service(url, timeout=0.1), GIVEN))
        assert reason == "Container did not answer within 0.1 s"
        async with asyncio.timeout(10):
            await gone.wait()
        assert await failure(streamed(client, service(url, timeout=0.1))) == reason


@pytest.mark.parametrize(
    "beginning",
    [b"HTT", b"HTTP/1.1 200 OK\r\ncontent-le", OK + b"content-length: 10\r\n\r\n{"],
    ids=["status line", "headers", "body"],
)
async def test_a_container_that_stops_sending(client: ServiceClient, beginning: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await sending(beginning)(reader, writer)
        await reader.read()

    async with talking(talk) as url:
        reason = await failure(client.call(service(url, timeout=0.1), GIVEN))
        assert reason == "Container did not answer within 0.1 s"


async def test_the_timeout_is_for_the_whole_answer(client: ServiceClient) -> None:
    """A trickle of bytes does not help."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await sending(OK + b"content-length: 100000\r\n\r\n")(reader, writer)
        while True:
            await sending_more(writer, b" ")

    async def sending_more(writer: asyncio.StreamWriter, part: bytes) -> None:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.01)

    async with talking(talk) as url:
        reason = await failure(client.call(service(url, timeout=0.3), GIVEN))
        assert reason == "Container did not answer within 0.3 s"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((), "Container closed the connection without an answer"),
        ((b"HTTP/1.1 200",), "Container"),
        (
            (OK + b"content-length: 1000\r\n\r\n", b'{"a":'),
            "Container broke off in the middle of its answer",
        ),
        (
            (OK + b"transfer-encoding: chunked\r\n\r\n", b'5\r\n{"a":\r\n'),
            "Container broke off in the middle of its answer",
        ),
        ((b"rubbish\r\n\r\n",), "Container's answer is not valid HTTP"),
        ((b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",), "Container's answer is not valid HTTP"),
        (
            (OK + b"transfer-encoding: chunked\r\n\r\n", b"zz\r\n"),
            "Container",
        ),
        ((b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",), "Container"),
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), "Container"),
    ],
)
async def test_half_answers_and_answers_that_are_not_http(
    client: ServiceClient, parts: tuple[bytes, ...], reason: str
) -> None:
    async with talking(sending(*parts)) as url:
        assert (await failure(client.call(service(url), GIVEN))).startswith(reason)


async def test_a_container_that_resets_the_connection(client: ServiceClient) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        linger = struct.pack("ii", 1, 0)  # closing then sends a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with talking(talk) as url:
        reason = await failure(client.call(service(url), GIVEN))
        assert reason == "Container closed the connection without an answer"


async def test_a_container_that_dies_in_the_middle_of_a_stream(client: ServiceClient) -> None:
    head = OK + b"transfer-encoding: chunked\r\n\r\n"
    async with talking(sending(head, b"3\r\nabc\r\n")) as url:
        async with client.stream(service(url), GIVEN) as stream:
            chunks = stream.chunks()
            assert await anext(chunks) == b"abc"
            reason = await failure(anext(chunks))
        assert reason == "Container broke off in the middle of its answer"


async def test_a_stream(client: ServiceClient) -> None:
    content = [bytes(range(256)), b"\xff" * 70_000, b"end"]

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "image/png"})
        await response.prepare(request)
        for part in content:
            await response.write(part)
        await response.write_eof()
        return response

    async with serving(answer) as url, client.stream(service(url), GIVEN) as stream:
        assert stream.content_type == "image/png"
        chunks = [chunk async for chunk in stream.chunks()]
    assert b"".join(chunks) == b"".join(content)
    assert all(chunks)


async def test_a_stream_that_ends_with_its_connection(client: ServiceClient) -> None:
    """HTTP/1.0, as simple servers speak it."""
    async with (
        talking(sending(b"HTTP/1.0 200 OK\r\n\r\n", b"abc")) as url,
        client.stream(service(url), GIVEN) as stream,
    ):
        assert stream.content_type == ""
        assert b"".join([chunk async for chunk in stream.chunks()]) == b"abc"


async def test_a_stream_that_is_left_ends_the_call(client: ServiceClient) -> None:
    echo = Echo()
    body = ContainerInput(b'{"chunks":["one","wait"]}', 1, 2, requires_proof=False)
    async with serving(echo) as url:
        async with client.stream(service(url), body) as stream:
            assert await anext(stream.chunks()) == b"one"
        await eventually(lambda: echo.left == 1)


async def test_a_large_answer_within_the_limit(client: ServiceClient) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b'"%b"' % (b"x" * (16 * MEGABYTE - 2)))

    async with serving(answer) as url:
        assert len(await client.call(service(url), GIVEN)) == 16 * MEGABYTE


@pytest.mark.parametrize("announced", [True, False])
async def test_an_answer_of_a_gigabyte_is_not_accepted(
    client: ServiceClient, announced: bool
) -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        length = b"content-length: %d\r\n" % 2**30 if announced else b""
        writer.write(OK + length + b'\r\n"')
        for _ in range(1024):
            writer.write(b"x" * MEGABYTE)
            await writer.drain()
            sent += 1

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with talking(talk) as url:
        reason = await failure(client.call(service(url), GIVEN))
        assert reason == f"Container's answer is larger than {16 * MEGABYTE} bytes"
    assert sent < 100
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024  # KiB


async def test_a_long_input(client: ServiceClient) -> None:
    echo = Echo()
    data = b'{"a":"%b"}' % (b"x" * 10 * MEGABYTE)
    async with serving(echo) as url:
        answer = await client.call(service(url), ContainerInput(data, 1, 1, requires_proof=False))
    assert len(answer) > 10 * MEGABYTE
    assert len(echo.calls[0]["data"]["a"]) == 10 * MEGABYTE


async def test_connections_are_used_again(client: ServiceClient) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(OK + b"content-length: 2\r\n\r\n{}")
            await writer.drain()

    async with talking(talk) as url:
        for _ in range(10):
            assert await client.call(service(url), GIVEN) == b"{}"
    assert connections == 1


async def test_a_container_that_closes_kept_connections(client: ServiceClient) -> None:
    """After each answer, with or without a notice: the next call opens a new connection."""
    for header in (b"", b"connection: close\r\n"):
        async with talking(sending(OK + header + b"content-length: 2\r\n\r\n{}")) as url:
            for _ in range(20):
                assert await client.call(service(url), GIVEN) == b"{}"
                await asyncio.sleep(0.005)


async def test_a_container_that_crashes_on_a_job_gets_it_once(client: ServiceClient) -> None:
    calls = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        await read_request(reader)
        calls += 1

    async with talking(talk) as url:
        reason = await failure(client.call(service(url), GIVEN))
        assert reason == "Container closed the connection without an answer"
    assert calls == 1


async def test_a_hundred_calls_at_once(client: ServiceClient) -> None:
    echo = Echo()
    body = ContainerInput(b'{"hold":true}', 1, 1, requires_proof=False)
    async with serving(echo) as url:
        calls = [asyncio.create_task(client.call(service(url), body)) for _ in range(100)]
        await eventually(lambda: echo.open == 100)
        echo.release()
        await asyncio.gather(*calls)


async def test_a_cancelled_call_ends_in_the_container_too(client: ServiceClient) -> None:
    echo = Echo()
    body = ContainerInput(b'{"hold":true}', 1, 1, requires_proof=False)
    async with serving(echo) as url:
        call = asyncio.create_task(client.call(service(url), body))
        await eventually(lambda: echo.open == 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await eventually(lambda: echo.left == 1)


async def test_a_managed_container_that_is_not_ready_in_time(client: ServiceClient) -> None:
    waiting = Service(Container(id="x", image="y", timeout=0.05), managed=True)
    waiting.set_starting("the image is being pulled")
    reason = await failure(client.call(waiting, GIVEN))
    assert reason == "Container is not ready: the image is being pulled"
    assert await failure(streamed(client, waiting)) == reason


@pytest.mark.parametrize("stream", [False, True])
async def test_the_timeout_applies_to_getting_ready_and_answering_together(
    client: ServiceClient, stream: bool
) -> None:
    echo = Echo()
    async with serving(echo) as url:
        container = Container(id="x", image="y", port=int(url.rpartition(":")[2]), timeout=4.0)
        starting = Service(container, managed=True)
        starting.set_starting("the image is being pulled")
        body = ContainerInput(b'{"hold":true}', 1, 1, requires_proof=False)

        async def call() -> None:
            if stream:
                async with client.stream(starting, body):
                    pass
            else:
                await client.call(starting, body)

        calling = asyncio.create_task(call())
        await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        loop.call_later(3.8, starting.set_ready)
        with pytest.raises(ContainerFailure, match="did not answer within 4 s"):
            async with asyncio.timeout(7.5):  # not 3.8 and 4 seconds more
                await calling
        assert len(echo.calls) == 1


async def test_the_wait_until_it_is_ready_may_have_its_own_limit(client: ServiceClient) -> None:
    async with serving(Echo()) as url:
        called = managed(url, timeout=2.0, startup_timeout=60.0)
        called.set_starting("it loads its model")
        asyncio.get_running_loop().call_later(2.5, called.set_ready)
        assert json.loads(await client.call(called, GIVEN))["output"] == {"a": 1}
        called.set_starting("it loads its model")
        with pytest.raises(ContainerFailure, match="not ready: it loads its model"):
            await client.call(called, GIVEN, timeout=0.2)  # that of the job is for both
        called.container = msgspec.structs.replace(called.container, startup_timeout=0.1)
        with pytest.raises(ContainerFailure, match="not ready: it loads its model"):
            await client.call(called, GIVEN)


@pytest.mark.parametrize("parts", [(), (OK + b"content-length: 9\r\n\r\n{}",)])
async def test_a_failure_keeps_nothing_until_the_garbage_collector_runs(
    client: ServiceClient, parts: tuple[bytes, ...]
) -> None:
    """Its traceback has the input and what was read of the answer, which may be large."""

    async def call(url: str) -> None:
        with contextlib.suppress(ContainerFailure):
            await client.call(service(url), GIVEN)

    async with talking(sending(*parts)) as url:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await call(url)
            await asyncio.sleep(0.05)  # until the loop has forgotten the last one
            kinds = ContainerFailure | HttpError
            assert not [each for each in gc.get_objects() if isinstance(each, kinds)]
        finally:
            gc.enable()
