"""Bodies in and answers out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from infernet_edge import schema
from infernet_edge.api import json_io
from infernet_edge.api.json_io import (
    Answer,
    BodyReader,
    check_utf8,
    decode,
    error_answer,
    query,
)
from infernet_edge.errors import BadRequest, RequestTimeout, TooLarge, Unavailable
from infernet_edge.memory import MemoryBudget, unlimited
from tests.support.running import running
from tests.support.serving import Echo, serving

REPORTS = msgspec.json.Decoder(schema.StatusReport)


def receiving(*parts: bytes, more: bool = False) -> Receive:
    """A receive() that returns these parts, and then that the client has disconnected."""
    found: list[Message] = [
        {"type": "http.request", "body": part, "more_body": True} for part in parts
    ]
    if found and not more:
        found[-1]["more_body"] = False

    async def receive() -> Message:
        return found.pop(0) if found else {"type": "http.disconnect"}

    return receive


async def sent(answer: Answer) -> tuple[Message, bytes]:
    received: list[Message] = []

    async def send(message: Message) -> None:
        received.append(message)

    await answer({}, receiving(), send)
    head, body = received
    return head, body["body"]


async def test_an_answer_is_json_with_its_length() -> None:
    head, body = await sent(Answer(schema.HealthInfo("healthy")))
    assert body == b'{"status":"healthy"}'
    assert head["status"] == 200
    assert head["headers"][0] == (b"content-type", b"application/json")
    assert (b"content-length", b"20") in head["headers"]


async def test_an_error_is_an_error_response_with_its_headers() -> None:
    head, body = await sent(error_answer(Unavailable("Full", {"limit": 3}, retry_after=60)))
    assert body == b'{"error":"Full","params":{"limit":3}}'
    assert head["status"] == 503
    assert (b"retry-after", b"60") in head["headers"]


async def body_of(*parts: bytes, limit: int = 10, more: bool = False, **headers: str) -> bytes:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"headers": raw, "held": unlimited().reserve("requests")}
    return bytes(await BodyReader(limit).read(scope, receiving(*parts, more=more)))


async def test_a_body_is_put_together() -> None:
    assert await body_of(b"") == b""
    assert await body_of(b"abc") == b"abc"
    assert await body_of(b"abc", b"", b"def") == b"abcdef"
    assert await body_of(b"x" * 10) == b"x" * 10


@pytest.mark.parametrize("parts", [(b"x" * 11,), (b"x" * 10, b"x"), (b"x",) * 11])
async def test_a_body_over_the_limit_is_refused(parts: Sequence[bytes]) -> None:
    with pytest.raises(TooLarge) as refused:
        await body_of(*parts)
    assert refused.value.params == {"limit": 10}


async def test_a_long_body_is_collected_by_the_server_once_there_is_memory_for_it() -> None:
    memory = MemoryBudget(2**20, 0)
    size = 300_000
    found: list[bytearray] = []

    def collect(whole: bytearray) -> bool:
        assert memory.total == size
        whole += b"x" * 1000
        found.append(whole)
        return True

    async def receive() -> Message:
        found[0].extend(b"y" * 149_500)
        return {"type": "http.request", "body": b"", "more_body": len(found[0]) < size}

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    length = [(b"content-length", b"%d" % size)]
    scope = {"headers": length, "held": memory.reserve("requests"), "collect": collect}
    body = await BodyReader(2**20).read(scope, receive)
    assert body == b"x" * 1000 + b"y" * 299_000
    with pytest.raises(ClientDisconnect):
        await BodyReader(2**20).read(scope | {"held": unlimited().reserve("requests")}, nothing)


async def test_a_long_body_that_is_announced_is_not_read() -> None:
    with pytest.raises(TooLarge):
        await body_of(content_length="11")
    assert await body_of(b"abc", content_length="3") == b"abc"
    assert await body_of(b"abc", content_length="rubbish") == b"abc"


async def test_a_client_that_disconnects_in_the_middle() -> None:
    with pytest.raises(ClientDisconnect):
        await body_of(b"abc", more=True)


async def test_bodies_are_held_until_their_requests_end() -> None:
    memory = MemoryBudget(100, 10)  # a half of it for bodies
    bodies = BodyReader(50)
    first, second = memory.reserve("requests"), memory.reserve("requests")
    scope = {"headers": [], "held": first}
    assert await bodies.read(scope, receiving(b"x" * 20, b"y" * 25)) == b"x" * 20 + b"y" * 25
    with pytest.raises(Unavailable, match="memory") as refused:
        await bodies.read({"headers": [], "held": second}, receiving(b"x" * 6))
    assert refused.value.headers == {"retry-after": "5"}
    first.release()
    await bodies.read({"headers": [], "held": second}, receiving(b"x" * 50))
    assert memory.total == 50


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_io, "_BODY_TIME", 0.01)

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(RequestTimeout, match="did not arrive"):
        await BodyReader(10).read({"headers": [], "held": unlimited().reserve("requests")}, never)


@pytest.mark.parametrize(
    ("body", "error", "field"),
    [
        (b'{"id":"","status":"success","containers":[]}', "id: expected", "id"),
        (b'{"id":1,"status":"success","containers":[]}', "id: expected text", "id"),
        (b'{"id":"a","containers":[]}', "status: expected text, found nothing", "status"),
        (
            b'{"id":"a","status":"x","containers":[1]}',
            "containers[0]: expected text, found a whole number",
            "containers[0]",
        ),
        (b"[]", "body: expected an object, found a list", ""),
        (b"", "Expected a JSON body, found nothing", ""),
        (b"{]", "Malformed JSON", ""),
    ],
)
def test_a_wrong_body_is_explained(body: bytes, error: str, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        decode(body, REPORTS)
    assert refused.value.message.startswith(error)
    assert refused.value.params == ({"field": field} if field else {})
    assert "`" not in refused.value.message
    assert "msgspec" not in refused.value.message


def test_a_wrong_part_of_a_body_is_named() -> None:
    with pytest.raises(BadRequest, match=r"^item: expected an object"):
        decode(msgspec.Raw(b"1"), REPORTS, "item")


def test_text_that_is_not_utf8_is_found_where_it_is() -> None:
    check_utf8("ü".encode())
    with pytest.raises(BadRequest, match="not UTF-8 at byte 3"):
        check_utf8(b'{"a\xff"}')


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", {}),
        (b"id=a&id=b&pending=true", {"id": ["a", "b"], "pending": ["true"]}),
        (b"id=%C3%BC+x", {"id": ["ü x"]}),
        (b"id=%FF", {"id": ["\ufffd"]}),
        (b"id=&other", {"id": [""], "other": [""]}),
    ],
)
def test_the_query_is_read(text: bytes, found: dict[str, Any]) -> None:
    assert query({"query_string": text}, 10) == found


def test_too_many_parameters() -> None:
    with pytest.raises(BadRequest, match="at most 10 parameters"):
        query({"query_string": b"a=1&" * 11}, 10)


async def test_no_browser_takes_an_answer_for_a_page_or_keeps_it(tmp_path: Path) -> None:
    async with (
        serving(Echo()) as url,
        running(tmp_path, {"containers": [{"id": "echo", "url": url}]}) as node,
    ):
        job = {"containers": ["echo"], "data": {"chunks": ["<script>"]}}
        replies = [
            await node.get("/info"),
            await node.get("/nothing"),
            await node.post("/api/jobs", b"["),
            await node.post("/api/jobs", job),
            await node.post("/api/jobs/stream", job),
        ]
        assert [reply.status for reply in replies] == [200, 404, 400, 200, 200]
        for reply in replies:
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("rate", "arrives"), [(2000, True), (200_000, False)])
async def test_a_body_has_time_as_long_as_it_is_fast_enough(
    monkeypatch: pytest.MonkeyPatch, rate: int, arrives: bool
) -> None:
    monkeypatch.setattr(json_io, "_BODY_TIME", 0.1)
    sent = 0

    async def receive() -> Message:
        nonlocal sent
        await asyncio.sleep(0.03)
        sent += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": sent < 20}

    scope = {"headers": [], "held": unlimited().reserve("requests")}
    reading = BodyReader(2**20, rate).read(scope, receive)
    if arrives:
        assert len(await reading) == 20_000
        return
    with pytest.raises(RequestTimeout, match="min_body_bytes_per_second") as refused:
        await reading
    assert refused.value.params["received"] == sent * 1000
