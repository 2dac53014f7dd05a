"""Real models in containers that the node manages, through both adapters.

llm and text: a language model in llama.cpp's server, with `openai`. vectors: all-MiniLM-L6-v2 in an
ONNX service, with `http`. The images need no registry: the programs come from this machine.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from eth_abi.abi import decode

from tests.support.asking import call_back, received
from tests.support.evm import V1
from tests.support.managing import eventually
from tests.support.models import (
    EMBED,
    ENVIRONMENT,
    MODEL,
    SERVE,
    make_bare_image,
    mounted,
    need_model,
)
from tests.support.onchain import on_chain
from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port
from tests.support.running import RunningNode, running

pytestmark = [
    pytest.mark.models,
    pytest.mark.xdist_group("models"),
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),  # the containers are started once
]

PYTHON = ENVIRONMENT / "bin/python"
PROMPT = {"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
ENDLESS = {"prompt": "Once upon a time", "max_tokens": 900, "ignore_eos": True}
TEXTS = ["The cat sits on the mat.", "A cat is on a mat.", "Interest rates rose in March."]


def containers(session_podman: IsolatedPodman, folder: Path) -> list[dict[str, Any]]:
    file = folder / "model.env"
    file.write_text(f"MODEL={MODEL}\n")
    file.chmod(0o600)
    port = free_port()
    of_all = {
        "image": make_bare_image(session_podman),
        "volumes": mounted(),
        "startup_timeout": 120,
    }
    serve = f"exec {PYTHON} {SERVE} --model $MODEL --host 0.0.0.0 --port 8080"
    llm = {
        "id": "llm",
        "protocol": "openai",
        "port": port,
        "container_port": 8080,
        "command": f"/busybox sh -c '{serve}'",
        "env_file": str(file),
        "shm_size": "16m",
        "memory": "2g",
        "timeout": 120,
        **of_all,
    }
    text = {
        "id": "text",
        "url": f"http://127.0.0.1:{port}",  # another interface of the same server
        "protocol": "openai",
        "path": "/v1/completions",
        "result": "/choices/0/text",
        "timeout": 120,
    }
    vectors = {
        "id": "vectors",
        "protocol": "http",
        "path": "/embed",
        "result": "/0",
        "port": free_port(),
        "container_port": 8080,
        "command": f"{PYTHON} {EMBED} --host 0.0.0.0 --port 8080",
        "health_path": "/health",
        "memory": "1g",
        "models": ["sentence-transformers/all-MiniLM-L6-v2"],
        **of_all,
    }
    return [llm, text, vectors]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(
    session_podman: IsolatedPodman, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningNode]:
    need_model()
    folder = tmp_path_factory.mktemp("node")
    document = {
        "manage_containers": True,
        "podman": {"url": session_podman.url},
        "startup_wait": 0,
        "containers": containers(session_podman, folder),
    }
    async with running(folder, document) as started:
        yield started


async def output(node: RunningNode, chain: list[str], data: Any) -> Any:
    """The output of a job, which waits until the models are loaded."""
    reply = await node.post("/api/jobs", {"containers": chain, "data": data})
    found = await node.finished(reply.body["id"], timeout=180)
    assert found["status"] == "success", found
    return found["result"]["output"]


async def test_a_completion(node: RunningNode, session_podman: IsolatedPodman) -> None:
    answer = await output(node, ["llm"], PROMPT)
    assert "France" in answer["choices"][0]["text"]
    assert answer["usage"]["completion_tokens"] == 8
    await eventually(lambda: node.parts.services["llm"].model == "gemma-3-270m")
    name = container(session_podman, "llm")
    size = session_podman.run("exec", name, "/busybox", "df", "-k", "/dev/shm").split("\n")[-1]
    assert size.split()[1] == str(16 * 1024)


def container(session_podman: IsolatedPodman, service: str) -> str:
    (name,) = [each for each in session_podman.containers() if service in each]
    return name


async def test_a_stream(node: RunningNode) -> None:
    reply = await node.post("/api/jobs/stream", {"containers": ["llm"], "data": PROMPT})
    identifier, events = reply.body[:36].decode(), reply.body[36:].decode().lstrip()
    *texts, done = [line for line in events.split("\n\n") if line]
    assert done == "data: [DONE]"
    assert len(texts) > 4
    found = await node.finished(identifier)
    assert (found["status"], found["result"]["output"]["output"].lstrip()) == ("success", events)


def cpu_seconds(session_podman: IsolatedPodman, service: str) -> float:
    """What the processes of a container have computed so far."""
    first = psutil.Process(
        session_podman.inspect(container(session_podman, service))["State"]["Pid"]
    )
    times = [each.cpu_times() for each in (first, *first.children(recursive=True))]
    return sum(each.user + each.system for each in times)


async def test_a_stream_that_is_cancelled_ends_the_computing(
    node: RunningNode, session_podman: IsolatedPodman
) -> None:
    """All 900 tokens would take some 9 s of a core."""
    await output(node, ["llm"], PROMPT)
    body = json.dumps({"containers": ["llm"], "data": ENDLESS}).encode()
    headers = {"content-type": "application/json"}
    begin = cpu_seconds(session_podman, "llm")
    async with node.session.post(
        f"{node.url}/api/jobs/stream", data=body, headers=headers
    ) as response:
        content = b""
        while content.count(b"data:") < 20:
            content += await response.content.readany()
        cancelled = cpu_seconds(session_podman, "llm")
        assert cancelled > begin
        reply = await node.request("DELETE", f"/api/jobs/{content[:36].decode()}")
        assert reply.status == 200
    async with asyncio.timeout(30):
        before = cancelled
        while True:  # it looks at its connections once in a second
            await asyncio.sleep(1)
            now = cpu_seconds(session_podman, "llm")
            if now - before < 0.1:
                break
            before = now
    assert now - cancelled < 3
    found = await node.finished(content[:36].decode())
    assert found["status"] == "failed"


async def test_embeddings(node: RunningNode) -> None:
    cat, other, rates = [await output(node, ["vectors"], {"inputs": text}) for text in TEXTS]
    assert len(cat) == 384
    assert math.isclose(similarity(cat, cat), 1, abs_tol=1e-6)
    assert similarity(cat, other) > 0.8
    assert similarity(cat, rates) < 0.3


def similarity(one: list[float], other: list[float]) -> float:
    """The cosine of two vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_two_clients_at_once(node: RunningNode, session_podman: IsolatedPodman) -> None:
    """Their streams advance together: neither is complete before the other one has begun."""
    order: list[str] = []

    async def client(name: str) -> None:
        data = {**ENDLESS, "max_tokens": 40}
        body = json.dumps({"containers": ["llm"], "data": data}).encode()
        async with node.session.post(
            f"{node.url}/api/jobs/stream", data=body, headers={"content-type": "application/json"}
        ) as response:
            await response.content.readline()
            async for line in response.content:
                if line.startswith(b"data: {"):
                    order.append(name)

    async with asyncio.timeout(100):
        await asyncio.gather(
            client("a"), client("b"), output(node, ["vectors"], {"inputs": "a text"})
        )
    first, last = order[0], order[-1]
    assert min(order.count("a"), order.count("b")) > 30
    other = "b" if first == "a" else "a"
    assert order.index(other) < len(order) - 1 - order[::-1].index(first), (first, last)


