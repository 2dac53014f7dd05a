"""Web pages of other origins, over HTTP: what a browser may show them, and what it may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.running import Reply, RunningNode, running
from tests.support.serving import Echo, serving

PAGE = "https://app.example"
JSON = {"content-type": "application/json"}
FOREIGN = {"sec-fetch-site": "cross-site"}  # what browsers add to requests of such pages
JOB = {"containers": ["echo"], "data": {}}


@asynccontextmanager
async def node_for(
    folder: Path, origins: list[str] | None = None, **server: Any
) -> AsyncIterator[RunningNode]:
    settings = {"allowed_origins": [PAGE] if origins is None else origins, **server}
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}], "server": settings}
        async with running(folder, document) as node:
            yield node


def cors(reply: Reply) -> dict[str, str]:
    return {
        name.lower(): text
        for name, text in reply.headers.items()
        if name.lower().startswith("access-control-")
    }


async def preflight(
    node: RunningNode,
    origin: str = PAGE,
    path: str = "/api/jobs",
    method: str = "POST",
    **more: str,
) -> Reply:
    asked = {"origin": origin, "access-control-request-method": method, **FOREIGN}
    asked["access-control-request-headers"] = "authorization,content-type"
    return await node.request("OPTIONS", path, headers={**asked, **more})


async def test_a_page_of_a_listed_origin_uses_the_api(tmp_path: Path) -> None:
    page = {"origin": PAGE, **FOREIGN}
    async with node_for(tmp_path) as node:
        asked = await preflight(node)
        assert asked.status == 204
        assert asked.body == b""
        assert asked.headers["access-control-allow-origin"] == PAGE
        assert asked.headers["access-control-allow-methods"] == "DELETE, GET, HEAD, POST"
        assert asked.headers["access-control-allow-headers"] == (
            "authorization, content-type, idempotency-key, last-event-id, prefer"
        )
        assert asked.headers["access-control-max-age"] == "600"
        assert asked.headers["vary"] == "origin"
        sent = await node.post("/api/jobs", JOB, page)
        assert sent.status == 200
        await node.finished(sent.body["id"])
        streamed = await node.post("/api/jobs/stream", JOB, page)
        found = await node.get(f"/api/jobs?id={sent.body['id']}", page)
        assert found.body[0]["status"] == "success"
        for reply in (sent, streamed, found, await node.get("/info", page)):
            assert reply.status == 200
            assert reply.headers["access-control-allow-origin"] == PAGE
            assert reply.headers["vary"] == "origin"
            assert "ratelimit-remaining" in reply.headers["access-control-expose-headers"]


async def test_a_page_can_read_errors_too(tmp_path: Path) -> None:
    page = {"origin": PAGE, **FOREIGN}
    limit = {"num_requests": 2, "period": 60}
    async with node_for(tmp_path, rate_limit=limit) as node:
        replies = [
            await node.post("/api/jobs", b"{", page),
            await node.post("/api/jobs", b"{}", page | {"content-type": "text/plain"}),
            await node.get("/nowhere", page),
            await node.request("DELETE", "/info", headers=page | JSON),
            *[await node.get("/resources", page) for _ in range(3)],
        ]
        assert [reply.status for reply in replies] == [400, 415, 404, 405, 200, 200, 429]
        for reply in replies:
            assert reply.headers.getall("access-control-allow-origin") == [PAGE]


@pytest.mark.parametrize(
    "origin",
    [
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://evil.example",
        "https://xapp.example",
        "https://APP.example",
        "https://app.example/",
        "null",
        "",
        "*",
    ],
)
async def test_other_origins_are_refused(tmp_path: Path, origin: str) -> None:
    async with node_for(tmp_path) as node:
        for reply in (
            await preflight(node, origin),
            await node.post("/api/jobs", JOB, {"origin": origin, **FOREIGN}),
            await node.get("/info", {"origin": origin, **FOREIGN}),
        ):
            assert reply.status == 403
            assert cors(reply) == {}
            assert reply.headers["vary"] == "origin"


async def test_without_the_setting_no_origin_is_told_anything(tmp_path: Path) -> None:
    async with node_for(tmp_path, []) as node:
        for reply in (
            await preflight(node),
            await node.post("/api/jobs", JOB, {"origin": PAGE}),
            await node.get("/info", {"origin": node.url}),
        ):
            assert cors(reply) == {}
            assert "vary" not in reply.headers
        assert (await preflight(node, node.url)).status == 405


async def test_own_pages_and_programs_are_as_before(tmp_path: Path) -> None:
    async with node_for(tmp_path) as node:
        for headers in ({}, {"origin": node.url}):
            reply = await node.post("/api/jobs", JOB, headers)
            assert reply.status == 200
            assert cors(reply) == {}
        assert (await preflight(node, node.url)).status == 405


async def test_credentials_of_the_browser_are_never_allowed(tmp_path: Path) -> None:
    async with node_for(tmp_path) as node:
        for reply in (
            await preflight(node),
            await node.get("/info", {"origin": PAGE, "cookie": "a=b"}),
        ):
            assert "access-control-allow-credentials" not in reply.headers


async def test_a_listed_page_cannot_use_a_name_of_its_own(tmp_path: Path) -> None:
    """DNS rebinding, and a request that needs no preflight, are refused as ever."""
    async with node_for(tmp_path) as node:
        for reply in (
            await preflight(node, host="app.example"),
            await node.post("/api/jobs", JOB, {"origin": PAGE, "host": "app.example"}),
        ):
            assert reply.status == 403
            assert reply.body["error"].startswith("Host not allowed")
        plain = {"origin": PAGE, "content-type": "text/plain"}
        assert (await node.post("/api/jobs", JOB, plain)).status == 415


async def test_two_origins_are_no_origin(tmp_path: Path) -> None:
    async with node_for(tmp_path, [PAGE, "https://b.example"]) as node:
        headers = [("origin", PAGE), ("origin", "https://b.example")]
        async with node.session.get(f"{node.url}/info", headers=headers) as response:
            assert response.status == 400
            assert "access-control-allow-origin" not in response.headers


async def test_a_preflight_needs_no_token_and_the_request_does(tmp_path: Path) -> None:
    token = "0123456789abcdef"
    page = {"origin": PAGE, **FOREIGN}
    async with node_for(tmp_path, tokens={"bob": token}) as node:
        assert (await preflight(node)).status == 204
        refused = await node.post("/api/jobs", JOB, page)
        assert refused.status == 401
        assert refused.headers["access-control-allow-origin"] == PAGE
        bearer = {"authorization": f"Bearer {token}"}
        assert (await node.post("/api/jobs", JOB, page | bearer)).status == 200
        plain = {"origin": PAGE}  # not a preflight: the method to be used is missing
        assert (await node.request("OPTIONS", "/api/jobs", headers=plain)).status == 401


async def test_preflights_are_limited_and_only_for_what_exists(tmp_path: Path) -> None:
    async with node_for(tmp_path, rate_limit={"num_requests": 2, "period": 60}) as node:
        assert [(await preflight(node)).status for _ in range(3)] == [204, 204, 429]
        assert (await preflight(node, path="/nowhere")).status == 404
        asked = await preflight(node, path="/info", method="GET")
        assert asked.headers["access-control-allow-methods"] == "GET, HEAD"


async def test_a_page_of_the_internet_may_reach_a_node_of_the_network(tmp_path: Path) -> None:
    private = {"access-control-request-private-network": "true"}
    name = "access-control-allow-private-network"
    async with node_for(tmp_path) as node:
        assert name not in (await preflight(node)).headers
        assert (await preflight(node, **private)).headers[name] == "true"


async def test_origins_of_apps(tmp_path: Path) -> None:
    origins = ["capacitor://localhost", "http://localhost:5173", "http://[fd00::2]:8080"]
    async with node_for(tmp_path, origins) as node:
        for origin in origins:
            asked = await preflight(node, origin)
            assert asked.headers["access-control-allow-origin"] == origin
