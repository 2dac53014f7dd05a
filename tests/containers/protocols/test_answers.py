"""What servers of other kinds send: each answer, as bytes, and what becomes of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from infernet_edge.config.model import Container
from infernet_edge.containers import client as client_module
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.client import ServiceClient, ServiceStream
from infernet_edge.containers.protocols.call import ContainerInput
from infernet_edge.containers.service import Service
from infernet_edge.http_client.client import HttpClient
from tests.support.serving import read_request, talking

BOTH = ("http", "openai")
GIVEN = ContainerInput(b'{"prompt":"a"}', 1, 1, requires_proof=False)
STREAM = GIVEN._replace(destination=2)
CLOSE = b"Connection: close\r\n"
MAX_BYTES = 2**20


@pytest.fixture
async def client() -> AsyncIterator[ServiceClient]:
    async with HttpClient() as http:
        yield ServiceClient(http, MAX_BYTES)


def service(url: str, protocol: str, **settings: Any) -> Service:
    settings = {"timeout": 5.0, **settings}
    return Service(Container(id="x", url=url, protocol=protocol, **settings), managed=False)  # type: ignore[arg-type]


def answer(body: bytes, *headers: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    """An answer that ends with its connection."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/{version} {status}", *headers))
    return head.encode() + CLOSE + b"\r\n" + body


def typed(body: bytes, kind: str, *headers: str) -> bytes:
    return answer(body, f"Content-Type: {kind}", *headers)


def chunked(*chunks: bytes, trailers: bytes = b"", extension: bytes = b"") -> bytes:
    parts = b"".join(b"%x%s\r\n%s\r\n" % (len(each), extension, each) for each in chunks)
    head = answer(b"", "Transfer-Encoding: chunked", "Content-Type: application/json")
    return head + parts + b"0\r\n" + trailers + b"\r\n"


async def serve(content: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(content)
    await writer.drain()


def of(content: bytes) -> Any:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(content, reader, writer)

    return talking(talk)


JSON = b'{"text":"h\xc3\xa9"}'
TEXT = {"text": "hé"}

OUTPUTS: dict[str, tuple[bytes, Any]] = {
    "HTTP/1.0, without a length": (answer(JSON, version="1.0"), TEXT),
    "no content type": (answer(JSON), TEXT),
    "a wrong content type": (typed(JSON, "application/octet-stream"), TEXT),
    "JSON as HTML": (typed(JSON, "text/html; charset=utf-8"), TEXT),
    "JSON as text": (typed(JSON, "text/plain"), TEXT),
    "problem+json": (typed(JSON, "application/problem+json"), TEXT),
    "chunks": (chunked(JSON[:5], JSON[5:]), TEXT),
    "chunks with trailers": (
        chunked(JSON, trailers=b"Server-Timing: a;dur=5\r\nX-B: c\r\n"),
        TEXT,
    ),
    "chunks with extensions": (chunked(JSON, extension=b';a="b"'), TEXT),
    "100 Continue first": (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(JSON), TEXT),
    "103 Early Hints first": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(JSON),
        TEXT,
    ),
    "201 Created": (answer(JSON, status="201 Created"), TEXT),
    "no reason phrase": (answer(JSON, status="200"), TEXT),
    "white space around it": (answer(b"\r\n\t " + JSON + b"\r\n\r\n"), TEXT),
    "a byte order mark": (typed(b"\xef\xbb\xbf" + JSON, "application/json"), TEXT),
    "latin-1": (
        typed(JSON.decode().encode("latin-1"), "application/json; charset=ISO-8859-1"),
        TEXT,
    ),
    "UTF-16": (
        typed(JSON.decode().encode("utf-16"), 'application/json;Charset="utf-16"'),
        TEXT,
    ),
    "a charset that it has not": (typed(JSON, "application/json; charset=utf-16"), TEXT),
    "an unknown charset": (typed(JSON, "application/json; charset=punycode"), TEXT),
    "an identity coding": (typed(JSON, "application/json", "Content-Encoding: identity"), TEXT),
    "a number": (answer(b"5"), 5),
    "null": (answer(b"null"), None),
    "a list": (answer(b"[[]]"), [[]]),
    "keys that occur twice": (answer(b'{"text":1,"text":2}'), {"text": 2}),
}

