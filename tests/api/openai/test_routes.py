"""When OpenAI's API is there, what it costs when it is not used, and pages of other origins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.asking_models import CHAT, fronted
from tests.support.running import running
from tests.support.serving import Echo, serving

IMPORTED = """
import asyncio, sys
from pathlib import Path
from tests.support.running import running

async def run(folder):
    containers = [{"id": "a", "url": "http://127.0.0.1:9", "models": ["m"]}]
    async with running(Path(folder), {"containers": containers}) as node:
        for path in ("/info", "/api/jobs", "/openapi.json"):
            assert (await node.get(path)).status == 200
        print([name for name in sys.modules if name.startswith("infernet_edge.api.openai.")])
        assert (await node.get("/v1/models")).status == 200
        assert "infernet_edge.api.openai.front" in sys.modules

asyncio.run(run(sys.argv[1]))
"""


def test_nothing_is_imported_before_the_first_request(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, tmp_path], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    light = {f"infernet_edge.api.openai.{name}" for name in ("description", "paths", "routes")}
    assert set(eval(done.stdout.splitlines()[-1])) <= light


@pytest.mark.parametrize("enabled", [True, False])
async def test_without_models_it_is_not_there(tmp_path: Path, enabled: bool) -> None:
    echo, server = Echo(), {"openai": enabled}
    async with serving(echo) as url:
        document = {"server": server, "containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node:
            for reply in (
                await node.get("/v1/models"),
                await node.get("/v1/models/a/b"),
                await node.post("/v1/chat/completions", CHAT),
            ):
                assert reply.status == 404
                expected = "containers[].models" if enabled else "server.openai"
                assert expected in reply.body["error"]["message"]
    assert echo.calls == []


async def test_a_page_of_an_allowed_origin(tmp_path: Path) -> None:
    """OpenAI's library for browsers sends fields of its own, which the node allows here only."""
    origin = "http://chat.example"
    async with fronted(tmp_path, {"server": {"allowed_origins": [origin]}}) as node:
        asked = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-stainless-os",
        }
        reply = await node.request("OPTIONS", "/v1/chat/completions", headers=asked)
        assert reply.status == 204
        assert reply.headers["access-control-allow-origin"] == origin
        fields = reply.headers["access-control-allow-headers"].split(", ")
        assert {"authorization", "content-type", "*"} <= set(fields)
        other = await node.request("OPTIONS", "/api/jobs", headers=asked)
        assert "*" not in other.headers["access-control-allow-headers"].split(", ")
        reply = await node.chat({"origin": origin, "x-stainless-os": "Linux"})
        assert reply.status == 200
        assert reply.headers["access-control-allow-origin"] == origin
        assert "x-infernet-job-id" in reply.headers["access-control-expose-headers"]
        assert (await node.chat({"origin": origin}, model="none")).headers[
            "access-control-allow-origin"
        ] == origin
