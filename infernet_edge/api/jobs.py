"""Takes requests: from the body of a POST to stored jobs that run."""

from __future__ import annotations

import asyncio
import functools
import re
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, Raw, UnsetType, structs

from infernet_edge import schema
from infernet_edge.api.access.admission import Caller
from infernet_edge.api.endpoints.idempotency import request_checksum
from infernet_edge.api.json_io import (
    check_utf8,
    decode,
)
from infernet_edge.errors import (
    CANNOT_STORE,
    ApiError,
    BadRequest,
    Refused,
    StorageError,
    Unavailable,
)
from infernet_edge.jobs.checking.inputs import InputSchemas
from infernet_edge.jobs.contents import PIECE, Buffer
from infernet_edge.jobs.guardian import MAX_CONTAINERS, Guardian
from infernet_edge.jobs.idempotency import Record
from infernet_edge.jobs.job import DIRECT, NO_OPTIONS, STREAM, Job, RunOptions
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.jobs.store import JobStore
from infernet_edge.jobs.streams import JobStream
from infernet_edge.metrics.measurements import ChainMeasurements
from infernet_edge.tasks import Deadline

_MAX_ITEMS = 10_000  # requests in one batch
_CHECKING_TIME = 0.01  # seconds in which they are checked before other requests run
_DELEGATED_AT_ONCE = 16  # delegated subscriptions of a batch, accepted concurrently

_MAX_IDS_BYTES = 64 * 2**10  # bytes of a request's container ids; longer lists are not decoded


_MARK: Final = b'"subscription"'


class _Shape(msgspec.Struct):
    """The fields that distinguish the two kinds of request; the decoder skips all others."""

    subscription: Raw | UnsetType = UNSET
    containers: Raw | UnsetType = UNSET


class _UndecodedRequest(msgspec.Struct):
    """A JobRequest whose fields are not decoded, or a DelegatedSubscriptionRequest."""

    subscription: Raw | UnsetType = UNSET
    containers: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    requires_proof: Raw | UnsetType = UNSET
    options: Raw | UnsetType = UNSET


class _Identified(msgspec.Struct):
    """A JobResponse, or a DelegatedSubscriptionResponse."""

    id: str = ""


_requests = msgspec.json.Decoder(schema.JobRequest)
_responses = msgspec.json.Decoder(_Identified)
_shapes = msgspec.json.Decoder(_Shape)
_undecoded = msgspec.json.Decoder(_UndecodedRequest)
_NO_DATA: Final = Raw(b"{}")
_anything = msgspec.json.Decoder(Raw)
_MORE = re.compile(r"trailing characters \(byte (\d+)\)")  # counted from 1
_SPACE = re.compile(rb"[ \t\n\r]*")


class Delegations(Protocol):
    """The interface of the chain for the API: accepts delegated subscriptions."""

    async def accept(self, request: Buffer, client: str, deadline: Deadline | None = None) -> None:
        """Check and store a DelegatedSubscriptionRequest; raises an ApiError when it is refused.

        What the chain has not answered until the deadline is checked later.
        """

    def deadline(self) -> Deadline:
        """The deadline of the chain for requests that arrive now."""

    @property
    def pending(self) -> int:
        """On-chain jobs that are not finished."""

    @property
    def address(self) -> str:
        """The node's account; "" when the chain is disabled."""

    @property
    def measurements(self) -> ChainMeasurements | None:
        """What the chain counts; None when it is disabled, or has not started."""


class NoDelegations:
    """The implementation while the chain is disabled."""

    pending = 0
    address = ""
    measurements = None

    async def accept(self, request: Buffer, client: str, deadline: Deadline | None = None) -> None:
        raise Refused("Chain not enabled")

    def deadline(self) -> Deadline:
        return Deadline(0.0)


class Accepted(NamedTuple):
    """The answer to an accepted request, and the id of its job; "" for none."""

    answer: bytes
    job: str


class MakeRecord(Protocol):
    """Makes the record of an answer, see RememberedAnswers.record."""

    def __call__(self, answer: bytes, *, is_final: bool = True) -> Record: ...


