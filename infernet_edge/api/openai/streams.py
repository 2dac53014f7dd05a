"""Streams of OpenAI's API: server-sent events, of what a container sends.

Events of a container pass unchanged, whole ones only, so that an error can follow at any time. A
text becomes events as it arrives; JSON, which comes as a whole, when it has ended. The last event
is `data: [DONE]`, or an error where the container failed.
"""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import AsyncIterator
from typing import Final

from infernet_edge.api.openai.answers import Chunks, Naming, events_of
from infernet_edge.api.openai.errors import error_event, failure_of_job, failure_of_stream
from infernet_edge.api.openai.requests import Asked
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.protocols.call import OFF_CHAIN, STREAM, ContainerInput
from infernet_edge.containers.service import Service
from infernet_edge.events.text import MEDIA_TYPE
from infernet_edge.jobs.streams import JobStream

_MAX_EVENT: Final = 64 * 2**10  # bytes of an event that are kept until it is whole
_MAX_WHOLE: Final = 2**20  # bytes of JSON that becomes events
_QUIET: Final = 15.0  # seconds without an event, before the first one, until a comment is sent
_COMMENT: Final = b": the job waits\n\n"
_DONE: Final = b"data: [DONE]\n\n"
_IS_DONE: Final = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\][\r\n]*\Z")
_IS_ERROR: Final = re.compile(rb"""(?:^|[\r\n])data: ?\{\s*"error"\s*:""")
_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
_TAIL: Final = 64  # bytes of what was sent in which [DONE] is looked for


class CutOff(Exception):
    """The container failed within an event that was sent in part: no error can follow."""


async def events(
    stream: JobStream, service: Service, asked: Asked, naming: Naming
) -> AsyncIterator[bytes]:
    """All events of a stream, with its end. Raises CutOff."""
    chunks = stream.chunks()
    first: asyncio.Future[bytes | None] = asyncio.ensure_future(anext(chunks, None))
    try:
        while not (await asyncio.wait((first,), timeout=_QUIET))[0]:
            yield _COMMENT
    finally:
        first.cancel()
    async for each in _converted(stream, _Begun(first.result(), chunks), service, asked, naming):
        yield each


def _failure(stream: JobStream) -> bytes:
    return error_event(failure_of_stream(stream.failure, stream.job.id))


class _Begun:
    """Chunks whose first one was read; it is None where there is none."""

    def __init__(self, first: bytes | None, others: AsyncIterator[bytes]) -> None:
        self._first = first
        self._others = others

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._first is not None:
            yield self._first
            async for chunk in self._others:
                yield chunk


def _converted(
    stream: JobStream, chunks: _Begun, service: Service, asked: Asked, naming: Naming
) -> AsyncIterator[bytes]:
    """What the container sent as events, with [DONE] where it did not fail."""
    kind = stream.content_type.partition(";")[0].strip().lower()
    if kind == MEDIA_TYPE:
        return _passed(stream, chunks)
    if kind.endswith("json") or service.container.result:
        return _of_whole(stream, chunks, service, asked, naming)
    return _of_text(stream, chunks, Chunks(asked.path, naming))


async def _passed(stream: JobStream, chunks: _Begun) -> AsyncIterator[bytes]:
    rest, tail, is_within, has_error = b"", b"", False, False
    async for chunk in chunks:
        rest += chunk
        end = _end_of_events(rest)
        if end or len(rest) > _MAX_EVENT:
            is_within = not end
            whole, rest = (rest[:end], rest[end:]) if end else (rest, b"")
            tail = (tail + whole)[-_TAIL:]
            has_error = has_error or _IS_ERROR.search(whole) is not None
            yield whole
    if stream.failed:
        if is_within:
            raise CutOff
        if not has_error:  # otherwise it has said why it failed
            yield _failure(stream)
        return
    if rest.strip():  # the blank line after the last event is missing
        tail += rest
        yield rest + b"\n\n"
    if not _IS_DONE.search(tail):
        yield _DONE


def _end_of_events(text: bytes) -> int:
    """Where the last whole event ends, which has a blank line after it; 0 when there is none."""
    ends = ((text.rfind(end), len(end)) for end in _ENDS)
    return max(found + size if found >= 0 else 0 for found, size in ends)


async def _of_text(stream: JobStream, chunks: _Begun, made: Chunks) -> AsyncIterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begin = made.begin()
    async for chunk in chunks:
        if text := decoder.decode(chunk):
            yield begin + made.text(text)
            begin = b""
    if stream.failed:
        yield _failure(stream)
        return
    text = decoder.decode(b"", final=True)
    yield begin + (made.text(text) if text else b"") + made.end() + _DONE


async def _of_whole(
    stream: JobStream, chunks: _Begun, service: Service, asked: Asked, naming: Naming
) -> AsyncIterator[bytes]:
    answer = bytearray()
    async for chunk in chunks:
        answer += chunk
        if len(answer) > _MAX_WHOLE:
            text = f"Container's answer is longer than {_MAX_WHOLE} bytes, and no stream"
            yield error_event(failure_of_job(text, None, stream.job.id))
            return
    if stream.failed:
        yield _failure(stream)
        return
    try:
        made = await asyncio.to_thread(_made, bytes(answer), stream, service, asked, naming)
    except ContainerFailure as error:
        yield error_event(failure_of_job(str(error), error.refusal, stream.job.id))
        return
    for each in made:
        yield each
    yield _DONE


def _made(
    answer: bytes, stream: JobStream, service: Service, asked: Asked, naming: Naming
) -> list[bytes]:
    """The events of an answer that is JSON: what the container's protocol takes of it."""
    given = ContainerInput(b"{}", OFF_CHAIN, STREAM, requires_proof=False)
    output = service.protocol.result(
        service.container, given, answer, stream.content_type, keep_numbers=False
    )
    return events_of(asked.path, naming, bytes(output), with_usage=asked.with_usage)