FAILURES: dict[str, tuple[bytes, str]] = {
    "HTML": (typed(b"<!DOCTYPE html><h1>Hi</h1>", "text/html"), r"not JSON \(text/html\): Hi$"),
    "HTML as JSON": (typed(b"<html><p>Hi</p>", "application/json"), "not JSON .*: Hi$"),
    "an empty page": (typed(b"<html></html>", "text/html"), "is not JSON"),
    "nothing": (typed(b"", "application/json"), r"not JSON \(application/json\): it is empty$"),
    "white space": (typed(b" \r\n ", "application/json"), "it is empty$"),
    "204 No Content": (b"HTTP/1.1 204 No Content\r\n\r\n", "it is empty$"),
    "half of it": (typed(b'{"a":', "application/json"), 'not JSON .*: {"a":$'),
    "two values": (typed(b"{} {}", "application/json"), "not JSON"),
    "JSON lines": (typed(b'{"a":1}\n{"a":2}\n', "application/x-ndjson"), "not JSON"),
    "not UTF-8": (typed(b'{"a":"\xff"}', "application/json"), "not JSON"),
    "a picture": (typed(b"\x89PNG\r\n\x1a\n", "image/png"), r"not JSON \(image/png\)"),
    "deeply nested": (typed(b"[" * 100_000, "application/json"), "not JSON"),
    "gzip": (
        typed(gzip.compress(JSON, mtime=0), "application/json", "Content-Encoding: gzip"),
        "^Container's answer is compressed, without being asked$",
    ),
    "larger than the limit": (answer(b'"' + b"x" * MAX_BYTES + b'"'), "larger than 1048576 bytes"),
    "a length over the limit": (answer(b"{", "Content-Length: 99999999999"), "larger than"),
    "broken off": (answer(JSON, "Content-Length: 1000"), "broke off in the middle"),
    "broken off in a chunk": (chunked(JSON)[:-9], "broke off in the middle"),
    "a chunk that is none": (
        answer(b"zz\r\n", "Transfer-Encoding: chunked"),
        "broke off|not valid HTTP",
    ),
    "a negative length": (answer(JSON, "Content-Length: -5"), "not valid HTTP"),
    "more bytes than its length": (
        answer(JSON + b"rubbish", f"Content-Length: {len(JSON)}"),
        "not valid HTTP",
    ),
    "two lengths": (answer(JSON, "Content-Length: 1", "Content-Length: 2"), "not valid HTTP"),
    "nothing at all": (b"", "closed the connection without an answer"),
    "another protocol": (b"220 mail ESMTP\r\n", "not valid HTTP|closed the connection"),
    "301": (answer(b"", "Location: http://x/", status="301 Moved"), r"a redirect \(301\)"),
    "307": (answer(b"", "Location: /other", status="307 Temporary Redirect"), r"redirect \(307\)"),
    "308 without a place": (answer(b"", status="308 Permanent Redirect"), r"a redirect \(308\)"),
    "304": (answer(b"", status="304 Not Modified"), r"\(304\)"),
    "404 as HTML": (
        answer(b"<h1>Not Found</h1>", "Content-Type: text/html", status="404 Not Found"),
        "^Container answered 404 Not Found$",
    ),
    "429": (answer(b"slow down", "Retry-After: 1", status="429 Too Many Requests"), "^slow down$"),
    "503": (answer(b"overloaded", "Retry-After: 1", status="503 Busy"), "^overloaded$"),
    "500 without a text": (answer(b"", status="500 Oh"), "^Container answered 500 Oh$"),
    "500 that is compressed": (
        answer(gzip.compress(b"x", mtime=0), "Content-Encoding: gzip", status="500 Oh"),
        "^Container answered 500 Oh$",
    ),
    "500 in latin-1": (
        answer(b"zu gro\xdf", "Content-Type: text/plain; charset=latin1", status="500 Oh"),
        "^zu groß$",
    ),
    "500 that goes on": (answer(b"x" * 100_000, status="500 Oh"), "^x{4096}$"),
    "a status of its own": (answer(b"?", status="599 Other"), r"^\?$"),
}


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("name", OUTPUTS)
async def test_answers_that_are_outputs(client: ServiceClient, protocol: str, name: str) -> None:
    content, output = OUTPUTS[name]
    async with of(content) as url:
        assert json.loads(await client.call(service(url, protocol), GIVEN)) == output
        if isinstance(output, dict) and "text" in output:
            part = await client.call(service(url, protocol, result="/text"), GIVEN)
            assert json.loads(part) in (output["text"], 1)  # keys that occur twice: either


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("name", FAILURES)
async def test_answers_that_are_failures(client: ServiceClient, protocol: str, name: str) -> None:
    content, reason = FAILURES[name]
    async with of(content) as url:
        with pytest.raises(ContainerFailure, match=reason):
            await client.call(service(url, protocol), GIVEN)
        with pytest.raises(ContainerFailure):
            await client.call(service(url, protocol, result="/text"), GIVEN)


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (typed("héß".encode("latin-1"), "text/plain; charset=iso-8859-1"), "héß"),
        (typed("日本".encode("shift_jis"), "text/plain; charset=Shift_JIS"), "日本"),
        (typed("hé".encode("utf-16"), "text/plain; charset=utf-16"), "hé"),
        (typed(b"\xef\xbb\xbfhi", "text/plain"), "hi"),
        (typed(b"", "text/plain"), ""),
        (typed(b"data: 1\n\n", "text/event-stream"), "data: 1\n\n"),
        (answer(b"<p>Hi</p>", "Content-Type: text/xml"), "<p>Hi</p>"),
        (chunked(b"x").replace(b"application/json", b"text/plain"), "x"),
    ],
)
async def test_texts_in_other_charsets(client: ServiceClient, content: bytes, output: str) -> None:
    async with of(content) as url:
        assert json.loads(await client.call(service(url, "http"), GIVEN)) == output


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{}", "/text"),
        (b"[]", "/0"),
        (b'{"a":[1]}', "/a/1"),
        (b'{"a":[1]}', "/a/-"),
        (b'{"a":[1]}', "/a/01"),
        (b'{"a":"text"}', "/a/0"),
        (b'{"a":null}', "/a/b"),
        (b"5", "/text"),
        (b"null", "/text"),
        (b'"text"', "/0"),
        (b'{"A":1}', "/a"),
    ],
)
@pytest.mark.parametrize("protocol", BOTH)
async def test_pointers_to_nothing(
    client: ServiceClient, protocol: str, body: bytes, pointer: str
) -> None:
    async with of(answer(body)) as url:
        with pytest.raises(
            ContainerFailure, match=f"^Container's answer has nothing at {pointer} "
        ):
            await client.call(service(url, protocol, result=pointer), GIVEN)


