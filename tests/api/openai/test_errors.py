"""Errors in OpenAI's form, for every cause, and the classes of its library for them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.asking_models import CHAT, MESSAGES, FrontedNode, fronted
from tests.support.ports import free_port
from tests.support.running import running

TOKENS = {"laptop": "laptop-token-000001", "screen": {"token": "s" * 20, "scope": "read"}}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[FrontedNode]:
    async with fronted(tmp_path, {"server": {"max_body_bytes": 4096}}) as started:
        yield started


BODIES: list[tuple[str, Any, str | None]] = [
    ("chat/completions", b"{", None),
    ("chat/completions", b"", None),
    ("chat/completions", [], None),
    ("chat/completions", b'{"model": "\xff"}', None),
    ("chat/completions", b'{"model":"greeter","messages":[{"role":"u","x":"\xff"}]}', None),
    ("chat/completions", b"[" * 3000, None),
    ("chat/completions", {"messages": MESSAGES}, "model"),
    ("chat/completions", CHAT | {"model": None}, "model"),
    ("chat/completions", CHAT | {"model": ""}, "model"),
    ("chat/completions", {"model": "greeter"}, "messages"),
    ("chat/completions", CHAT | {"messages": "Hello"}, "messages"),
    ("chat/completions", CHAT | {"messages": []}, "messages"),
    ("chat/completions", CHAT | {"messages": [1]}, "messages[0]"),
    ("chat/completions", CHAT | {"messages": [MESSAGES[0], {}]}, "messages[1].role"),
    ("chat/completions", CHAT | {"stream": "yes"}, "stream"),
    ("chat/completions", CHAT | {"stream_options": 1}, "stream_options"),
    (
        "chat/completions",
        CHAT | {"stream_options": {"include_usage": 1}},
        "stream_options.include_usage",
    ),
    ("chat/completions", CHAT | {"n": 0}, "n"),
    ("chat/completions", CHAT | {"n": "2"}, "n"),
    ("chat/completions", CHAT | {"n": 2}, "n"),
    ("chat/completions", CHAT | {"n": 2, "stream": True}, "n"),
    ("completions", {"model": "greeter"}, "prompt"),
    ("completions", {"model": "greeter", "prompt": {}}, "prompt"),
    ("completions", CHAT | {"prompt": "x"}, "messages"),
    ("embeddings", {"model": "greeter", "input": []}, "input"),
    ("embeddings", {"model": "greeter", "input": 7}, "input"),
    ("embeddings", {"model": "greeter", "input": "x", "prompt": "x"}, "prompt"),
    ("embeddings", {"model": "greeter", "input": "x", "encoding_format": 1}, "encoding_format"),
]


@pytest.mark.parametrize(("path", "body", "param"), BODIES)
async def test_a_wrong_request(node: FrontedNode, path: str, body: Any, param: str | None) -> None:
    reply = await node.post(f"/v1/{path}", body)
    assert reply.status == 400, reply
    error = reply.body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"].startswith(param or "")
    assert node.texts.calls == []


async def test_an_unknown_and_an_ambiguous_model(node: FrontedNode) -> None:
    async with node.client() as client:
        for name, text in {
            "gpt": 'no model "gpt": expected one of "owner/small", "llm/qwen", "greeter"',
            "qwen": 'in several containers: expected "llm/qwen" or "hi/qwen"',
            "secret": 'no model "secret"',
            "hi/none": 'no model "hi/none"',
            "x" * 1000: "x" * 199 + "…",
        }.items():
            with pytest.raises(openai.NotFoundError, match=text) as caught:
                await client.chat.completions.create(model=name, messages=MESSAGES)
            assert caught.value.code == "model_not_found"
            assert caught.value.param == "model"


async def test_a_long_body(node: FrontedNode) -> None:
    async with node.client() as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.completions.create(model="greeter", prompt="x" * 5000)
    assert caught.value.status_code == 413
    assert caught.value.code == "request_too_large"


async def test_tokens_and_scopes(tmp_path: Path) -> None:
    async with fronted(tmp_path, {"server": {"tokens": TOKENS}}) as node:
        assert isinstance(TOKENS["laptop"], str)
        async with node.client(TOKENS["laptop"]) as client:
            answer = await client.chat.completions.create(model="greeter", messages=MESSAGES)
            assert answer.choices[0].message.content == "Hello"
        own = {"authorization": f"Bearer {TOKENS['laptop']}"}
        (job,) = (await node.get("/api/jobs", own)).body
        assert job == answer.id.removeprefix("chatcmpl-")
        async with node.client("wrong") as client:
            with pytest.raises(openai.AuthenticationError) as wrong:
                await client.models.list()
        assert wrong.value.code == "invalid_api_key"
        assert (await node.get("/v1/models")).status == 401
        async with node.client("s" * 20) as client:
            assert len((await client.models.list()).data) == 6
            with pytest.raises(openai.PermissionDeniedError, match="scope submit") as refused:
                await client.chat.completions.create(model="greeter", messages=MESSAGES)
        assert refused.value.type == "permission_error"


async def test_the_rate_limit(tmp_path: Path) -> None:
    limit = {"rate_limit": {"num_requests": 2, "period": 60}}
    async with fronted(tmp_path, {"server": limit}) as node, node.client() as client:
        for _ in range(2):
            await client.chat.completions.create(model="greeter", messages=MESSAGES)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="greeter", messages=MESSAGES)
        assert caught.value.code == "rate_limit_exceeded"
        assert int(caught.value.response.headers["retry-after"]) <= 60
        await client.models.list()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/responses", 404),
        ("GET", "/v1/", 404),
    ],
)
async def test_other_paths_and_methods(
    node: FrontedNode, method: str, path: str, status: int
) -> None:
    reply = await node.request(method, path)
    assert reply.status == status
    assert reply.body["error"]["type"] == "invalid_request_error"
    assert ("allow" in reply.headers) is (status == 405)


async def test_other_host_names_and_pages(node: FrontedNode) -> None:
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        reply = await node.chat(headers)
        assert (reply.status, reply.body["error"]["type"]) == (403, "permission_error")


REFUSAL = {"error": {"message": "too long", "type": "t", "param": None, "code": "c"}}


@pytest.mark.parametrize(
    ("answered", "status", "kind"),
    [
        (400, 400, openai.BadRequestError),
        (401, 500, openai.InternalServerError),
        (403, 500, openai.InternalServerError),
        (404, 404, openai.NotFoundError),
        (413, 413, openai.APIStatusError),
        (422, 422, openai.UnprocessableEntityError),
        (429, 429, openai.RateLimitError),
        (500, 500, openai.InternalServerError),
        (503, 503, openai.InternalServerError),
    ],
)
async def test_a_status_of_a_container(
    node: FrontedNode, answered: int, status: int, kind: type[openai.APIStatusError]
) -> None:
    node.server.error = answered, REFUSAL
    async with node.client() as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(model="llm/qwen", messages=MESSAGES)
    error = caught.value
    assert error.status_code == status
    assert "too long" in error.message
    assert error.code == ("c" if status < 500 else {500: None, 503: "service_unavailable"}[status])
    headers = error.response.headers
    assert headers.get("x-should-retry") == ("false" if status == 500 else None)
    assert ("retry-after" in headers) is (status in (429, 503))
    found = await node.finished(headers["x-infernet-job-id"])
    assert found["result"]["error"] == "too long"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "given"),
    [("77", "77"), ("", "5"), ("0", "5"), ("Fri, 27 Nov 2026 15:00:00 GMT", "5")],
)
async def test_when_a_container_asks_for_a_repetition(
    node: FrontedNode, asked: str, given: str, stream: bool
) -> None:
    node.server.error, node.server.headers = (429, REFUSAL), {"Retry-After": asked}
    reply = await node.chat(model="llm/qwen", stream=stream)
    assert (reply.status, reply.headers["retry-after"]) == (429, given)


@pytest.mark.parametrize("body", ["plain", {"error": "text"}, {"error": {"code": 7}}, [], None])
async def test_a_status_with_a_body_of_another_form(node: FrontedNode, body: Any) -> None:
    node.server.error = 400, body
    reply = await node.chat(model="llm/qwen")
    assert reply.status == 400
    error = reply.body["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", None)
    assert error["message"]


@pytest.mark.parametrize("body", [{"description": "no"}, {"detail": "no"}, {"error": "no"}, "no"])
async def test_a_status_of_a_container_of_infernet(node: FrontedNode, body: Any) -> None:
    node.texts.status, node.texts.answer = 422, body
    for stream in (False, True):
        reply = await node.chat(stream=stream)
        assert (reply.status, reply.body["error"]["message"].strip('"')) == (422, "no")


async def test_the_schema_of_a_container(tmp_path: Path) -> None:
    """A request that does not fit is refused before anything is stored, and the field is named."""
    schema = {"properties": {"seed": {"type": "integer"}}, "required": ["seed"]}
    async with fronted(tmp_path, input_schema=schema) as node, node.client() as client:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.create(
                    model="greeter", messages=MESSAGES, stream=stream, extra_body={"seed": "x"}
                )
            assert caught.value.param == "seed"
            assert caught.value.body["message"].startswith("seed: expected")  # type: ignore[index]
        assert (await node.get("/api/jobs")).body == []
        answer = await client.chat.completions.create(model="greeter", messages=MESSAGES, seed=1)
        assert answer.choices[0].message.content == "Hello"


async def test_an_error_in_an_answer(node: FrontedNode) -> None:
    node.texts.answer = {"error": {"message": "out of memory"}}
    reply = await node.chat()
    assert (reply.status, reply.body["error"]["message"]) == (500, "out of memory")


async def test_a_failed_request_runs_once(node: FrontedNode) -> None:
    """The library would repeat what is answered with 500; the node says that it must not."""
    node.texts.status, node.texts.answer = 500, "broken"
    async with node.client(max_retries=2) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="greeter", messages=MESSAGES)
    assert len(node.texts.calls) == 1


async def test_a_container_that_is_down(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    containers = [
        {"id": "down", "url": url, "models": ["model"]},
        {"id": "llm", "url": url, "protocol": "openai"},
    ]
    async with running(tmp_path, {"containers": containers}) as node:
        for stream in (False, True):
            for model in ("model", "llm/any"):
                body = CHAT | {"model": model, "stream": stream}
                reply = await node.post("/v1/chat/completions", body)
                assert reply.status == 503, reply
                assert reply.headers["retry-after"]
                assert "x-infernet-job-id" in reply.headers
        reply = await node.post("/v1/chat/completions", CHAT | {"model": "any"})
        assert reply.status == 503
        assert "have not listed theirs (llm: " in reply.body["error"]["message"]


async def test_half_a_request_is_no_job(node: FrontedNode) -> None:
    port = int(node.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{"
        )
    assert (await node.get("/api/jobs")).body == []
