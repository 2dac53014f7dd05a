"""A client of the demo's node: it prints what it requests, and reports what is unexpected."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from infernet_edge.demo.console import print_json, print_text
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.response import HttpResponse
from infernet_edge.http_client.urls import parse_url

CURL = "curl -s -w '\\n'"
"""The beginning of commands to paste; it adds the line break that JSON answers lack."""

_POLL_PERIOD = 0.005
_MAX_ANSWER = 64 * 2**20  # bytes
_SHOWN = 500  # bytes of an error
_JSON = (("Content-Type", "application/json"),)


class DemoFailed(InfernetEdgeError):
    """A step of the demo failed; the text names the step and the unexpected result."""


class JobFailed(DemoFailed):
    """The job of a step ended as failed; the text is what the container or the node said."""


class Example(NamedTuple):
    """A command to try next, and what it shows."""

    shows: str
    command: str


class FinishedJob(NamedTuple):
    """A job that succeeded: its id, its JobResult, and the seconds that it took."""

    id: str
    result: dict[str, Any]
    seconds: float


class DemoClient:
    """Sends requests to the node at `url`; `timeout` is for one request, and for one job."""

    def __init__(self, http: HttpClient, url: str, timeout: float) -> None:
        self._http = http
        self.url = url
        self._seconds = timeout

    def failure_of(self, error: Exception) -> DemoFailed:
        """What to raise for an error of the connection, or for an answer of another form."""
        reason = str(error) or f"no answer within {self._seconds:g} seconds"
        return DemoFailed(f"The node did not answer correctly: {reason}")

    async def job(
        self, request: dict[str, Any], parameters: Mapping[str, str] | None = None
    ) -> FinishedJob:
        """Post a job and wait until it has finished. Raises DemoFailed."""
        parameters = parameters or {}
        print_request("POST", "/api/jobs", request)
        begin = time.perf_counter()
        job = str((await self._ask("POST", "/api/jobs", body=request))["id"])
        print_text(f"The node stored it on disk, as job {job}", 3)
        result = await self.finished(job, parameters)
        seconds = time.perf_counter() - begin
        query = "".join(f"&{name}={value}" for name, value in parameters.items())
        print_request("GET", f"/api/jobs?id={job}{query}")
        print_text(f"It finished {in_words(seconds)} after it was sent.", 3)
        return FinishedJob(job, result, seconds)

    async def finished(self, job: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Wait until a job has finished; its JobResult. Raises JobFailed if it failed."""
        async with asyncio.timeout(self._seconds):
            result = await self._result(job, parameters)
            while result["status"] == "running":
                await asyncio.sleep(_POLL_PERIOD)
                result = await self._result(job, parameters)
        if result["status"] != "success":
            failure = result["result"]
            raise JobFailed(f"The job failed in {failure['container']}: {failure['error']}")
        return result

    @contextlib.asynccontextmanager
    async def stream(
        self, request: dict[str, Any]
    ) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """Post a streaming job; yields its id, and the container's output as it arrives."""
        print_request("POST", "/api/jobs/stream", request)
        async with (
            asyncio.timeout(self._seconds),
            await self._request("POST", "/api/jobs/stream", body=request) as response,
        ):
            # The first line is the id of the job, the rest is the container's output.
            line, rest = await _first_line(response)
            identifier = line.decode().strip()
            print_text(f"The first line is the id of the job: {identifier}", 3)
            yield identifier, _parts(rest, response)

    async def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """The JSON answer of a path."""
        return await self._ask("GET", path, parameters)

    async def _ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        async with (
            asyncio.timeout(self._seconds),
            await self._request(method, path, parameters, body) as response,
        ):
            return json.loads(await response.whole(_MAX_ANSWER) or b"")

    async def _request(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> HttpResponse:
        target = parse_url(f"{self.url}{path}", tuple((parameters or {}).items()))
        sent = b"" if body is None else json.dumps(body).encode()
        response = await self._http.request(method, target, _JSON, sent)
        if response.status == 200:
            return response
        async with response:
            text = (await response.read(_SHOWN)).decode("utf-8", "replace")
        raise DemoFailed(f"{method} {path} was answered with {response.status}: {text}")

    async def _result(self, job: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        results = await self.get("/api/jobs", {"id": job, **parameters})
        if len(results) != 1:
            raise DemoFailed(f"The node did not find its own job {job}")
        return dict(results[0])


def print_request(method: str, path: str, body: dict[str, Any] | None = None) -> None:
    """Print a request as it is sent."""
    print_text(f"{method} {path}", 3)
    if body is not None:
        print_json(body, 5)


def in_words(seconds: float) -> str:
    """A duration, such as "12 ms"."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


async def _first_line(response: HttpResponse) -> tuple[bytes, bytes]:
    """The first line of a body, and what has arrived after it."""
    content = b""
    while b"\n" not in content and (part := await response.read()):
        content += part
    line, _, rest = content.partition(b"\n")
    return line, rest


async def _parts(first: bytes, response: HttpResponse) -> AsyncIterator[bytes]:
    if first:
        yield first
    while part := await response.read():
        yield part