async def read(stream: ServiceStream) -> tuple[bytes, str]:
    """What a stream gives, and why it failed; "" where it did not."""
    seen = b""
    try:
        async for chunk in stream.chunks():
            seen += chunk
    except ContainerFailure as error:
        return seen, str(error)
    return seen, ""


EVENTS = (
    b": ping\r\n\r\n"
    b"id: 1\r\nevent: x\r\nretry: 3\r\ndata: {\r\ndata: }\r\n\r\n"
    b'data:{"choices":[]}\r\n\r\n'
    b"data\r\n\r\n"
    b"\xff\xfe\r\n"
)  # comments, CRLF, data of several lines, no [DONE], and bytes that are no text


@pytest.mark.parametrize(
    "content",
    [
        typed(EVENTS, "text/event-stream"),
        typed(EVENTS, "text/event-stream", f"Content-Length: {len(EVENTS)}"),
        answer(EVENTS, version="1.0"),
        chunked(*(EVENTS[at : at + 1] for at in range(len(EVENTS))), trailers=b"X: y\r\n"),
        typed(EVENTS, "application/json"),
    ],
)
@pytest.mark.parametrize("protocol", BOTH)
async def test_streams_of_any_form_are_passed_on(
    client: ServiceClient, protocol: str, content: bytes
) -> None:
    async with (
        of(content) as url,
        client.stream(service(url, protocol), STREAM) as stream,
    ):
        assert b"".join([chunk async for chunk in stream.chunks()]) == EVENTS


