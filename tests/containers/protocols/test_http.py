"""Services that take and give JSON in their own way, behind the client of containers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.config.model import Container
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.client import ServiceClient
from infernet_edge.containers.protocols.call import ContainerInput, StoredInput
from infernet_edge.containers.service import Service
from infernet_edge.http_client.client import HttpClient
from infernet_edge.memory import unlimited
from tests.support.serving import serving

WIDE = b'{"r": %d, "f": 1.10, "t": "\\u00e9"}' % 2**256


@pytest.fixture
async def client() -> AsyncIterator[ServiceClient]:
    async with HttpClient() as http:
        yield ServiceClient(http, 2**20)


def service(url: str, **settings: Any) -> Service:
    settings = {"protocol": "http", "timeout": 5.0, **settings}
    return Service(Container(id="x", url=url, **settings), managed=False)


def given(
    data: bytes | memoryview | StoredInput = WIDE, source: int = 1, destination: int = 1
) -> ContainerInput:
    return ContainerInput(data, source, destination, requires_proof=False)


class Recording:
    """Answers every request in the same way, and remembers the last one."""

    def __init__(self, body: bytes = b"{}", kind: str = "application/json", status: int = 200):
        self.body, self.kind, self.status = body, kind, status
        self.asked: web.Request
        self.data = b""

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked, self.data = request, await request.read()
        return web.Response(body=self.body, status=self.status, headers={"Content-Type": self.kind})


async def test_the_data_is_the_body_unchanged(client: ServiceClient) -> None:
    server = Recording(b' {"wide": %d} ' % 2**256)
    async with serving(server) as url:
        assert await client.call(service(url), given()) == server.body
        assert (server.asked.method, server.asked.path_qs) == ("POST", "/")
        assert server.data == WIDE
        assert server.asked.headers["content-type"] == "application/json"


async def test_method_path_headers_and_query(client: ServiceClient) -> None:
    server = Recording()
    settings: dict[str, Any] = {
        "path": "/v2/models/a%20b/infer",
        "method": "PUT",
        "headers": {"X-Key": Secret("top secret"), "Content-Type": "application/x+json"},
        "query": {"version": 3, "raw": True, "key": Secret("a&b=ü")},
        "bearer": Secret("token"),
    }
    async with serving(server) as url:
        await client.call(service(f"{url}/base/", **settings), given())
    assert server.asked.method == "PUT"
    assert server.asked.raw_path.startswith("/base/v2/models/a%20b/infer?")
    assert dict(server.asked.query) == {"version": "3", "raw": "true", "key": "a&b=ü"}
    assert server.asked.headers["x-key"] == "top secret"
    assert server.asked.headers["authorization"] == "Bearer token"
    assert server.asked.headers.getall("content-type") == ["application/x+json"]


@pytest.mark.parametrize(
    ("pointer", "output"),
    [
        ("", b'{"a/b": [0, {"~": %d}], "t": "x"}' % 2**256),
        ("/a~1b", b'[0, {"~": %d}]' % 2**256),
        ("/a~1b/1/~0", b"%d" % 2**256),
        ("/t", b'"x"'),
    ],
)
async def test_a_part_of_the_answer_is_the_output(
    client: ServiceClient, pointer: str, output: bytes
) -> None:
    server = Recording(b'{"a/b": [0, {"~": %d}], "t": "x"}' % 2**256, "text/plain")
    async with serving(server) as url:
        assert await client.call(service(url, result=pointer), given()) == output


async def test_an_answer_without_that_part_is_a_failure(client: ServiceClient) -> None:
    async with serving(Recording(b'{"error": "no \xc3\xbc"}')) as url:
        with pytest.raises(ContainerFailure) as failed:
            await client.call(service(url, result="/text"), given())
    assert str(failed.value) == (
        'Container\'s answer has nothing at /text (containers[].result): {"error": "no ü"}'
    )


@pytest.mark.parametrize(
    ("body", "kind", "output"),
    [
        (b"42", "text/plain", b'"42"'),
        ('héllo "x"\n'.encode(), "text/plain; charset=utf-8", '"héllo \\"x\\"\\n"'.encode()),
        (b"", "text/csv", b'""'),
        (b' {"a": 1}', "text/plain", b' {"a": 1}'),
        (b"[1]", "text/plain", b"[1]"),
        (b"[1", "text/plain", b'"[1"'),
        (b"42", "application/json", b"42"),
        (b'{"a": 1}', "text/html", b'{"a": 1}'),
        (b'{"a": NaN}', "application/json", b'{"a": null}'),
    ],
)
async def test_texts_are_outputs_too(
    client: ServiceClient, body: bytes, kind: str, output: bytes
) -> None:
    async with serving(Recording(body, kind)) as url:
        assert await client.call(service(url), given()) == output


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"<html><p>Hello</p>", "text/html", "Container's answer is not JSON (text/html): Hello"),
        (b"\xff", "text/plain", "Container's answer is text that is not UTF-8"),
        (b"RIFF", "audio/wav", "Container's answer is not JSON (audio/wav): RIFF"),
        (b"", "application/json", "Container's answer is not JSON (application/json): it is empty"),
    ],
)
async def test_other_answers_are_failures(
    client: ServiceClient, body: bytes, kind: str, reason: str
) -> None:
    async with serving(Recording(body, kind)) as url:
        with pytest.raises(ContainerFailure) as failed:
            await client.call(service(url), given())
    assert str(failed.value) == reason


async def test_an_output_longer_than_its_answer_is_limited_too() -> None:
    memory = unlimited().reserve("outputs")
    async with HttpClient() as http, serving(Recording(b"\x01" * 60, "text/plain")) as url:
        output = await ServiceClient(http, 400).call(service(url), given(), memory)
        assert json.loads(output) == "\x01" * 60
        assert memory.size == len(output) == 362
        with pytest.raises(ContainerFailure, match="larger than 300 bytes"):
            await ServiceClient(http, 300).call(service(url), given())


async def test_a_long_input_in_memory_is_sent_whole(client: ServiceClient) -> None:
    long = b'"%b"' % b"".join(b"%d," % number for number in range(100_000))
    server = Recording()
    async with serving(server) as url:
        await client.call(service(url), given(memoryview(long)))
    assert server.data == long
    assert server.asked.headers["content-length"] == str(len(long))


async def test_a_stored_input_is_sent_in_pieces_without_being_held(client: ServiceClient) -> None:
    server, memory = Recording(), unlimited().reserve("outputs")

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"a"'
        yield b":1}"

    async with serving(server) as url:
        await client.call(service(url), given(StoredInput(7, pieces)), memory)
    assert server.data == b'{"a":1}'
    assert server.asked.headers["content-length"] == "7"
    assert memory.size == len(server.body)


async def test_the_servers_text_is_the_failure(client: ServiceClient) -> None:
    async with serving(Recording(b'{"detail": "no such field"}', status=422)) as url:
        with pytest.raises(ContainerFailure, match=r'^\{"detail": "no such field"\}$'):
            await client.call(service(url), given())


async def test_a_stream_is_passed_on(client: ServiceClient) -> None:
    server = Recording(b"data: 1\n\ndata: 2\n\n", "text/event-stream")
    async with (
        serving(server) as url,
        client.stream(service(url, path="/stream"), given(destination=2)) as stream,
    ):
        assert stream.content_type == "text/event-stream"
        assert b"".join([chunk async for chunk in stream.chunks()]) == server.body
    assert (server.asked.path, server.data) == ("/stream", WIDE)


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b' {"a": %d}' % 2**256, b' {"a": %d}' % 2**256),
        (b"plain t\xc3\xa9xt", '"plain téxt"'.encode()),
        (bytes(31) + b"\x20" + bytes(31) + b"\x03" + b"abc" + bytes(29), b'"abc"'),
    ],
    ids=["JSON", "text", "abi.encode(string)"],
)
async def test_a_subscriptions_input(client: ServiceClient, content: bytes, sent: bytes) -> None:
    server = Recording(b'{"text": "h\xc3\xa9"}')
    data = json.dumps(content.hex()).encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield data[:5]
        yield data[5:]

    async with serving(server) as url:
        called = service(url, result="/text")
        for passed in (data, StoredInput(len(data), pieces)):
            output = await client.call(called, given(passed, 0, 0), keep_numbers=True)
            assert server.data == sent
            assert json.loads(output) == {
                "raw_input": None,
                "processed_input": None,
                "raw_output": "hé".encode().hex(),
                "processed_output": None,
                "proof": None,
            }


async def test_a_subscriptions_input_that_is_no_text(client: ServiceClient) -> None:
    server = Recording()
    async with serving(server) as url:
        with pytest.raises(ContainerFailure, match="input is not text in UTF-8"):
            await client.call(service(url), given(b'"ff00"', 0, 0))
    assert server.data == b""
