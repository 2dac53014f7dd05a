"""Streams: events of containers unchanged, texts as events, their ends, failures in the middle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from infernet_edge.api.openai import streams
from tests.support.asking_models import CHAT, MESSAGES, FrontedNode, fronted
from tests.support.managing import eventually
from tests.support.running import running
from tests.support.serving import serving
from tests.support.text_service import TextService

EVENT = 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
ERROR = b'data: {"error":{"message":'


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[FrontedNode]:
    async with fronted(tmp_path) as started:
        yield started


def sends(node: FrontedNode, *chunks: str | bytes | None, kind: str = "text/event-stream") -> None:
    node.texts.chunks, node.texts.kind = [*chunks], kind


async def streamed(node: FrontedNode, path: str = "/v1/chat/completions", **keys: Any) -> bytes:
    reply = await node.post(path, CHAT | {"stream": True} | keys)
    assert reply.status == 200, reply
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["x-accel-buffering"] == "no"
    identifier = reply.headers["x-infernet-job-id"]
    assert (await node.finished(identifier))["status"] in ("success", "failed")
    return bytes(reply.body)


def objects(text: bytes) -> list[Any]:
    events = text.decode().split("\n\n")
    assert events.pop() == ""
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


async def test_the_events_of_a_server_pass_unchanged(node: FrontedNode) -> None:
    text = await streamed(node, model="llm/qwen")
    expected = b"".join(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(3))
    assert text == expected + b"data: [DONE]\n\n"
    assert node.server.request == {**CHAT, "model": "qwen", "stream": True}
    found = await node.finished((await node.last_job())["id"])
    assert found["result"]["output"]["output"].encode() == text


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((EVENT % "a", "data: [DONE]\n\n"), EVENT % "a" + "data: [DONE]\n\n"),
        ((EVENT % "a",), EVENT % "a" + "data: [DONE]\n\n"),
        ((EVENT % "a" + "data:[DONE]",), EVENT % "a" + "data:[DONE]\n\n"),
        (("data: 1\r\n\r\n", "data: [DONE]\r\n\r\n"), "data: 1\r\n\r\ndata: [DONE]\r\n\r\n"),
        (("data: 1\n", "\nda", "ta: 2\n\n: x"), "data: 1\n\ndata: 2\n\n: x\n\ndata: [DONE]\n\n"),
        (("data: [DO", "NE]\n\n"), "data: [DONE]\n\n"),
        (('data: "data: [DONE]"\n\n',), 'data: "data: [DONE]"\n\ndata: [DONE]\n\n'),
        ((), "data: [DONE]\n\n"),
        (("data: " + "x" * 200_000 + "\n\n",), "data: " + "x" * 200_000 + "\n\ndata: [DONE]\n\n"),
    ],
)
async def test_events_and_their_end(
    node: FrontedNode, chunks: tuple[str, ...], expected: str
) -> None:
    sends(node, *chunks)
    assert (await streamed(node)).decode() == expected


async def test_a_text_becomes_events(node: FrontedNode) -> None:
    sends(node, "Grü".encode()[:4], "Grü".encode()[4:] + b"ss", b"e\xff", kind="text/plain")
    first, *parts, last = objects(await streamed(node))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["object"] == "chat.completion.chunk"
    texts = [part["choices"][0]["delta"]["content"] for part in parts]
    assert "".join(texts) == "Grüsse\ufffd"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert {each["id"] for each in [first, *parts, last]} == {first["id"]}
    found = objects(await streamed(node, "/v1/completions", prompt="x", messages=None))
    assert "".join(each["choices"][0]["text"] for each in found) == "Grüsse\ufffd"
    assert {each["object"] for each in found} == {"text_completion"}


async def test_an_empty_text(node: FrontedNode) -> None:
    sends(node, kind="text/plain")
    assert [each["choices"][0]["finish_reason"] for each in objects(await streamed(node))] == [
        None,
        "stop",
    ]


async def test_an_answer_that_comes_as_a_whole(node: FrontedNode) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    sends(node, json.dumps(whole)[:20], json.dumps(whole)[20:], kind="application/json")
    part, end = objects(await streamed(node))
    assert part["choices"][0]["delta"] == {**message, "tool_calls": [{"index": 0, **call}]}
    assert end["choices"][0]["finish_reason"] == "tool_calls"
    sends(node, '["one", {"text": "two"}]', kind="application/json")
    found = [each["choices"][0] for each in objects(await streamed(node))]
    assert [(each["index"], each["delta"].get("content")) for each in found] == [
        (0, "one"),
        (0, None),
        (1, "two"),
        (1, None),
    ]
    sends(node, '{"inner": "part"}', kind="text/plain")
    assert "part" in str(objects(await streamed(node, model="part")))
    sends(node, "{", kind="application/json")
    assert (await streamed(node)).startswith(ERROR)
    sends(node, '"' + "x" * 2**20 + '"', kind="application/json")
    assert (await streamed(node)).startswith(ERROR)


async def test_a_failure_in_the_middle_is_one_error(node: FrontedNode) -> None:
    sends(node, EVENT % "a", 'data: {"id":"2","choi', None)
    text = await streamed(node)
    event, error, rest = text.decode().split("\n\n")
    assert event + "\n\n" == EVENT % "a"
    assert rest == ""
    found = json.loads(error.removeprefix("data: "))["error"]
    assert found["type"] == "server_error"
    assert "in the middle of its answer" in found["message"]
    sends(node, "Hel", None, kind="text/plain")
    text = await streamed(node)
    assert text.count(b"data: ") == 3
    assert b"[DONE]" not in text
    async with node.client() as client:
        events = await client.chat.completions.create(
            model="greeter", messages=MESSAGES, stream=True
        )
        with pytest.raises(openai.APIError, match="in the middle of its answer"):
            async for _ in events:
                pass


async def test_an_error_that_a_server_sends_in_the_middle(tmp_path: Path) -> None:
    """It is the one error of the stream, and the job fails."""
    texts = TextService()
    texts.kind = "text/event-stream"
    texts.chunks = [EVENT % "a", 'data: {"error":{"message":"out of memory","code":500}}\n\n']
    async with serving(texts) as url:
        containers = [{"id": "llm", "url": url, "protocol": "openai", "models": ["m"]}]
        async with running(tmp_path, {"containers": containers}) as node:
            reply = await node.post("/v1/chat/completions", CHAT | {"model": "m", "stream": True})
            text = reply.body.decode()
            assert text.startswith(EVENT % "a")
            assert text.count("out of memory") == text.count('"error"') == 1
            assert "[DONE]" not in text
            found = await node.finished(reply.headers["x-infernet-job-id"])
            assert found["status"] == "failed"
            assert found["result"]["error"] == "out of memory"


async def test_a_failure_within_an_event_that_is_passed_on_in_parts(node: FrontedNode) -> None:
    """No error can follow: the answer is cut off, which clients detect."""
    sends(node, "data: " + "x" * 200_000, None)
    async with node.client() as client:
        events = await client.chat.completions.create(
            model="greeter", messages=MESSAGES, stream=True
        )
        with pytest.raises(openai.APIConnectionError):
            async for _ in events:
                pass


@pytest.mark.parametrize("model", ["greeter", "llm/qwen"])
async def test_a_failure_before_anything_was_sent_has_a_status(
    node: FrontedNode, model: str
) -> None:
    refusal = {"error": {"message": "too long", "type": "t", "param": "messages", "code": "c"}}
    node.texts.status, node.texts.answer = 400, refusal
    node.server.error = 400, refusal
    async with node.client() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
    assert caught.value.code == "c"
    assert caught.value.param == "messages"
    assert "too long" in caught.value.message


async def test_a_cancelled_stream_ends_with_an_error(node: FrontedNode) -> None:
    sends(node, "Hel", "wait", kind="text/plain")
    async with node.client() as client:
        events = await client.chat.completions.create(
            model="greeter", messages=MESSAGES, stream=True
        )
        await anext(events)
        job = events.response.headers["x-infernet-job-id"]
        assert (await node.request("DELETE", f"/api/jobs/{job}")).status == 200
        with pytest.raises(openai.APIError) as caught:
            async for _ in events:
                pass
    assert caught.value.code == "job_cancelled"
    await eventually(lambda: node.texts.left == 1)


async def test_a_slow_container_gets_comments_until_it_begins(
    node: FrontedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_QUIET", 0.1)
    monkeypatch.setattr("infernet_edge.api.openai.front._OPENING_TIME", 0.1)
    node.texts.hold = True
    waiting = asyncio.create_task(streamed(node))
    await eventually(lambda: bool(node.texts.calls))
    await asyncio.sleep(0.5)
    node.texts.release()
    text = await waiting
    assert text.count(b": the job waits\n\n") >= 2
    assert text.endswith(b"data: [DONE]\n\n")
    async with node.client() as client:
        events = await client.chat.completions.create(
            model="greeter", messages=MESSAGES, stream=True
        )
        assert len([event async for event in events]) == 4
