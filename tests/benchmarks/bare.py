"""The floor that the node is measured against: a bare Starlette handler with our libraries.

It forwards a job to one container with aiohttp and answers with what the container said; it checks
nothing, keeps nothing. python -m tests.benchmarks.bare --port N --container URL --loop uvloop
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import aiohttp
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.ports import free_port
from tests.support.process import ServerProcess

Loop = Literal["asyncio", "uvloop"]


class BareProcess(ServerProcess):
    """The bare handler as a process of its own, on a free port."""

    def __init__(self, container_url: str, loop: Loop, folder: Path) -> None:
        port = free_port()
        options = ["--port", str(port), "--container", container_url, "--loop", loop]
        command = [sys.executable, "-m", "tests.benchmarks.bare", *options]
        super().__init__(command, f"http://127.0.0.1:{port}", folder / f"bare_{loop}.log")


class Job(msgspec.Struct):
    containers: list[str]
    data: msgspec.Raw


class Input(msgspec.Struct):
    data: msgspec.Raw
    source: int = 1
    destination: int = 1
    requires_proof: bool = False


def make_app(container_url: str) -> Starlette:
    """Return the application that forwards to `container_url`."""
    service = f"{container_url}/service_output"
    decoder = msgspec.json.Decoder(Job)
    encoder = msgspec.json.Encoder()
    headers = {"content-type": "application/json"}

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, aiohttp.ClientSession]]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield {"session": session}

    async def forward(request: Request) -> Response:
        job = decoder.decode(await request.body())
        session: aiohttp.ClientSession = request.state.session
        async with session.post(
            service, data=encoder.encode(Input(job.data)), headers=headers
        ) as answer:
            return Response(await answer.read(), media_type="application/json")

    async def health(request: Request) -> Response:
        return Response(b'{"status":"healthy"}', media_type="application/json")

    routes = [Route("/api/jobs", forward, methods=["POST"]), Route("/health", health)]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--container", required=True)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], required=True)
    options = parser.parse_args()
    uvicorn.run(
        make_app(options.container),
        host="127.0.0.1",
        port=options.port,
        loop=options.loop,
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
