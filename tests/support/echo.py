"""A stand-in for a service container: fast, and misbehaving on request.

with EchoService(tmp_path) as echo:
    NodeProcess({"containers": [{"id": "echo", "url": echo.url}]}, ...)

POST /service_output answers {"output": <data>, "echo": true}; with destination 2 (a stream) twenty
chunks "chunk-<i>\\n", 10 ms apart. With echo.url + "/<variant>" as a container's url it behaves as
the function of that name in `VARIANTS` says. GET /calls answers how many service calls have come,
how many are open, and how many were open at most.

On its own: python -m tests.support.echo --port 3000
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from tests.support.ports import free_port
from tests.support.process import ServerProcess

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
STREAM = 2
CHUNKS = [b"chunk-%d\n" % i for i in range(20)]
CHUNK_GAP_SECONDS = 0.010


class EchoService(ServerProcess):
    """The stand-in as a process of its own on a free port."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        command = [sys.executable, "-m", "tests.support.echo", "--port", str(port)]
        super().__init__(command, f"http://127.0.0.1:{port}", folder / "echo.log")


class Call:
    """One request to /service_output, and the means to answer it."""

    def __init__(self, body: Any, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        self.body = body
        self.data = body.get("data")
        self.headers = headers
        self._send = send

    def option(self, name: str, default: Any) -> Any:
        """A wish that the caller put into the job's data."""
        return self.data.get(name, default) if isinstance(self.data, dict) else default

    async def begin(self, content_type: bytes = JSON, status: int = 200, **more: str) -> None:
        headers = [(b"content-type", content_type)]
        headers += [(name.replace("_", "-").encode(), v.encode()) for name, v in more.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def chunk(self, content: bytes) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def end(self, content: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": content})

    async def answer(
        self, content: bytes, content_type: bytes = JSON, status: int = 200, **more: str
    ) -> None:
        await self.begin(content_type, status, content_length=str(len(content)), **more)
        await self.end(content)

    async def stream(self, chunks: Iterable[bytes], gap: float = CHUNK_GAP_SECONDS) -> None:
        await self.begin(TEXT)
        for index, content in enumerate(chunks):
            if index:
                await asyncio.sleep(gap)
            await self.chunk(content)
        await self.end()


async def echo(call: Call) -> None:
    """The service as it should be."""
    if call.body.get("destination") == STREAM:
        await call.stream(CHUNKS)
    else:
        await call.answer(msgspec.json.encode({"output": call.data, "echo": True}))


async def slow(call: Call) -> None:
    """Answers after data.sleep seconds."""
    await asyncio.sleep(call.option("sleep", 2))
    await echo(call)


async def hang(call: Call) -> None:
    """Accepts the request and never answers (for an hour)."""
    await asyncio.sleep(3600)


async def badjson(call: Call) -> None:
    """Says JSON, is not."""
    await call.answer(b"this is not json")


async def html(call: Call) -> None:
    await call.answer(b"<h1>hello</h1>", b"text/html")


async def textjson(call: Call) -> None:
    """JSON that says to be text."""
    await call.answer(b'{"ok":true}', TEXT)


async def error500(call: Call) -> None:
    await call.answer(b'{"error":"boom","code":7}', status=500)


async def error500text(call: Call) -> None:
    await call.answer(b"Internal Server Error", TEXT, 500)


async def error404(call: Call) -> None:
    await call.answer(b'{"detail":"not found"}', status=404)


async def error_long(call: Call) -> None:
    """A status 500 with 1 MiB of text."""
    await call.answer(b"x" * 2**20, TEXT, 500)


async def array(call: Call) -> None:
    await call.answer(b"[1,2,3]")


async def null(call: Call) -> None:
    await call.answer(b"null")


async def number(call: Call) -> None:
    await call.answer(b"42")


async def empty(call: Call) -> None:
    await call.answer(b"")


async def close(call: Call) -> None:
    """Promises 1000 bytes, sends 5 and closes the connection."""
    await call.begin(content_length="1000")
    await call.chunk(b'{"a":')


async def midbreak(call: Call) -> None:
    """Streams three chunks and dies."""
    await call.begin(TEXT)
    for content in CHUNKS[:3]:
        await call.chunk(content)
        await asyncio.sleep(0.05)


async def longstream(call: Call) -> None:
    """Streams data.n chunks, data.gap seconds apart."""
    count = min(int(call.option("n", 70)), 100_000)
    await call.stream((b"chunk-%d\n" % i for i in range(count)), call.option("gap", 1.0))


async def binary(call: Call) -> None:
    """Streams bytes that are not UTF-8."""
    await call.stream([b"\xff\xfe\x00", b"\x80abc"])


async def huge(call: Call) -> None:
    """Sends data.bytes bytes of JSON, 1 GiB if it does not say."""
    mebibytes = int(call.option("bytes", 2**30)) // 2**20
    await call.begin()
    await call.chunk(b'"')
    for _ in range(mebibytes):
        await call.chunk(b"x" * 2**20)
    await call.end(b'"')


async def redirect(call: Call) -> None:
    """Sends the caller to the service that answers well."""
    await call.answer(b"", status=307, location="/service_output")


async def auth(call: Call) -> None:
    """Tells the headers and the body that it got."""
    headers = {name.decode(): value.decode() for name, value in call.headers}
    await call.answer(msgspec.json.encode({"headers": headers, "body": call.body}))


async def prove(call: Call) -> None:
    """What nodes deliver on-chain as bytes, with a proof."""
    parts = dict.fromkeys(("raw_input", "processed_input", "processed_output"))
    await call.answer(msgspec.json.encode(parts | {"raw_output": "01", "proof": "c0ffee"}))


VARIANTS: dict[str, Callable[[Call], Awaitable[None]]] = {
    function.__name__: function
    for function in (
        *(slow, hang, badjson, html, textjson, error500, error500text, error404, error_long),
        *(
            array,
            null,
            number,
            empty,
            close,
            midbreak,
            longstream,
            binary,
            huge,
            redirect,
            auth,
            prove,
        ),
    )
}

RESOURCES = msgspec.json.encode(
    {
        "service_id": "echo",
        "version": "1.0.0",
        "hardware_capabilities": [],
        "compute_capability": [],
    }
)


class App:
    """The ASGI application; no framework, so that it costs the benchmarks as little as can be."""

    def __init__(self) -> None:
        self.calls = 0
        self.open = 0
        self.most_open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == "/service_output":
            await self._serve(echo, scope, receive, send)
        elif path.endswith("/service_output") and (variant := VARIANTS.get(path.split("/")[1])):
            await self._serve(variant, scope, receive, send)
        else:
            await self._get(path, scope, send)

    async def _serve(
        self, service: Callable[[Call], Awaitable[None]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        body = b"".join([part async for part in _parts(receive)])
        self.calls += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await service(Call(msgspec.json.decode(body), scope["headers"], send))
        finally:
            self.open -= 1

    async def _get(self, path: str, scope: Scope, send: Send) -> None:
        call = Call({}, [], send)
        if path.endswith("/service-resources"):
            asked = b"model_id=" in scope["query_string"]
            await call.answer(b'{"supported":true}' if asked else RESOURCES)
        elif path == "/health":
            await call.answer(b'{"status":"healthy"}')
        elif path == "/calls":
            counts = {"calls": self.calls, "open": self.open, "most_open": self.most_open}
            await call.answer(msgspec.json.encode(counts))
        else:
            await call.answer(b'{"error":"not found"}', status=404)


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message: Message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="A stand-in for a service container.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    options = parser.parse_args()
    uvicorn.run(
        App(),
        host=options.host,
        port=options.port,
        loop="uvloop",
        http="httptools",
        interface="asgi3",
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
