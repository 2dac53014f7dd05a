"""OpenAI's own library, unmodified, with a real node: models, answers, jobs, interruptions."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.asking_models import CHAT, MESSAGES, FrontedNode, fronted
from tests.support.managing import eventually
from tests.support.running import Reply, running


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[FrontedNode]:
    async with fronted(tmp_path) as started:
        yield started


def error_of(caught: pytest.ExceptionInfo[Any]) -> dict[str, Any]:
    body = caught.value.body
    assert set(body) == {"message", "type", "param", "code"}
    return dict(body)


async def test_models(node: FrontedNode) -> None:
    async with node.client() as client:
        listed = (await client.models.list()).data
        assert [(each.id, each.owned_by, each.object) for each in listed] == [
            ("owner/small", "llm", "model"),
            ("llm/qwen", "llm", "model"),
            ("greeter", "hi", "model"),
            ("hi/qwen", "hi", "model"),
            ("grüße/größe 😀", "raw", "model"),
            ("part", "part", "model"),
        ]
        assert all(each.created > 1_700_000_000 for each in listed)
        for model in listed:
            assert await client.models.retrieve(model.id) == model
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("secret")
    assert error_of(caught)["code"] == "model_not_found"


def test_chats_and_completions_of_the_synchronous_client(tmp_path: Path) -> None:
    def talk(url: str) -> list[str]:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        with client:
            chat = client.chat.completions.create(model="greeter", messages=MESSAGES)
            done = client.completions.create(model="hi/qwen", prompt="Good")
            streamed = client.chat.completions.create(
                model="greeter", messages=MESSAGES, stream=True
            )
            parts = [event.choices[0].delta.content or "" for event in streamed]
            assert client.models.list().data
        return [chat.choices[0].message.content or "", done.choices[0].text, "".join(parts)]

    async def run() -> None:
        async with fronted(tmp_path) as node:
            assert await asyncio.to_thread(talk, node.url) == ["Hello", "Hello", "Hello"]

    asyncio.run(run())


async def test_a_server_of_openai_gets_and_gives_everything_unchanged(node: FrontedNode) -> None:
    request = b'{"model":"owner/small", "top_k": 1.50,"messages":[{"role":"user","content":"A"}]}'
    reply = await node.post("/v1/chat/completions", request)
    assert reply.status == 200
    path, body = node.server.asked[-1]
    assert (path, body) == ("/v1/chat/completions", request)
    stored = await node.finished(reply.headers["x-infernet-job-id"])
    assert stored["result"]["output"] == reply.body
    assert reply.body["choices"][0]["message"]["content"] == "A"
    reply = await node.post("/v1/completions", {"model": "llm/qwen", "prompt": "Ä", "n": 3})
    assert reply.body["choices"][0]["text"] == "Ä"
    assert node.server.asked[-1][0] == "/v1/completions"
    assert node.server.request == {"model": "qwen", "prompt": "Ä", "n": 3}
    reply = await node.post("/v1/embeddings", {"model": "owner/small", "input": ["x"]})
    assert reply.body["data"] == [{"embedding": [0.5, 1.0]}]


async def test_a_long_request_and_a_long_answer(node: FrontedNode) -> None:
    text = "ü" * 700_000
    message = {"role": "user", "content": text}
    for model in ("llm/qwen", "owner/small"):
        reply = await node.chat(model=model, messages=[message])
        assert reply.status == 200
        assert reply.body["choices"][0]["message"]["content"] == text
    node.texts.answer = text
    reply = await node.chat(messages=[message])
    assert reply.body["choices"][0]["message"]["content"] == text
    assert node.texts.calls[-1]["data"]["messages"] == [message]


async def test_what_a_container_of_infernet_gets(node: FrontedNode) -> None:
    async with node.client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="hi/qwen", messages=MESSAGES, temperature=0.5
        )
        answer = raw.parse()
    identifier = raw.headers["x-infernet-job-id"]
    assert answer.id == f"chatcmpl-{identifier}"
    assert (answer.object, answer.model) == ("chat.completion", "hi/qwen")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is None
    call = node.texts.calls[-1]
    assert call["data"] == {"model": "qwen", "messages": MESSAGES, "temperature": 0.5}
    assert (call["source"], call["destination"]) == (1, 1)
    assert (await node.finished(identifier))["result"] == {"container": "hi", "output": "Hello"}


async def test_usage_is_passed_on(node: FrontedNode) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    node.texts.answer = {"output": "Hello", "usage": usage}
    node.texts.chunks, node.texts.kind = [json.dumps(node.texts.answer)], "application/json"
    async with node.client() as client:
        answer = await client.chat.completions.create(model="greeter", messages=MESSAGES)
        assert answer.usage is not None
        assert answer.usage.total_tokens == 5
        options: Any = {"include_usage": True}
        stream = await client.chat.completions.create(
            model="greeter", messages=MESSAGES, stream=True, stream_options=options
        )
        events = [event async for event in stream]
    assert events[-1].choices == []
    assert events[-1].usage is not None
    assert events[-1].usage.prompt_tokens == 3
    assert node.texts.calls[-1]["data"]["stream_options"] == options


async def test_embeddings(node: FrontedNode) -> None:
    node.texts.answer = {"embeddings": [[1, 2.5], [3, -4]]}
    async with node.client() as client:
        found = await client.embeddings.create(model="greeter", input=["a", "b"])
        assert [each.embedding for each in found.data] == [[1, 2.5], [3, -4]]
        with pytest.raises(openai.InternalServerError) as caught:
            await client.embeddings.create(model="greeter", input="a")
    assert "expected 1" in error_of(caught)["message"]
    body = {"model": "greeter", "input": ["a", "b"], "encoding_format": "base64"}
    reply = await node.post("/v1/embeddings", body)
    first = base64.b64decode(reply.body["data"][0]["embedding"])
    assert struct.unpack("<2f", first) == (1, 2.5)


async def test_a_service_of_its_own_kind(node: FrontedNode) -> None:
    node.texts.answer = {"inner": {"text": "within"}}
    reply = await node.chat(model="grüße/größe 😀", seed=7)
    assert json.loads(reply.body["choices"][0]["message"]["content"]) == node.texts.answer
    assert node.texts.calls[-1] == {**CHAT, "model": "grüße/größe 😀", "seed": 7}
    reply = await node.chat(model="part/part")
    assert reply.body["choices"][0]["message"]["content"] == "within"


# Jobs


async def test_a_request_is_a_job_of_its_client(node: FrontedNode) -> None:
    node.texts.hold = True
    waiting = asyncio.create_task(node.chat(stream=False))
    await eventually(lambda: bool(node.texts.calls))
    job = await node.last_job()
    assert (job["status"], job["client"], job["containers"]) == ("running", "127.0.0.1", ["hi"])
    assert (await node.get("/api/jobs?pending=true")).body == [job["id"]]
    node.texts.release()
    reply = await waiting
    assert reply.headers["x-infernet-job-id"] == job["id"]
    assert reply.body["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_job_ends_its_request(node: FrontedNode, stream: bool) -> None:
    node.texts.hold = True
    waiting = asyncio.create_task(node.chat(stream=stream))
    await eventually(lambda: bool(node.texts.calls))
    job = (await node.last_job())["id"]
    assert (await node.request("DELETE", f"/api/jobs/{job}")).status == 200
    reply = await waiting
    assert reply.status == 500
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-infernet-job-id"] == job
    assert reply.body["error"]["message"] == "Cancelled by the client"
    assert reply.body["error"]["code"] == "job_cancelled"
    await eventually(lambda: node.texts.left == 1)


async def read_all(client: openai.AsyncOpenAI, stream: bool) -> None:
    answer: Any = await client.chat.completions.create(
        model="greeter", messages=MESSAGES, stream=stream
    )
    async for _ in answer:
        pass


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_its_job(node: FrontedNode, stream: bool) -> None:
    node.texts.hold = not stream
    node.texts.chunks = ["Hel", "wait"]
    async with node.client(timeout=0.5) as client:
        with pytest.raises(openai.APITimeoutError):
            await read_all(client, stream)
    await eventually(lambda: node.texts.left == 1)
    found = await node.finished((await node.last_job())["id"])
    assert found["status"] == "failed"


async def test_a_request_waits_for_a_slot(tmp_path: Path) -> None:
    async with fronted(tmp_path, max_concurrency=1, timeout=1.5) as node:
        node.texts.hold = True
        first = asyncio.create_task(node.chat())
        await eventually(lambda: bool(node.texts.calls))
        second = asyncio.create_task(node.chat())
        await eventually(lambda: len(node.parts.store.pending) == 2)
        node.texts.release()
        assert [(await each).status for each in (first, second)] == [200, 200]


async def test_a_request_that_gets_no_slot_is_answered_with_503(tmp_path: Path) -> None:
    async with fronted(tmp_path, max_concurrency=1, timeout=1) as node:
        node.texts.hold = True
        first = await node.job(["hi"], {})
        await eventually(lambda: bool(node.texts.calls))
        reply = await node.chat()
        found = (await node.result(reply.headers["x-infernet-job-id"]))["result"]
        if found["error"] == "Deadline passed":  # else the first one reached its limit before
            assert reply.status == 503
            assert reply.headers["retry-after"] == "5"
            assert "No slot" in reply.body["error"]["message"]
        assert (await node.finished(first))["status"] == "failed"
        assert len(node.parts.store.pending) == 0


async def test_a_full_queue(tmp_path: Path) -> None:
    async with fronted(tmp_path, {"jobs": {"max_pending": 1}}) as node:
        node.texts.hold = True
        await node.job(["hi"], {})
        for stream in (False, True):
            async with node.client() as client:
                with pytest.raises(openai.InternalServerError) as caught:
                    await client.chat.completions.create(
                        model="greeter", messages=MESSAGES, stream=stream
                    )
            assert caught.value.status_code == 503
            assert error_of(caught)["message"] == "Too many pending jobs"
            assert caught.value.response.headers["retry-after"]


async def test_a_repeated_request_gets_the_first_answer(node: FrontedNode) -> None:
    key = {"idempotency-key": "one"}
    first = await node.chat(key)
    again = await node.chat(key)
    assert len(node.texts.calls) == 1
    assert first.headers["x-infernet-job-id"] == again.headers["x-infernet-job-id"]
    assert first.body["choices"] == again.body["choices"]
    other = await node.chat(key, seed=2)
    assert (other.status, other.body["error"]["param"]) == (422, None)
    refused = await node.chat({"idempotency-key": "two"}, stream=True)
    assert refused.status == 400
    assert refused.body["error"]["param"] == "idempotency-key"


DETAILS = {"message": "too long", "type": "of_its_own", "param": "messages", "code": "context"}


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429, 503, 401, 500])
async def test_a_repeated_request_gets_the_first_error(tmp_path: Path, status: int) -> None:
    """In the same run of the node, and in the next one."""
    async with fronted(tmp_path) as node:
        node.server.error, node.server.headers = (status, {"error": DETAILS}), {"retry-after": "7"}
        node.texts.status, node.texts.answer = status, {"error": DETAILS}
        asked = {model: CHAT | {"model": model} for model in ("owner/small", "greeter")}
        path, first = "/v1/chat/completions", {}
        for model, body in asked.items():
            key = {"idempotency-key": model}
            first[model] = await node.post(path, body, key)
            again = await node.post(path, body, key)
            assert_same(again, first[model])
            assert again.status == (500 if status == 401 else status)
            if status < 500 and status != 401:
                assert first[model].body["error"] == DETAILS
        calls = len(node.server.asked), len(node.texts.calls)
        llm, texts = (each.url for each in node.node.config.containers[:2])
        await node.node.stop()
        containers = [
            {"id": "llm", "url": llm, "protocol": "openai"},
            {"id": "hi", "url": texts, "models": ["greeter"]},
        ]
        async with running(tmp_path, {"containers": containers}) as later:
            for model, body in asked.items():
                again = await later.post(path, body, {"idempotency-key": model})
                assert_same(again, first[model])
        assert calls == (len(node.server.asked), len(node.texts.calls))


def assert_same(again: Reply, first: Reply) -> None:
    """Of two answers to the same request."""
    assert (again.status, again.body) == (first.status, first.body)
    for name in ("x-infernet-job-id", "x-should-retry", "retry-after"):
        assert again.headers.get(name) == first.headers.get(name)


async def test_a_request_with_a_key_goes_on_without_its_client(node: FrontedNode) -> None:
    node.texts.hold = True
    key = {"idempotency-key": "one"}
    async with node.client(timeout=0.3) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(
                model="greeter", messages=MESSAGES, extra_headers=key
            )
    node.texts.release()
    async with node.client() as client:
        found = await client.chat.completions.create(
            model="greeter", messages=MESSAGES, extra_headers=key
        )
    assert found.choices[0].message.content == "Hello"
    assert len(node.texts.calls) == 1


@pytest.mark.parametrize("key", ["", "one"])
async def test_a_restart_in_the_middle(tmp_path: Path, key: str) -> None:
    """An interrupted request fails at the next start; one with a key runs again."""
    headers = {"idempotency-key": key} if key else None
    async with fronted(tmp_path) as node:
        node.texts.hold = True
        waiting = asyncio.create_task(node.chat(headers))
        await eventually(lambda: bool(node.texts.calls))
        job = (await node.last_job())["id"]
        url = node.node.config.containers[1].url
        containers = [{"id": "hi", "url": url, "models": ["greeter"]}]
        stopping = asyncio.create_task(node.node.stop())
        reply = await waiting
        assert reply.status == 503
        assert reply.headers["x-infernet-job-id"] == job
        await stopping
        node.texts.release()
        async with running(tmp_path, {"containers": containers}) as again:
            found = await again.finished(job)
            if key:
                assert found["status"] == "success"
                repeated = await again.post("/v1/chat/completions", CHAT, headers)
                assert repeated.body["id"] == f"chatcmpl-{job}"
            else:
                assert found["status"] == "failed"
                assert found["result"]["error"] == "The node stopped before the job ended"
                assert len(node.texts.calls) == 1
