"""The steps of the demo, as a client of the node: a job, a chain and a stream, over HTTP."""

from __future__ import annotations

import asyncio
import codecs
import json
import shlex
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import aiohttp

from infernet_edge.demo.console import StreamPrinter, print_json, print_text
from infernet_edge.errors import InfernetEdgeError

_ANSWER_TIMEOUT = 30.0  # seconds for one request, and for one job
_POLL_PERIOD = 0.005
_JOB = {
    "containers": ["writer"],
    "data": {"prompt": "The small computer", "length": 22, "seed": 3},
}
_CHAIN = {
    "containers": ["writer", "rater"],
    "data": {"prompt": "The old man", "length": 22, "seed": 2},
}
_STREAM = {"containers": ["writer"], "data": {"prompt": "At night", "length": 40, "seed": 5}}


class DemoFailed(InfernetEdgeError):
    """A step of the demo failed; the text names the step and the unexpected result."""


class Example(NamedTuple):
    """A command to try next, and what it shows."""

    shows: str
    command: str


class Walkthrough:
    """Runs the steps against the node at `url`, and prints requests and results."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT)

    async def run(self) -> list[Example]:
        """Run all steps; returns commands that the user may try next. Raises DemoFailed."""
        try:
            await self._direct_job()
            chain = await self._chain()
            await self._stream()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = str(error) or f"no answer within {_ANSWER_TIMEOUT:g} seconds"
            raise DemoFailed(f"The node did not answer correctly: {reason}") from error
        return list(examples(self._url, chain))

    async def _direct_job(self) -> None:
        print_text("1. A job: the writer continues a sentence")
        _, result = await self._job(_JOB, {})
        print_text("The writer answered:", 3)
        print_text(result["result"]["output"]["text"], 5)
        print_text()

    async def _chain(self) -> str:
        print_text("2. A chain: the writer's output is the rater's input")
        job, result = await self._job(_CHAIN, {"intermediate": "true"})
        written = result["intermediate_results"][0]["output"]
        print_text("The writer wrote:", 3)
        print_text(written["text"], 5)
        print_text("The rater, with that text as its input, answered:", 3)
        print_json(result["result"]["output"], 5)
        print_text()
        return job

    async def _stream(self) -> None:
        print_text("3. A stream: the words arrive as the writer generates them")
        self._print_request("POST", "/api/jobs/stream", _STREAM)
        begin = time.perf_counter()
        async with self._session.post(
            f"{self._url}/api/jobs/stream", json=_STREAM, timeout=self._timeout
        ) as response:
            await _refuse_errors(response)
            # The first line is the id of the job, the rest is the container's output.
            job = (await response.content.readline()).decode().strip()
            print_text(f"The first line is the id of the job: {job}", 3)
            print_text("The writer's words follow:", 3)
            printer, decoder = StreamPrinter(5), codecs.getincrementaldecoder("utf-8")()
            length = 0
            async for piece in response.content.iter_any():
                length += len(piece)
                printer.add(decoder.decode(piece))
            printer.end()
        if not length:
            raise DemoFailed("The stream has no output")
        print_text(f"It took {_seconds(begin)}.", 3)
        print_text()

    async def _job(
        self, request: dict[str, Any], parameters: dict[str, str]
    ) -> tuple[str, dict[str, Any]]:
        """Post a job and wait until it has finished; returns its id and its JobResult."""
        self._print_request("POST", "/api/jobs", request)
        begin = time.perf_counter()
        async with self._session.post(
            f"{self._url}/api/jobs", json=request, timeout=self._timeout
        ) as response:
            await _refuse_errors(response)
            job = str((await response.json())["id"])
        print_text(f"The node stored it on disk, as job {job}", 3)
        async with asyncio.timeout(_ANSWER_TIMEOUT):
            result = await self._finished(job, parameters)
        took = _seconds(begin)
        if result["status"] != "success":
            failure = result["result"]
            raise DemoFailed(f"The job failed in {failure['container']}: {failure['error']}")
        query = "".join(f"&{name}={value}" for name, value in parameters.items())
        self._print_request("GET", f"/api/jobs?id={job}{query}")
        print_text(f"It finished {took} after it was sent.", 3)
        return job, result

    async def _finished(self, job: str, parameters: dict[str, str]) -> dict[str, Any]:
        while True:
            result = await self._result(job, parameters)
            if result["status"] != "running":
                return result
            await asyncio.sleep(_POLL_PERIOD)

    async def _result(self, job: str, parameters: dict[str, str]) -> dict[str, Any]:
        async with self._session.get(
            f"{self._url}/api/jobs", params={"id": job, **parameters}, timeout=self._timeout
        ) as response:
            await _refuse_errors(response)
            results = await response.json()
        if len(results) != 1:
            raise DemoFailed(f"The node did not find its own job {job}")
        return dict(results[0])

    def _print_request(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        print_text(f"{method} {path}", 3)
        if body is not None:
            print_json(body, 5)


async def _refuse_errors(response: aiohttp.ClientResponse) -> None:
    if response.status == 200:
        return
    text = (await response.text())[:500]
    raise DemoFailed(
        f"{response.method} {response.url.path} was answered with {response.status}: {text}"
    )


def _seconds(begin: float) -> str:
    seconds = time.perf_counter() - begin
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def examples(url: str, job: str) -> Iterator[Example]:
    """Commands to paste; `job` is the id of a finished chain."""
    curl = "curl -s -w '\\n'"  # adds the line break that JSON answers lack
    yield Example("What this node is, and what runs on it", f"{curl} {url}/info")
    yield Example(
        "A chain of your own; the answer is the id of the job",
        f"{curl} {url}/api/jobs{_body('writer', 'rater', prompt='At night')}",
    )
    yield Example(
        "The result of a job, here of the chain above: replace the id for another one",
        f"{curl} -G {url}/api/jobs -d intermediate=true \\\n  -d id={job}",
    )
    yield Example("A stream", f"curl -sN {url}/api/jobs/stream{_body('writer', prompt='The lamp')}")
    yield Example(
        "The models that run here, and the hardware of this machine", f"{curl} {url}/resources"
    )


def _body(*containers: str, **data: Any) -> str:
    """The arguments that make curl send a job, on separate lines."""
    job = shlex.quote(json.dumps({"containers": containers, "data": data}))
    return f" \\\n  -H 'content-type: application/json' \\\n  -d {job}"
