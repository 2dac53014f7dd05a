"""The steps of the demo: a job, a chain and a stream, over HTTP."""

from __future__ import annotations

import codecs
import json
import shlex
import time
from collections.abc import Iterator
from typing import Any

from infernet_edge.demo.client import CURL, DemoClient, DemoFailed, Example, in_words
from infernet_edge.demo.console import StreamPrinter, print_json, print_text
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError

_ANSWER_TIMEOUT = 30.0  # seconds for one request, and for one job
_JOB = {
    "containers": ["writer"],
    "data": {"prompt": "The small computer", "length": 22, "seed": 3},
}
_CHAIN = {
    "containers": ["writer", "rater"],
    "data": {"prompt": "The old man", "length": 22, "seed": 2},
}
_STREAM = {"containers": ["writer"], "data": {"prompt": "At night", "length": 40, "seed": 5}}


class Walkthrough:
    """Runs the steps against the node at `url`, and prints requests and results."""

    def __init__(self, http: HttpClient, url: str) -> None:
        self._client = DemoClient(http, url, _ANSWER_TIMEOUT)

    async def run(self) -> list[Example]:
        """Run all steps; returns commands that the user may try next. Raises DemoFailed."""
        try:
            await self._direct_job()
            chain = await self._chain()
            await self._stream()
        except (HttpError, TimeoutError, ValueError) as error:
            raise self._client.failure_of(error) from error
        return list(examples(self._client.url, chain))

    async def _direct_job(self) -> None:
        print_text("1. A job: the writer continues a sentence")
        job = await self._client.job(_JOB)
        print_text("The writer answered:", 3)
        print_text(job.result["result"]["output"]["text"], 5)
        print_text()

    async def _chain(self) -> str:
        print_text("2. A chain: the writer's output is the rater's input")
        job = await self._client.job(_CHAIN, {"intermediate": "true"})
        written = job.result["intermediate_results"][0]["output"]
        print_text("The writer wrote:", 3)
        print_text(written["text"], 5)
        print_text("The rater, with that text as its input, answered:", 3)
        print_json(job.result["result"]["output"], 5)
        print_text()
        return job.id

    async def _stream(self) -> None:
        print_text("3. A stream: the words arrive as the writer generates them")
        begin, length = time.perf_counter(), 0
        printer, decoder = StreamPrinter(5), codecs.getincrementaldecoder("utf-8")()
        async with self._client.stream(_STREAM) as (_, pieces):
            print_text("The writer's words follow:", 3)
            async for piece in pieces:
                length += len(piece)
                printer.add(decoder.decode(piece))
            printer.end()
        if not length:
            raise DemoFailed("The stream has no output")
        print_text(f"It took {in_words(time.perf_counter() - begin)}.", 3)
        print_text()


def examples(url: str, job: str) -> Iterator[Example]:
    """Commands to paste; `job` is the id of a finished chain."""
    yield Example("What this node is, and what runs on it", f"{CURL} {url}/info")
    yield Example(
        "A chain of your own; the answer is the id of the job",
        f"{CURL} {url}/api/jobs{_body('writer', 'rater', prompt='At night')}",
    )
    yield Example(
        "The result of a job, here of the chain above: replace the id for another one",
        f"{CURL} -G {url}/api/jobs -d intermediate=true \\\n  -d id={job}",
    )
    yield Example("A stream", f"curl -sN {url}/api/jobs/stream{_body('writer', prompt='The lamp')}")
    yield Example(
        "The models that run here, and the hardware of this machine", f"{CURL} {url}/resources"
    )


def _body(*containers: str, **data: Any) -> str:
    """The arguments that make curl send a job, on separate lines."""
    job = shlex.quote(json.dumps({"containers": containers, "data": data}))
    return f" \\\n  -H 'content-type: application/json' \\\n  -d {job}"
