"""A real language model in llama.cpp's own server behind the node, through both adapters."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.support.models import LlamaServer, need_model
from tests.support.running import RunningNode, running

# One worker runs them, with one server for all.
pytestmark = [pytest.mark.models, pytest.mark.xdist_group("models"), pytest.mark.timeout(180)]

PROMPT = {
    "prompt": "The capital of France is",
    "max_tokens": 8,
    "temperature": 0,
    "cache_prompt": False,  # so that the same request has the same answer
}
ENDLESS = {"prompt": "Once upon a time", "max_tokens": 1000, "ignore_eos": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    need_model()
    with LlamaServer(tmp_path_factory.mktemp("llama")) as started:
        yield started


@pytest.fixture
async def node(tmp_path: Path, server: LlamaServer) -> AsyncIterator[RunningNode]:
    openai = {"url": server.url, "protocol": "openai"}
    containers: list[dict[str, Any]] = [
        {"id": "llm", "health_path": "/health", **openai},
        {"id": "text", "path": "/v1/completions", "result": "/choices/0/text", **openai},
        {"id": "vectors", "path": "/v1/embeddings", **openai},
        # llama.cpp's interface of its own: https://github.com/ggml-org/llama.cpp, tools/server
        {
            "id": "detokenize",
            "url": server.url,
            "protocol": "http",
            "path": "/detokenize",
            "result": "/content",
        },
    ]
    async with running(tmp_path, {"containers": containers}) as started:
        yield started


async def output(node: RunningNode, container: str, data: Any) -> Any:
    found = await node.finished(await node.job([container], data), timeout=60)
    assert found["status"] == "success", found
    return found["result"]["output"]


async def direct(server: LlamaServer, path: str, data: Any = None) -> Any:
    """What the server says without the node."""
    async with aiohttp.ClientSession() as session:
        method = "GET" if data is None else "POST"
        async with session.request(method, server.url + path, json=data) as response:
            return await response.json()


async def busy_slots(server: LlamaServer) -> int:
    return sum(slot["is_processing"] for slot in await direct(server, "/slots"))


async def until_idle(server: LlamaServer) -> None:
    """Wait until the server computes nothing: an endless request would fill its context first."""
    async with asyncio.timeout(15):
        while await busy_slots(server):
            # Not often: each answer of this kind delays its look at closed connections by 1 s.
            await asyncio.sleep(1.5)


async def test_a_completion(node: RunningNode, server: LlamaServer) -> None:
    answer = await output(node, "llm", PROMPT)
    (choice,) = answer["choices"]
    assert "France" in choice["text"]
    assert answer["usage"]["completion_tokens"] == 8
    assert choice == (await direct(server, "/v1/completions", PROMPT))["choices"][0]
    assert await output(node, "text", PROMPT) == choice["text"]


async def test_a_chat(node: RunningNode) -> None:
    """A base model: the answer has its form, its text is of no use."""
    message = {"role": "user", "content": "Hello"}
    answer = await output(node, "llm", {"messages": [message], "max_tokens": 5})
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["usage"]["completion_tokens"] <= 5


async def test_a_stream(node: RunningNode) -> None:
    reply = await node.post("/api/jobs/stream", {"containers": ["llm"], "data": PROMPT})
    identifier, events = reply.body[:36].decode(), reply.body[36:].decode().lstrip()
    *texts, done = [line for line in events.split("\n\n") if line]
    assert done == "data: [DONE]"
    parts = [json.loads(each.removeprefix("data: ")) for each in texts]
    text = "".join(choice["text"] for part in parts for choice in part["choices"])
    assert len(parts) > 4
    assert text == await output(node, "text", PROMPT)
    found = await node.finished(identifier)
    assert (found["status"], found["result"]["output"]["output"].lstrip()) == ("success", events)


@pytest.mark.parametrize("how", ["cancelled", "left"])
async def test_the_server_stops_when_a_stream_ends_in_the_middle(
    node: RunningNode, server: LlamaServer, how: str
) -> None:
    body = json.dumps({"containers": ["llm"], "data": ENDLESS}).encode()
    headers = {"content-type": "application/json"}
    async with node.session.post(
        f"{node.url}/api/jobs/stream", data=body, headers=headers
    ) as response:
        content = b""
        while content.count(b"data:") < 5:
            content += await response.content.readany()
        identifier = content[:36].decode()
        assert await busy_slots(server) == 1
        if how == "cancelled":
            async with node.session.delete(f"{node.url}/api/jobs/{identifier}") as deleted:
                assert deleted.status == 200
        else:
            response.close()
        await until_idle(server)
    found = await node.finished(identifier)
    assert found["status"] == "failed"


async def test_the_server_stops_when_a_job_is_cancelled(
    node: RunningNode, server: LlamaServer
) -> None:
    identifier = await node.job(["llm"], ENDLESS)
    async with asyncio.timeout(20):
        while not await busy_slots(server):
            await asyncio.sleep(0.02)
    assert (await node.request("DELETE", f"/api/jobs/{identifier}")).status == 200
    await until_idle(server)
    assert (await node.finished(identifier))["status"] == "failed"


async def test_embeddings(node: RunningNode, server: LlamaServer) -> None:
    texts = ["The cat sits on the mat.", "A cat is on a mat.", "Interest rates rose in March."]
    answer = await output(node, "llm", {"input": texts})
    cat, other, rates = (each["embedding"] for each in answer["data"])
    assert len(cat) == 640
    assert math.isclose(similarity(cat, cat), 1, abs_tol=1e-3)
    assert similarity(cat, other) > similarity(cat, rates)
    alone = await direct(server, "/v1/embeddings", {"input": texts[:1]})
    assert similarity(cat, alone["data"][0]["embedding"]) > 0.999


def similarity(one: list[float], other: list[float]) -> float:
    """The cosine of two vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_a_client_of_openai(node: RunningNode, server: LlamaServer) -> None:
    """OpenAI's library: models, a completion, the same as a stream, embeddings, a refusal."""
    async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", api_key="none") as client:
        assert "llm/gemma-3-270m" in [each.id for each in (await client.models.list()).data]
        name = "llm/gemma-3-270m"
        asked: dict[str, Any] = {"model": name, "prompt": PROMPT["prompt"], "extra_body": PROMPT}
        done = await client.completions.create(**asked)
        assert "France" in done.choices[0].text
        assert done.usage is not None
        assert done.usage.completion_tokens == 8
        events = await client.completions.create(**asked, stream=True)
        parts = [choice.text async for event in events for choice in event.choices]
        assert "".join(parts) == done.choices[0].text
        found = await client.embeddings.create(model=name, input=["A cat.", "A dog."])
        assert [len(each.embedding) for each in found.data] == [640, 640]
        with pytest.raises(openai.BadRequestError, match="context size"):
            await client.completions.create(model=name, prompt="word " * 3000)