async def test_their_models_are_resources(node: RunningNode) -> None:
    await output(node, ["llm"], PROMPT)
    resources = (await node.get("/resources")).body
    names = {
        identifier: [
            model["name"] for each in found["compute_capability"] for model in each["models"]
        ]
        for identifier, found in resources.items()
    }
    assert names["llm"] == ["gemma-3-270m"]
    assert names["vectors"] == ["all-MiniLM-L6-v2"]
    asked = "sentence-transformers/all-MiniLM-L6-v2"
    support = (await node.get(f"/resources?model_id={asked}")).body
    assert (support["vectors"], support["llm"]["supported"]) == ({"supported": True}, False)
    support = (await node.get("/resources?model_id=gemma-3-270m")).body
    assert (support["llm"], support["vectors"]["supported"]) == ({"supported": True}, False)


async def test_a_chain_of_both(node: RunningNode) -> None:
    """The text of the completion is the input of the embedding."""
    reply = await node.post("/api/jobs", {"containers": ["text", "vectors"], "data": PROMPT})
    found = await node.finished(reply.body["id"], timeout=180)
    assert found["status"] == "success", found
    (written,) = (each["output"] for each in found["intermediate_results"])
    assert "France" in written
    vector = found["result"]["output"]
    alone = await output(node, ["vectors"], {"inputs": written})
    assert similarity(vector, alone) > 0.9999


async def test_what_the_service_refuses(node: RunningNode) -> None:
    reply = await node.post("/api/jobs", {"containers": ["vectors"], "data": {"inputs": 5}})
    found = await node.finished(reply.body["id"], timeout=60)
    assert found["status"] == "failed"
    assert "inputs must be a text or a list of texts" in found["result"]["error"]


async def test_a_contract_asks_the_language_model(
    node: RunningNode, tmp_path: Path, v1: V1
) -> None:
    """From a subscription's input to the completion on the chain."""
    data = {**PROMPT, "cache_prompt": False}
    expected = await output(node, ["text"], data)
    consumer = v1.deploy("CallbackConsumer")
    text = {
        "url": node.parts.services["text"].base_url,
        "protocol": "openai",
        "result": "/choices/0/text",
        "timeout": 120,
    }
    async with on_chain(tmp_path, v1=v1, container=text):
        call_back(v1, consumer, input=json.dumps(data).encode())
        (found,) = await received(consumer, 1, timeout=60)
    raw, _ = decode(["bytes", "bytes"], found["output"])
    assert bytes(raw).decode() == expected
    assert "France" in expected