@pytest.mark.parametrize("protocol", BOTH)
async def test_an_empty_stream(client: ServiceClient, protocol: str) -> None:
    async with (
        of(typed(b"", "text/event-stream")) as url,
        client.stream(service(url, protocol), STREAM) as stream,
    ):
        assert [chunk async for chunk in stream.chunks()] == []


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(
    "content",
    [
        typed(EVENTS, "text/event-stream", f"Content-Length: {len(EVENTS) + 1}"),
        chunked(EVENTS)[:-5],
    ],
)
async def test_streams_that_break_off(client: ServiceClient, protocol: str, content: bytes) -> None:
    async with (
        of(content) as url,
        client.stream(service(url, protocol), STREAM) as stream,
    ):
        seen, reason = await read(stream)
    assert EVENTS.startswith(seen)
    assert "broke off in the middle" in reason


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (answer(b"no", status="400 Bad Request"), "^no$"),
        (answer(b"", "Location: /x", status="302 Found"), "redirect"),
        (b"", "closed the connection"),
        (
            typed(gzip.compress(EVENTS, mtime=0), "text/event-stream", "Content-Encoding: gzip"),
            "compressed",
        ),
    ],
)
async def test_streams_that_do_not_begin(
    client: ServiceClient, protocol: str, content: bytes, reason: str
) -> None:
    async with of(content) as url:
        with pytest.raises(ContainerFailure, match=reason):
            async with client.stream(service(url, protocol), STREAM):
                pass


async def test_an_error_within_a_stream_is_its_failure(client: ServiceClient) -> None:
    """After the event itself, which the client gets as any other."""
    events = b'data: {"choices":[]}\n\ndata: {"error":{"message":"out of memory"}}\n\n'
    async with of(typed(events, "text/event-stream")) as url:
        for protocol in BOTH:
            async with client.stream(service(url, protocol), STREAM) as stream:
                seen, reason = await read(stream)
            assert seen == events
            # With http, streams may be of any form.
            assert reason == ("out of memory" if protocol == "openai" else "")


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Busy"])
@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("1", 0.9, 3.0), ("99999", 0.1, 1.5), ("soon", 0.0, 0.9), ("-1", 0.0, 0.9)],
)
async def test_a_repeated_call_waits_as_the_server_asks(
    client: ServiceClient,
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    asked: str,
    least: float,
    most: float,
) -> None:
    """Not longer than the longest pause, which is 0.2 s for 99999 here."""
    monkeypatch.setattr(client_module, "_RETRY_PAUSE", 0.01)
    monkeypatch.setattr(client_module, "_MAX_RETRY_PAUSE", 0.2 if asked == "99999" else 30.0)
    times: list[float] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(time.monotonic())
        busy = answer(b"busy", f"Retry-After: {asked}", status=status)
        await serve(busy if len(times) == 1 else answer(JSON), reader, writer)

    async with talking(talk) as url:
        await client.call(service(url, "openai", retries=1), GIVEN)
    assert len(times) == 2
    assert least <= times[1] - times[0] < most


@pytest.mark.parametrize("protocol", BOTH)
async def test_slow_answers_end_with_the_timeout(client: ServiceClient, protocol: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(typed(b'{"a":', "application/json"), reader, writer)
        for _ in range(200):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with talking(talk) as url:
        with pytest.raises(ContainerFailure, match=r"did not answer within 0\.3 s"):
            await client.call(service(url, protocol, timeout=0.3), GIVEN)
