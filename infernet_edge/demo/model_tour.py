"""The steps of the demo with a real model: a job, a stream, its stored result and /resources."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from infernet_edge.demo.client import (
    CURL,
    DemoClient,
    DemoFailed,
    Example,
    JobFailed,
    in_words,
    print_request,
)
from infernet_edge.demo.console import StreamPrinter, print_json, print_text
from infernet_edge.demo.model_choice import (
    CONTAINER,
    LOAD_TIMEOUT,
    MAX_BYTES,
    STANDARD_URL,
    ModelService,
)
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError


class _Form(NamedTuple):
    """A kind of request, and the data of the two jobs."""

    noun: str
    job: dict[str, Any]
    stream: dict[str, Any]


def _message(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


_COMPLETION = _Form(
    "completion",
    {"prompt": "The capital of France is", "max_tokens": 24, "temperature": 0},
    {"prompt": "Once upon a time", "max_tokens": 64},
)
_CHAT = _Form(
    "chat",
    {"messages": _message("What is the capital of France?"), "max_tokens": 200},
    {"messages": _message("Tell me a very short story."), "max_tokens": 300},
)


class ModelTour:
    """Runs the steps against the node at `url`, whose storage is in the file `database`."""

    def __init__(self, http: HttpClient, url: str, service: ModelService, database: Path) -> None:
        self._client = DemoClient(http, url, LOAD_TIMEOUT)
        self._service = service
        self._database = database

    async def run(self) -> list[Example]:
        """Run all steps; returns commands that the user may try next. Raises DemoFailed."""
        try:
            form = await self._job()
            job, streamed = await self._stream(form)
            await self._stored(job, streamed)
            await self._resources()
        except (HttpError, TimeoutError, ValueError) as error:
            raise self._client.failure_of(error) from error
        return list(examples(self._client.url, job, form.stream, self._service))

    async def _job(self) -> _Form:
        print_text(f"1. A job: {self._service.model} answers a request of OpenAI's API")
        try:
            form = _COMPLETION
            job = await self._client.job(_request(form.job))
        except JobFailed as refusal:
            # Some servers have no completions, only chats.
            print_text(f"{refusal}", 3)
            print_text("So the same as a chat:", 3)
            form = _CHAT
            job = await self._client.job(_request(form.job))
        answer = job.result["result"]["output"]
        print_text("The model answered:", 3)
        print_text(f"{form.job.get('prompt', '')}{_text_of(answer)}".strip() or "(no text)", 5)
        count = _tokens_of(answer)
        if count:
            print_text(f"{count} tokens, {count / job.seconds:.1f} in a second.", 3)
        print_text()
        return form

    async def _stream(self, form: _Form) -> tuple[str, bytes]:
        """Returns the id of the job, and all that was streamed."""
        print_text("2. A stream: the words arrive as the model generates them")
        begin, first, count = time.perf_counter(), 0.0, 0
        printer, streamed, line = StreamPrinter(5), bytearray(), b""
        async with self._client.stream(_request(form.stream)) as (job, pieces):
            print_text("Server-sent events follow, as from the model server; their texts are:", 3)
            printer.add(form.stream.get("prompt", ""))
            async for piece in pieces:
                streamed += piece
                *lines, line = (line + piece).split(b"\n")
                if len(line) > MAX_BYTES:
                    raise DemoFailed(f"The stream has a line of more than {MAX_BYTES} bytes")
                for text in map(_text_of_event, lines):
                    if text and not count:
                        first = time.perf_counter() - begin
                    count += bool(text)
                    printer.add(text)
            printer.end()
        if not count:
            raise DemoFailed(f"The stream has no text: {bytes(streamed[:200])!r}")
        seconds = time.perf_counter() - begin
        print_text(f"The first word came after {in_words(first)}, all {in_words(seconds)}.", 3)
        print_text()
        return job, bytes(streamed)

    async def _stored(self, job: str, streamed: bytes) -> None:
        print_text("3. What was streamed is stored, in the node's SQLite file")
        result = await self._client.finished(job, {})
        print_request("GET", f"/api/jobs?id={job}")
        stored = str(result["result"]["output"]["output"]).encode()
        # The line break after the id is the node's; the rest is as the model server sent it.
        if stored.strip() != streamed.strip():
            raise DemoFailed(f"The stored result of the job {job} is not what was streamed")
        print_text(f"The job succeeded; its output has the same {len(stored):,} bytes.", 3)
        print_text(f"It is in {self._database}", 3)
        print_text()

    async def _resources(self) -> None:
        print_text("4. The models of this node: clients find the node that has theirs")
        print_request("GET", "/resources")
        found = (await self._client.get("/resources"))[CONTAINER]["compute_capability"]
        models = [model for each in found for model in each["models"]]
        print_json({CONTAINER: models}, 5)
        print_request("GET", f"/resources?model_id={self._service.model}")
        support = await self._client.get("/resources", {"model_id": self._service.model})
        print_json({CONTAINER: support[CONTAINER]}, 5)
        if not support[CONTAINER]["supported"]:
            raise DemoFailed(f"The node does not report the model {self._service.model}")
        print_text()


def _request(data: dict[str, Any]) -> dict[str, Any]:
    return {"containers": [CONTAINER], "data": data}


def _text_of(answer: Any) -> str:
    """The text of an answer, or of an event of a stream; "" for none."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return ""
    choice = choices[0]
    message = choice.get("message") or choice.get("delta") or choice
    # Models that reason write their thoughts first, in a member of its own.
    for name in ("content", "reasoning_content", "reasoning", "text"):
        if isinstance(message, dict) and message.get(name):
            return str(message[name])
    return ""