async def test_two_clients_at_once(node: RunningNode, server: LlamaServer) -> None:
    jobs = [await node.job(["llm"], {**ENDLESS, "max_tokens": 30}) for _ in range(2)]
    most = 0
    async with asyncio.timeout(60):
        while "running" in [(await node.result(job))["status"] for job in jobs]:
            most = max(most, await busy_slots(server))
    assert most == 2
    for job in jobs:
        found = await node.finished(job)
        assert found["result"]["output"]["usage"]["completion_tokens"] == 30


async def test_its_models_are_resources(node: RunningNode) -> None:
    (capability,) = (await node.get("/resources")).body["llm"]["compute_capability"]
    assert [each["name"] for each in capability["models"]] == ["gemma-3-270m"]
    support = (await node.get("/resources?model_id=gemma-3-270m")).body
    assert support["llm"] == {"supported": True}
    assert support["detokenize"]["supported"] is False


async def test_a_chain_of_both_adapters(node: RunningNode, server: LlamaServer) -> None:
    """What a service of its own kind answers is the prompt; the text of that becomes a vector."""
    tokens = (await direct(server, "/tokenize", {"content": "The capital of France is"}))["tokens"]
    chain = ["detokenize", "text", "vectors"]
    found = await node.finished(await node.job(chain, {"tokens": tokens}), timeout=60)
    assert found["status"] == "success", found
    prompt, text = (each["output"] for each in found["intermediate_results"])
    assert prompt == "The capital of France is"
    assert text
    assert len(found["result"]["output"]["data"][0]["embedding"]) == 640


async def test_what_the_server_refuses(node: RunningNode) -> None:
    found = await node.finished(await node.job(["llm"], {"prompt": "word " * 3000}), timeout=60)
    assert found["status"] == "failed"
    assert "context size" in found["result"]["error"]
    assert not found["result"]["error"].startswith("{")


async def test_a_job_waits_while_the_model_loads(tmp_path: Path) -> None:
    need_model()
    starting = LlamaServer(tmp_path)
    starting.launch()
    try:
        containers = [{"id": "text", "url": starting.url, "protocol": "openai"}]
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            while True:  # it listens before it is ready
                try:
                    async with session.get(starting.url + "/health") as response:
                        assert response.status in (200, 503)
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.005)
        async with running(tmp_path, {"startup_wait": 0, "containers": containers}) as node:
            assert "France" in (await output(node, "text", PROMPT))["choices"][0]["text"]
    finally:
        starting.stop()
