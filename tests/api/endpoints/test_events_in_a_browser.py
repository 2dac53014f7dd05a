"""GET /api/events as EventSource of a real browser reads it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.managing import eventually
from tests.support.node import NodeProcess
from tests.support.podman import need
from tests.support.serving import Echo, serving

_PAGE = """<!doctype html><script>
const source = new EventSource("NODE/api/events?types=job");
for (const name of ["hello", "resync", "job.accepted", "job.started", "job.finished"])
  source.addEventListener(name, event => fetch("/seen", {
    method: "POST", body: JSON.stringify([event.type, event.lastEventId, event.data])}));
</script>"""


@asynccontextmanager
async def browser(url: str, folder: Path) -> AsyncIterator[None]:
    """Chromium without a window, which has opened a page."""
    need("chromium")
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-dev-shm-usage", f"--user-data-dir={folder}", url]
    quiet = asyncio.subprocess.DEVNULL
    # It writes into the home, too, whatever its folder for data is.
    homes = {name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    program = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **homes}, stdout=quiet, stderr=quiet
    )
    try:
        yield
    finally:
        program.terminate()
        async with asyncio.timeout(20):
            await program.wait()


async def test_it_reads_events_and_connects_again(tmp_path: Path) -> None:
    seen: list[tuple[str, str, Any]] = []
    node_url = ""

    async def serve(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            name, last_id, data = await request.json()
            seen.append((name, last_id, json.loads(data)))
            return web.Response()
        return web.Response(text=_PAGE.replace("NODE", node_url), content_type="text/html")

    def names() -> list[str]:
        return [name for name, _, _ in seen]

    async with serving(Echo()) as echo, serving(serve) as page, aiohttp.ClientSession() as session:
        config = {
            "containers": [{"id": "echo", "url": echo}],
            "server": {"allowed_origins": [page]},
        }
        with NodeProcess(config, tmp_path / "node") as node:
            node_url = node.url
            async with browser(page, tmp_path / "profile"):
                await eventually(lambda: names() == ["hello"], 60)
                body = {"containers": ["echo"], "data": {}}
                async with session.post(f"{node.url}/api/jobs", json=body) as response:
                    assert response.status == 200
                await eventually(lambda: len(seen) == 4)
                course = sorted(seen[1:], key=lambda each: each[1])  # requests overtake each other
                assert [name for name, _, _ in course] == [
                    "job.accepted",
                    "job.started",
                    "job.finished",
                ]
                assert len({data["id"] for _, _, data in course}) == 1
                await asyncio.to_thread(node.restart)
                await eventually(lambda: len(seen) == 6, 30)  # after `retry`
                assert set(names()[4:]) == {"resync", "hello"}
                assert seen[4][2]["boot"] != seen[0][2]["boot"]