def _tokens_of(answer: Any) -> int:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0


def _text_of_event(line: bytes) -> str:
    """The text in a line of a stream; raises DemoFailed for an error of the server."""
    if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
        return ""
    event = json.loads(line[5:])
    if isinstance(event, dict) and event.get("error"):
        raise DemoFailed(f"The server broke off the stream: {event['error']}")
    return _text_of(event)


def examples(url: str, job: str, data: dict[str, Any], service: ModelService) -> Iterator[Example]:
    """Commands to paste, and what a configuration needs; `job` is the id of a finished job."""
    body = shlex.quote(json.dumps(_request(data)))
    sent = f" \\\n  -H 'content-type: application/json' \\\n  -d {body}"
    yield Example("A job of your own; the answer is its id", f"{CURL} {url}/api/jobs{sent}")
    yield Example(
        "The result of a job, here of the stream above: replace the id for another one",
        f"{CURL} -G {url}/api/jobs \\\n  -d id={job}",
    )
    yield Example("A stream", f"curl -sN {url}/api/jobs/stream{sent}")
    path = "chat/completions" if "messages" in data else "completions"
    body = shlex.quote(json.dumps({"model": service.model, **data}, ensure_ascii=False))
    yield Example(
        "The same for programs that speak OpenAI's API, such as chat pages",
        f"{CURL} {url}/v1/{path} \\\n  -H 'content-type: application/json' \\\n  -d {body}",
    )
    yield Example(
        "What a node's configuration needs to keep this model",
        "\n".join(_configuration(service)),
    )


def _configuration(service: ModelService) -> Iterator[str]:
    """Lines of TOML. What stands in quotes in JSON does so in TOML."""
    container = service.container
    if service.command:
        yield f"# started with: {service.command}"
    yield "[[containers]]"
    yield f"id = {json.dumps(CONTAINER)}"
    if container.image:
        yield f"image = {json.dumps(container.image)}"
    else:
        yield f"url = {json.dumps(STANDARD_URL if service.command else container.url)}"
    yield f"protocol = {json.dumps(container.protocol)}"
    yield f"models = {json.dumps([service.model], ensure_ascii=False)}"
    if container.bearer:
        yield 'bearer = { file = "/path/to/the/key" }'
    if container.image:
        yield f"container_port = {container.container_port}"
        yield f"command = {json.dumps(container.command, ensure_ascii=False)}"
        yield f"volumes = {json.dumps(container.volumes, ensure_ascii=False)}"
        yield f"startup_timeout = {container.startup_timeout:g}"
    if container.health_path:
        yield f"health_path = {json.dumps(container.health_path)}"
    yield f"timeout = {container.timeout:g}"
