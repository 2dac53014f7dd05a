"""Serves OpenAI's API: each request of a model is a job, of a container that has the model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from infernet_edge.api.access.admission import Caller
from infernet_edge.api.endpoints.idempotency import idempotency_key, refuse_key
from infernet_edge.api.endpoints.waiting import wait_until
from infernet_edge.api.jobs import JobIntake
from infernet_edge.api.json_io import (
    NOSNIFF,
    Answer,
    BodyReader,
    StoredAnswer,
    answer_of,
    check_utf8,
)
from infernet_edge.api.openai.answers import Naming, embeddings_answer, text_answer
from infernet_edge.api.openai.errors import JOB_HEADER, failure_of_job, failure_of_stream
from infernet_edge.api.openai.models import Models, Offer, described
from infernet_edge.api.openai.paths import EMBEDDINGS, ENDPOINTS, MODELS
from infernet_edge.api.openai.requests import Asked, job_of, read_request, with_model
from infernet_edge.api.openai.streams import CutOff, events
from infernet_edge.api.streams import while_connected
from infernet_edge.clock import milliseconds
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.errors import BadRequest, Unavailable
from infernet_edge.events.text import MEDIA_TYPE
from infernet_edge.jobs.contents import Content
from infernet_edge.jobs.guardian import Guardian
from infernet_edge.jobs.job import Job
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.jobs.reading.waiting import Waiter
from infernet_edge.jobs.result_json import around_output
from infernet_edge.jobs.store import JobStore
from infernet_edge.jobs.streams import JobStream
from infernet_edge.schema import MAX_DEADLINE_SECONDS, ContainerError

if TYPE_CHECKING:
    from infernet_edge.api.parts import Parts

_OPENING_TIME: Final = 2.0  # seconds for which a container's failure still becomes a status
_SENDING_TIME: Final = 60.0  # seconds for a client to read an event
_AT_ONCE: Final = 64 * 2**10  # bytes of an answer that are converted without a thread
_SPARE_SECONDS: Final = 60.0  # for which a job may take longer than its container's limits
_failures = msgspec.json.Decoder(ContainerError)


class _Task(NamedTuple):
    """A request of a model."""

    asked: Asked
    offer: Offer
    key: str
    scope: Scope
    receive: Receive
    send: Send


class Front:
    """All endpoints of the API."""

    def __init__(
        self, parts: Parts, intake: JobIntake, bodies: BodyReader, guardian: Guardian
    ) -> None:
        self._store: JobStore = parts.store
        self._orchestrator: Orchestrator = parts.orchestrator
        self._intake = intake
        self._bodies = bodies
        self._models = Models(parts.services, guardian, parts.resources)

    async def serve(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request to one of the paths of routes.py."""
        caller: Caller = scope["caller"]
        if path == MODELS:
            found = await self._models.listing(caller)
            await Answer({"object": "list", "data": found})(scope, receive, send)
        elif path.startswith(MODELS):
            name: str = scope["path_params"]["id"]
            offer = await self._models.find(name, caller)
            await Answer(described(name, offer))(scope, receive, send)
        else:
            await self._run(path, scope, receive, send)

    async def _run(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        key = idempotency_key(scope)
        body, asked, offer = await self._read(path, scope, receive)
        task = _Task(asked, offer, key, scope, receive, send)
        if asked.streams:
            refuse_key(scope)
            stream = await self._intake.accept_stream(body, scope["caller"])
            del body
            scope["held"].release()
            await _stream(task, stream)
            return
        with self._store.waiters.admitted() as waiter:  # before the job is stored
            accepted = await self._intake.accept(body, scope["caller"], key, attended=not key)
            job = self._store.unfinished_job(accepted.job)
            del body
            scope["held"].release()
            with self._store.kept([accepted.job]):
                if job is not None:
                    self._store.waiters.wait(waiter, [job.key])
                    await self._wait(task, waiter, job)
                answer = await self._answer(task, accepted.job, job)
                answer.headers.append((JOB_HEADER.encode(), accepted.job.encode()))
                await answer(scope, receive, send)

    async def _read(
        self, path: str, scope: Scope, receive: Receive
    ) -> tuple[bytes | bytearray, Asked, Offer]:
        """The request as the body of a job, what it asks for, and of whom."""
        body = await self._bodies.read(scope, receive)
        check_utf8(body)
        asked = read_request(path, body)
        offer = await self._models.find(asked.model, scope["caller"])
        _check(asked, offer)
        if asked.model != offer.model:
            body = with_model(body, offer.model)
        deadline = None if idempotency_key(scope) else _seconds(offer)
        return job_of(offer.service.id, body, deadline), asked, offer

    async def _wait(self, task: _Task, waiter: Waiter, job: Job) -> None:
        """Wait for the end of a job.

        It ends with its request, since only that knows of it; with an idempotency key the client
        may repeat the request, and the job goes on.
        """
        try:
            await wait_until(waiter.ended, _longest(task.offer), task.scope, task.receive)
        except ClientDisconnect:
            self._end(job, task.key)
            raise
        if self._store.unfinished_job(job.id) is not None:
            self._end(job, task.key)
            reason = self._store.closed or "The job did not end in time"
            error = Unavailable(reason, {"id": job.id})
            error.headers[JOB_HEADER] = job.id
            raise error

    def _end(self, job: Job, key: str) -> None:
        if not key:
            self._orchestrator.cancel(job)

    async def _answer(self, task: _Task, identifier: str, job: Job | None) -> Answer | StoredAnswer:
        """The answer of a job that has ended; raises OpenAIError when it failed."""
        client: str = task.scope["caller"].client
        results = await self._store.results(client, [identifier], intermediate=False)
        found = results[0] if results else None
        if found is None or found.result is None:
            raise failure_of_job("The result of the job was deleted", None, identifier)
        if found.status == "failed":
            reason = _failures.decode(await self._text(found.result)).error
            refusal = job.refusal if job is not None else await self._store.refusal_of(identifier)
            raise failure_of_job(reason, refusal, identifier)
        container = task.offer.service.container
        before, after = around_output(container.id)
        output = _within(found.result, len(before), len(after))
        if container.protocol == "openai" and not container.result:
            return answer_of([output], self._store.read)
        size = output.size if isinstance(output, Content) else len(output)
        with task.scope["memory"].reserve("answers") as held:
            held.take(3 * size)  # what is read, its parts, and what is made of them
            text = await self._text(output)
            naming = Naming(identifier, task.asked.model, milliseconds() // 1000)
            try:
                if size > _AT_ONCE:
                    made = await asyncio.to_thread(_made, text, task.asked, naming)
                else:
                    made = _made(text, task.asked, naming)
            except ContainerFailure as error:
                raise failure_of_job(str(error), None, identifier) from None
        return Answer(made, is_due=True)

    async def _text(self, part: bytes | Content) -> bytes:
        if isinstance(part, bytes):
            return part
        return b"".join([piece async for piece in self._store.read(part)])


async def _stream(task: _Task, stream: JobStream) -> None:
    """Pass on the output of a job; one whose client disconnects is cancelled."""
    task.scope["is_abandoned_at_eof"] = True
    await while_connected(task.receive, stream, _send(task, stream))


async def _send(task: _Task, stream: JobStream) -> None:
    """Send a stream. Raises OpenAIError when it failed before anything was sent."""
    try:
        async with asyncio.timeout(_OPENING_TIME):
            await asyncio.shield(stream.opened)
    except TimeoutError:
        pass  # the container is slow: the client gets the id of the job now
    except ContainerFailure as error:
        raise failure_of_stream(error, stream.job.id) from None
    headers = [
        (b"content-type", MEDIA_TYPE.encode() + b"; charset=utf-8"),
        NOSNIFF,
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # disables buffering in reverse proxies
        (JOB_HEADER.encode(), stream.job.id.encode()),
    ]
    naming = Naming(stream.job.id, task.asked.model, milliseconds() // 1000)
    send = task.send
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    clock = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(None) as limit:
            async for event in events(stream, task.offer.service, task.asked, naming):
                limit.reschedule(clock() + _SENDING_TIME)
                await send(_body(event))
                limit.reschedule(None)
    except (TimeoutError, CutOff):
        return  # without a last chunk: the client detects that the answer is not complete
    await send({"type": "http.response.body", "body": b""})


def _body(event: bytes) -> Message:
    return {"type": "http.response.body", "body": event, "more_body": True}


def _made(output: bytes, asked: Asked, naming: Naming) -> bytes:
    if asked.path == EMBEDDINGS:
        return embeddings_answer(naming, output, inputs=asked.inputs, as_base64=asked.base64)
    return text_answer(asked.path, naming, output)


def _within(part: bytes | Content, before: int, after: int) -> bytes | Content:
    """A text without what is around it."""
    if isinstance(part, Content):
        size = part.size - before - after
        return Content(part.job, part.part, size, part.start + before)
    return part[before : len(part) - after]


def _check(asked: Asked, offer: Offer) -> None:
    """Refuse what a container does not serve. Raises BadRequest."""
    container = offer.service.container
    is_openai = container.protocol == "openai"
    only = next((path for path in ENDPOINTS if container.path.endswith(path)), asked.path)
    if is_openai and only != asked.path:
        raise BadRequest(
            f"model: {asked.model} is served at {only} only (containers[].path)",
            {"field": "model"},
        )
    if asked.choices > 1 and (not is_openai or container.result):
        raise BadRequest(
            f"n: expected 1, found {asked.choices}: container {container.id} answers one text",
            {"field": "n"},
        )


def _seconds(offer: Offer) -> float:
    """How long a job may wait for a slot: as long as its container may take for an answer."""
    answering, starting = offer.service.limits(None)
    return min(answering + (starting or 0), MAX_DEADLINE_SECONDS)


def _longest(offer: Offer) -> float:
    """After which a job is not waited for any more; its container's limits end it before."""
    attempts = offer.service.container.retries + 1
    return _seconds(offer) * (attempts + 1) + _SPARE_SECONDS * attempts
