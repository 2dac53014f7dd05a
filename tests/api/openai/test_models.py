"""Names of models: their containers, lists that change, containers that a caller may not use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infernet_edge.api import shared_answers
from tests.support.asking_models import CHAT, fronted
from tests.support.openai_server import OpenAIServer
from tests.support.running import RunningNode, running
from tests.support.serving import serving
from tests.support.text_service import TextService


async def names(node: RunningNode) -> dict[str, str]:
    listed = (await node.get("/v1/models")).body["data"]
    return {each["id"]: each["owned_by"] for each in listed}


async def chosen(node: RunningNode, name: str) -> str:
    """The container that a name leads to, or the code of the error."""
    reply = await node.post("/v1/chat/completions", CHAT | {"model": name})
    if reply.status != 200:
        return str(reply.body["error"]["code"])
    found = await node.result(reply.headers["x-infernet-job-id"])
    return str(found["result"]["container"])


async def test_names_with_slashes_that_look_alike(tmp_path: Path) -> None:
    """`a/b` is model b of container a, and also a model of x: the container has precedence."""
    async with serving(TextService()) as url:
        containers: list[dict[str, Any]] = [
            {"id": "a", "url": url, "models": ["b", "b/c", "d"]},
            {"id": "x", "url": url, "models": ["a/b", "d", "x/x", "d"]},
            {"id": "owner", "url": url, "models": [{"owner": "owner", "name": "name"}]},
        ]
        async with running(tmp_path, {"containers": containers}) as node:
            assert await names(node) == {
                "b": "a",
                "b/c": "a",
                "a/d": "a",
                "x/a/b": "x",
                "x/d": "x",
                "x/x": "x",
                "owner/name": "owner",
            }
            for name, container in (await names(node)).items():
                assert await chosen(node, name) == container
            for name, container in {
                "a/b": "a",
                "a/b/c": "a",
                "x/x/x": "x",
                "owner/owner/name": "owner",
                "d": "model_not_found",
                "A": "model_not_found",
                "a": "model_not_found",
                "a/": "model_not_found",
                "/b": "model_not_found",
                "a/c": "model_not_found",
            }.items():
                assert await chosen(node, name) == container, name


async def test_containers_that_the_caller_may_not_use(tmp_path: Path) -> None:
    async with serving(TextService()) as url:
        containers: list[dict[str, Any]] = [
            {"id": "far", "url": url, "models": ["m"], "allowed_ips": ["192.0.2.0/24"]},
            {"id": "inside", "url": url, "models": ["m"], "external": False},
            {"id": "near", "url": url, "models": ["m"], "allowed_ips": ["127.0.0.1"]},
        ]
        async with running(tmp_path, {"containers": containers}) as node:
            assert await names(node) == {"m": "near"}
            assert await chosen(node, "m") == "near"
            assert await chosen(node, "far/m") == "model_not_found"


async def test_a_list_that_changes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(shared_answers, "KEPT_SECONDS", 0.0)
    server = OpenAIServer("one")
    async with serving(server) as url:
        containers = [{"id": "llm", "url": url, "protocol": "openai"}]
        async with running(tmp_path, {"containers": containers}) as node:
            assert await names(node) == {"one": "llm"}
            server.models = ("one", "two")
            assert await chosen(node, "two") == "llm"
            assert await names(node) == {"one": "llm", "two": "llm"}
            assert await chosen(node, "three") == "model_not_found"


async def test_servers_are_not_asked_for_each_request(tmp_path: Path) -> None:
    async with fronted(tmp_path) as node:
        for _ in range(5):
            await names(node)
            assert await chosen(node, "none") == "model_not_found"
        asked = node.server.probed.count("/v1/models")
        assert asked <= 3


async def test_a_server_that_sleeps_is_not_asked(tmp_path: Path) -> None:
    async with fronted(tmp_path) as node:
        before = node.server.probed.count("/v1/models")
        node.parts.services["llm"].set_asleep("no job needed it")
        assert (await names(node))["owner/small"] == "llm"
        assert await chosen(node, "none") == "model_not_found"
        assert node.server.probed.count("/v1/models") == before


async def test_a_server_that_lists_nothing(tmp_path: Path) -> None:
    """It is asked by the full name, since only itself knows what it has."""
    server = OpenAIServer()
    async with serving(server) as url:
        containers = [{"id": "llm", "url": url, "protocol": "openai"}]
        async with running(tmp_path, {"containers": containers}) as node:
            assert await names(node) == {}
            assert await chosen(node, "llm/any/thing") == "llm"
            assert server.request["model"] == "any/thing"
            assert await chosen(node, "any") == "model_not_found"


async def test_a_server_of_one_endpoint(tmp_path: Path) -> None:
    async with serving(OpenAIServer("m")) as url:
        containers = [
            {"id": "v", "url": url, "protocol": "openai", "path": "/v1/embeddings", "models": ["m"]}
        ]
        async with running(tmp_path, {"containers": containers}) as node:
            reply = await node.post("/v1/chat/completions", CHAT | {"model": "m"})
            assert (reply.status, reply.body["error"]["param"]) == (400, "model")
            assert "/v1/embeddings only" in reply.body["error"]["message"]
            reply = await node.post("/v1/embeddings", {"model": "m", "input": "x"})
            assert reply.status == 200


async def test_a_server_whose_reason_is_for_operators(tmp_path: Path) -> None:
    """No path and no output of a container: the client is none."""
    containers = [{"id": "llm", "url": "http://127.0.0.1:9", "protocol": "openai"}]
    async with running(tmp_path, {"containers": containers}) as node:
        service = node.parts.services["llm"]
        service.set_failed("cannot read /srv/models/secret.gguf; its last output: a prompt")
        reply = await node.post("/v1/chat/completions", CHAT | {"model": "any"})
    message = reply.body["error"]["message"]
    assert (reply.status, reply.body["error"]["code"]) == (503, "service_unavailable")
    assert "(llm: cannot read (path).)" in message
    assert "secret" not in message
    assert "prompt" not in message