class JobIntake:
    """Turns the body of a request into a stored job that runs."""

    def __init__(
        self,
        guardian: Guardian,
        schemas: InputSchemas,
        store: JobStore,
        orchestrator: Orchestrator,
        delegations: Delegations,
    ) -> None:
        self._guardian = guardian
        self._schemas = schemas
        self._store = store
        self._orchestrator = orchestrator
        self._delegations = delegations

    async def accept(
        self, body: bytes | bytearray, caller: Caller, key: str = "", *, attended: bool = False
    ) -> Accepted:
        """Accept one request, of either kind; returns when it is on the disk.

        With an idempotency key, a repeated request gets the first answer again. `attended` is as in
        RunOptions, for requests without a key.
        """
        check_utf8(body)
        if not key:
            return await self._accept(body, caller, attended=attended)
        checksum = await request_checksum("/api/jobs", body)
        answers = self._store.answers
        async with answers.request(caller.client, key, checksum) as known:
            if known is not None:
                return Accepted(known.answer, _responses.decode(known.answer).id)
            record = functools.partial(answers.record, caller.client, key, checksum)
            return await self._accept(body, caller, record)

    async def _accept(
        self,
        body: bytes | bytearray,
        caller: Caller,
        record: MakeRecord | None = None,
        *,
        attended: bool = False,
    ) -> Accepted:
        request = _request(body)
        if request is None:
            await self._delegations.accept(body, caller.client)
            if record is not None:
                await self._store.answers.save(record(b"{}"))
            return Accepted(b"{}", "")
        job = await self._prepare(request, caller, len(body))
        if attended:
            job.options = structs.replace(job.options, attended=True)
        answer = b'{"id":"%b"}' % job.id.encode()
        await self._store.add([job], None if record is None else record(answer))
        self._orchestrator.submit(job)
        return Accepted(answer, job.id)

    async def accept_batch(self, body: bytes | bytearray, caller: Caller, key: str = "") -> bytes:
        """Accept many requests; each answer, or error, has the index of its request.

        Returns the answer as JSON text; with an idempotency key as `accept`.
        """
        check_utf8(body)
        if not key:
            return await self._accept_batch(body, caller)
        checksum = await request_checksum("/api/jobs/batch", body)
        answers = self._store.answers
        async with answers.request(caller.client, key, checksum) as known:
            if known is not None and known.is_final:
                return known.answer
            record = functools.partial(answers.record, caller.client, key, checksum)
            before = None if known is None else msgspec.json.decode(known.answer)
            return await self._accept_batch(body, caller, record, before)

    async def _accept_batch(
        self,
        body: bytes | bytearray,
        caller: Caller,
        record: MakeRecord | None = None,
        before: list[Any] | None = None,
    ) -> bytes:
        """`before`: the answers of an earlier run, to whose delegated subscriptions none is known.

        Those are accepted again, which changes nothing where they were accepted.
        """
        items = batch_items(body)
        answers: list[Any] = [None] * len(items) if before is None else before
        jobs: list[tuple[int, Job]] = []
        delegated: list[tuple[int, Buffer]] = []
        room = self._store.room
        may_be_delegated = _MARK in body
        clock = asyncio.get_running_loop().time
        until = clock() + _CHECKING_TIME
        for index, item in enumerate(items):
            if clock() > until:
                await asyncio.sleep(0)  # lets other requests run
                until = clock() + _CHECKING_TIME
            try:
                if may_be_delegated and _is_delegated(bytes(item)):
                    delegated.append((index, item))
                    continue
                if before is not None:
                    continue
                job = await self._prepare(_job_request(item, "item"), caller, len(body))
                if len(jobs) >= room:
                    raise Unavailable("Too many pending jobs")
                jobs.append((index, job))
            except ApiError as error:
                answers[index] = schema.ErrorResponse(error.message, error.params)
        for index, job in jobs:
            answers[index] = schema.JobResponse(job.id)
        answer = schema.encoder.encode(answers)
        if record is not None and before is None:
            await self._store.add([job for _, job in jobs], record(answer, is_final=not delegated))
        elif jobs:
            await self._store.add([job for _, job in jobs])
        for _, job in jobs:
            self._orchestrator.submit(job)
        if delegated:
            await self._accept_delegated(delegated, caller.client, answers)
            answer = schema.encoder.encode(answers)
            if record is not None:
                await self._store.answers.save(record(answer, is_final=True))
        return answer

    async def _accept_delegated(
        self, requests: list[tuple[int, Buffer]], client: str, answers: list[Any]
    ) -> None:
        """Accept delegated subscriptions concurrently: a chain that hangs delays all only once."""
        deadline = self._delegations.deadline()
        at_once = asyncio.Semaphore(_DELEGATED_AT_ONCE)

        async def accept(index: int, request: Buffer) -> None:
            async with at_once:
                try:
                    await self._delegations.accept(request, client, deadline)
                    answers[index] = schema.DelegatedSubscriptionResponse()
                except ApiError as error:
                    answers[index] = schema.ErrorResponse(error.message, error.params)
                except StorageError:  # not an error of the batch: other jobs are stored
                    answers[index] = schema.ErrorResponse(CANNOT_STORE)

        async with asyncio.TaskGroup() as group:
            for index, request in requests:
                group.create_task(accept(index, request))

    async def accept_stream(self, body: bytes | bytearray, caller: Caller) -> JobStream:
        """Start a streaming job."""
        check_utf8(body)
        request = _request(body)
        if request is None:
            raise Refused("Streaming only supported for OffchainJob requests.")
        job = await self._prepare(request, caller, len(body), stream=True)
        memory = self._orchestrator.stream_memory()
        try:
            await self._store.add([job])
        except BaseException:
            memory.release()
            raise
        return self._orchestrator.open_stream(job, memory)

    async def _prepare(
        self, request: schema.JobRequest, caller: Caller, size: int, *, stream: bool = False
    ) -> Job:
        """The job of a request that passes all checks; raises the ApiError of the first other.

        The request is in a body of `size` bytes. A long input that is most of it is not copied.
        """
        self._guardian.check(request, caller.address)
        data = memoryview(request.data)
        if bytes(data[:1]) != b"{":
            raise BadRequest("data: expected an object", {"field": "data"})
        if request.containers[0] in self._schemas:
            await self._schemas.check(request.containers[0], data)
        return Job(
            self._store.new_key(),
            caller.client,
            tuple(request.containers),
            data if len(data) > max(PIECE, size // 2) else bytes(data),
            requires_proof=bool(request.requires_proof),
            kind=STREAM if stream else DIRECT,
            options=NO_OPTIONS if request.options is None else self._options(request, stream),
        )

    def _options(self, request: schema.JobRequest, stream: bool) -> RunOptions:
        options = request.options or schema.JobOptions()
        if options.timeout is not None:
            used = request.containers[:1] if stream else request.containers
            self._guardian.check_timeout(used, options.timeout)
        deadline = options.deadline
        return RunOptions(
            options.priority,
            None if deadline is None else self._store.deadline_after(deadline),
            options.timeout,
        )


def _is_delegated(body: bytes | bytearray) -> bool:
    """Whether it is a DelegatedSubscriptionRequest: those have a `subscription`.

    Two kinds of request share the endpoint without a tag, so the keys decide.
    """
    if _MARK not in body:
        return False
    shape = decode(body, _shapes)
    return shape.subscription is not UNSET and shape.containers is UNSET


def _request(body: bytes | bytearray) -> schema.JobRequest | None:
    """The JobRequest in a body, None for a delegated one; a long body is read once."""
    if len(body) > _MAX_IDS_BYTES:
        parts = decode(body, _undecoded)
        is_delegated = parts.subscription is not UNSET and parts.containers is UNSET
        return None if is_delegated else _of_parts(parts)
    return None if _is_delegated(body) else decode(body, _requests)


def _job_request(body: Buffer, where: str = "") -> schema.JobRequest:
    """Decode a JobRequest; a list of ids that is too long is refused without decoding it."""
    if len(body) <= _MAX_IDS_BYTES:
        return decode(body, _requests, where)
    return _of_parts(decode(body, _undecoded, where), where)


def _of_parts(parts: _UndecodedRequest, where: str = "") -> schema.JobRequest:
    """Decode the parts of a long JobRequest, of which all but the data are short."""
    ids, data = parts.containers, parts.data
    if ids is not UNSET and len(memoryview(ids)) > _MAX_IDS_BYTES:
        raise BadRequest(
            f"containers: expected at most {MAX_CONTAINERS} ids", {"field": "containers"}
        )
    parts.subscription = UNSET
    if data is not UNSET:
        parts.data = _NO_DATA
    request = decode(schema.encoder.encode(parts), _requests, where)
    return request if data is UNSET else structs.replace(request, data=data)


def batch_items(body: bytes | bytearray) -> list[memoryview]:
    """The items of a JSON list, each as its text; raises BadRequest.

    One by one: 16 MiB of "[0,0,0,…" would become millions of objects. The decoder creates no
    objects for an item, and its error about the text after it has the offset of the item's end.
    """
    start = _skip_space(body, 0)
    if body[start : start + 1] != b"[":
        decode(body, _anything)  # raises a better error for what is not JSON
        raise BadRequest("Expected a list")
    view = memoryview(body)
    items: list[memoryview] = []
    end = _skip_space(body, start + 1)
    if body[end : end + 1] != b"]":
        end = start
        while body[end : end + 1] != b"]":
            if len(items) == _MAX_ITEMS:
                raise BadRequest(f"Expected at most {_MAX_ITEMS} items in one batch")
            begin = end + 1
            end = _item_end(body, begin)
            items.append(view[begin:end])
    if _skip_space(body, end + 1) < len(body):
        raise BadRequest(f"Malformed JSON: unexpected text after the list (byte {end + 1})")
    return items


def _item_end(body: bytes | bytearray, start: int) -> int:
    """The offset of the comma or bracket after an item."""
    try:
        _anything.decode(memoryview(body)[start:])
    except msgspec.DecodeError as error:
        more = _MORE.search(str(error))
        if more is None:
            raise BadRequest(f"Malformed JSON: {error} of what begins at byte {start}") from None
        end = start + int(more.group(1)) - 1
        if body[end] not in b",]":
            raise BadRequest(f"Malformed JSON: expected , or ] (byte {end})") from None
        return end
    except RecursionError:
        raise BadRequest("Malformed JSON: nested too deeply") from None
    raise BadRequest("Malformed JSON: the list has no end")


def _skip_space(text: bytes | bytearray, start: int) -> int:
    match = _SPACE.match(text, start)
    return match.end() if match else start
