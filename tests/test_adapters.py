"""Servers of other kinds behind a whole node: chains, streams, cancellation, resources."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.containers.protocols.call import OFF_CHAIN, ON_CHAIN
from tests.support.managing import eventually
from tests.support.openai_server import OpenAIServer
from tests.support.parts import outcome, submit, working
from tests.support.running import RunningNode, running
from tests.support.serving import serving

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


async def transcribe(request: web.Request) -> web.Response:
    """A service of its own kind: PUT /transcribe, with a text in its answer."""
    if request.method == "GET":
        return web.Response(status=404)
    assert (request.method, request.path_qs) == ("PUT", "/transcribe?lang=en")
    asked = await request.json()
    return web.json_response({"result": {"text": asked["audio"].upper(), "n": 2**256}})


@pytest.fixture
def server() -> OpenAIServer:
    return OpenAIServer("owner/small")


def document(ears: str, llm: str) -> dict[str, Any]:
    http = {"protocol": "http", "path": "/transcribe", "method": "PUT", "query": {"lang": "en"}}
    openai = {"protocol": "openai", "url": llm}
    return {
        "containers": [
            {"id": "ears", "url": ears, "result": "/result/text", **http},
            {"id": "whole", "url": ears, **http},
            {"id": "llm", **openai},
            {"id": "text", "result": "/choices/0/message/content", **openai},
        ]
    }


@pytest.fixture
async def node(tmp_path: Path, server: OpenAIServer) -> AsyncIterator[RunningNode]:
    async with (
        serving(transcribe) as ears,
        serving(server) as llm,
        running(tmp_path, document(ears, llm)) as started,
    ):
        yield started


async def output(node: RunningNode, identifier: str) -> Any:
    found = await node.finished(identifier)
    assert found["status"] == "success", found
    return found["result"]["output"]


async def test_a_chain_of_both(node: RunningNode, server: OpenAIServer) -> None:
    identifier = await node.job(["ears", "llm"], {"audio": "good morning"})
    answer = await output(node, identifier)
    assert answer["choices"][0]["message"]["content"] == "GOOD MORNING"
    assert server.request["model"] == "owner/small"
    found = await node.finished(identifier)
    assert [each["output"] for each in found["intermediate_results"]] == ["GOOD MORNING"]
    assert await output(node, await node.job(["text"], CHAT)) == "Hello"
    whole = await output(node, await node.job(["whole"], {"audio": "a"}))
    assert whole == {"result": {"text": "A", "n": 2**256}}


async def test_a_long_input_from_the_disk(node: RunningNode, server: OpenAIServer) -> None:
    text = "x" * 300_000
    answer = await output(node, await node.job(["ears", "text"], {"audio": text}))
    assert answer == "X" * 300_000
    assert server.request["messages"][0]["content"] == answer


async def test_a_stream_and_its_stored_result(node: RunningNode, server: OpenAIServer) -> None:
    body = {"containers": ["llm"], "data": CHAT}
    reply = await node.post("/api/jobs/stream", body)
    assert reply.status == 200
    identifier, events = reply.body[:36].decode(), reply.body[36:].lstrip()
    assert events.startswith(b'data: {"choices"')
    assert events.endswith(b"data: [DONE]\n\n")
    assert server.request["stream"] is True
    assert (await output(node, identifier))["output"].encode() == events


async def test_a_cancelled_stream_ends_in_the_server_too(
    node: RunningNode, server: OpenAIServer
) -> None:
    body = json.dumps({"containers": ["llm"], "data": {**CHAT, "hold": 1}}).encode()
    async with node.session.post(
        f"{node.url}/api/jobs/stream", data=body, headers={"content-type": "application/json"}
    ) as response:
        content = b""
        while content.count(b"data:") < 3:
            content += await response.content.readany()
        identifier = content[:36].decode()
        async with node.session.delete(f"{node.url}/api/jobs/{identifier}") as cancelled:
            assert cancelled.status == 200
        await eventually(lambda: server.left == 1)
    assert (await node.finished(identifier))["status"] == "failed"


async def test_failures_of_the_server(node: RunningNode, server: OpenAIServer) -> None:
    server.error = 400, {"error": {"message": "the context is too long", "code": 400}}
    found = await node.finished(await node.job(["llm"], CHAT))
    assert found["status"] == "failed"
    assert found["result"]["error"] == "the context is too long"
    found = await node.finished(await node.job(["ears", "llm"], {"audio": "a"}))
    assert found["result"]["error"] == "the context is too long"
    reply = await node.post("/api/jobs/stream", {"containers": ["llm"], "data": CHAT})
    assert reply.status >= 400
    assert b"the context is too long" in json.dumps(reply.body, default=str).encode()


async def test_its_models_are_resources(node: RunningNode) -> None:
    resources = (await node.get("/resources")).body
    for name in ("llm", "text"):
        (capability,) = resources[name]["compute_capability"]
        (model,) = capability["models"]
        assert (model["owner"], model["name"]) == ("owner", "small")
    assert resources["ears"]["compute_capability"] == []
    asked = (await node.get("/resources?model_id=owner/small")).body
    assert asked["llm"] == {"supported": True}
    assert asked["ears"]["supported"] is False


async def test_what_a_contract_asks_and_gets(tmp_path: Path, server: OpenAIServer) -> None:
    """The orchestrator as a delivery uses it: hex digits in, the five parts out."""
    async with (
        serving(transcribe) as ears,
        serving(server) as llm,
        working(tmp_path, document(ears, llm)) as parts,
    ):
        computing = parts.orchestrator.computing
        for text in ("short", "long " * 1000):
            asked = json.dumps({"audio": text}).encode().hex()
            with computing.reserve() as memory:
                answer = await computing.compute(
                    ["ears", "text"],
                    json.dumps(asked).encode(),
                    memory,
                    source=ON_CHAIN,
                    destination=ON_CHAIN,
                    requires_proof=False,
                )
            raw = json.loads(answer)["raw_output"]
            assert bytes.fromhex(raw).decode() == text.upper()
        with computing.reserve() as memory:  # a delegated subscription
            answer = await computing.compute(
                ["text"],
                json.dumps(CHAT).encode(),
                memory,
                source=OFF_CHAIN,
                destination=ON_CHAIN,
                requires_proof=False,
            )
        assert bytes.fromhex(json.loads(answer)["raw_output"]) == b"Hello"


async def test_two_clients_at_once_while_the_model_loads(
    tmp_path: Path, server: OpenAIServer
) -> None:
    server.loading = 2
    async with serving(server) as llm:
        containers = [{"id": "llm", "url": llm, "protocol": "openai", "timeout": 10}]
        async with working(tmp_path, {"containers": containers}) as parts:
            jobs = [await submit(parts, ["llm"], CHAT) for _ in range(2)]
            found = await asyncio.gather(*(outcome(parts, job) for job in jobs))
    assert [each["status"] for each in found] == ["success", "success"]
    assert len(server.asked) == 4
