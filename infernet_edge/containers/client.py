"""HTTP client of service containers: one call and its answer, or one call and a stream of bytes.

What is sent, and what of the answer is the output, is up to the container's protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from infernet_edge.backoff import Backoff
from infernet_edge.config.model import Container
from infernet_edge.containers.answers.checking import is_json
from infernet_edge.containers.answers.failures import UNREACHABLE, ContainerFailure, failure_of
from infernet_edge.containers.answers.refusals import Loading, refuse
from infernet_edge.containers.protocols import infernet
from infernet_edge.containers.protocols.call import Call, ContainerInput, RequestBody, StoredInput
from infernet_edge.containers.protocols.sending import headers_of, query_of, sent
from infernet_edge.containers.service import Service, ServiceUnavailable
from infernet_edge.containers.supervision.log_lines import LogReader, NoLogs
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import ConnectFailed, HttpError, InvalidHeader, InvalidUrl
from infernet_edge.http_client.response import HttpResponse
from infernet_edge.http_client.urls import parse_url
from infernet_edge.invariants import InvariantViolated
from infernet_edge.logs import log_event
from infernet_edge.memory import Reservation

logger = logging.getLogger(__name__)

_MAX_CHUNK = 64 * 2**10  # bytes of a stream that are forwarded at once

_RETRY_PAUSE = 1.0  # seconds before a call is repeated, where containers[].retries allows it
_MAX_RETRY_PAUSE = 30.0  # up to which that pause grows

# Seconds before a call is sent again to a server that loads its model or accepts no connections.
_RESEND_PAUSE = 0.25
_MAX_RESEND_PAUSE = 2.0  # up to which that pause grows
_SHORT_ANSWER = 64 * 2**10  # bytes of an answer that is checked without a thread
_LONG_ANSWER = 2 * 2**20  # the same, if it is to be JSON: threads wait for that check in any case

RESTARTED: Final = "The container was restarted while the job was running"


class ServiceClient:
    """Calls containers. Answers over `max_bytes` are failures."""

    def __init__(self, http: HttpClient, max_bytes: int, logs: LogReader | None = None) -> None:
        """`logs` adds the last line of a container's log to failures that say little."""
        self._http = http
        self._max_bytes = max_bytes
        self._logs = logs or NoLogs()

    async def call(
        self,
        service: Service,
        given: ContainerInput,
        memory: Reservation | None = None,
        *,
        keep_numbers: bool = False,
        timeout: float | None = None,
    ) -> bytes | bytearray:
        """Send a job's input and return the output, JSON text, for which `memory` is reserved.

        NaN and Infinity in it, which JSON does not have, are `null`; with `keep_numbers` they are
        kept. `timeout` (seconds) may shorten that of the container. While there is no memory for
        the answer, it is not read and the time-out is suspended.
        Raises ContainerFailure when the container cannot be reached, takes longer than its time-out
        to get ready and to answer, or answers with an error status or with something that is not
        JSON; that of the last attempt, where `retries` of the container allows several. Raises
        StorageError or Damaged when the input cannot be read.
        """
        held = memory.size if memory is not None else 0
        pauses: Backoff | None = None
        for left in range(service.container.retries, -1, -1):
            generation = service.generation
            try:
                answer, response = await self._call_once(service, given, memory, timeout)
                return await self._output(
                    service, given, answer, response, memory, keep_numbers=keep_numbers
                )
            except ContainerFailure as error:
                if service.generation != generation:
                    raise ContainerFailure(RESTARTED, interrupted=True) from None
                if not left or not error.repeatable:
                    raise await self._explained(service, error) from None
                reason = str(error)  # not the error: its traceback would keep the answer's bytes
                asked = min(error.retry_after, _MAX_RETRY_PAUSE)
            log_event(logger, "container.call_repeated", container=service.id, reason=reason)
            answer = b""
            if memory is not None:
                memory.release(memory.size - held)
            pauses = pauses or Backoff(_RETRY_PAUSE, _MAX_RETRY_PAUSE)
            await asyncio.sleep(max(pauses.next(), asked))
        raise InvariantViolated("a call has at least one attempt")

    async def _call_once(
        self,
        service: Service,
        given: ContainerInput,
        memory: Reservation | None,
        timeout: float | None,
    ) -> tuple[bytes | bytearray, HttpResponse]:
        readiness = _Readiness(service, timeout)
        with service.working():
            while True:
                try:
                    with _Failures(service, timeout):
                        until = await readiness.wait()
                        with service.calling():
                            async with asyncio.timeout_at(until) as limit:
                                sending = self._send(service, given, memory, limit)
                                async with await sending as response:
                                    return await self._read(response, memory, limit), response
                except ContainerFailure as error:
                    if not readiness.may_repeat(error):
                        raise

    @asynccontextmanager
    async def stream(
        self,
        service: Service,
        given: ContainerInput,
        timeout: float | None = None,
        memory: Reservation | None = None,
    ) -> AsyncIterator[ServiceStream]:
        """Send a streaming job's input; yields the stream once the container began to answer.

        The container's time-out limits the wait for the head, which includes getting ready, and the
        wait for each chunk; `timeout` may shorten it. `memory` is for an input that the container's
        protocol needs as a whole. Raises ContainerFailure, here or from chunks.
        """
        readiness = _Readiness(service, timeout)
        with service.working():
            while True:
                with _Failures(service, timeout):
                    until = await readiness.wait()
                with service.calling():
                    try:
                        with _Failures(service, timeout):
                            async with asyncio.timeout_at(until) as limit:
                                response = await self._send(
                                    service, given, memory, limit, stream=True
                                )
                    except ContainerFailure as error:
                        if readiness.may_repeat(error):
                            continue
                        raise await self._explained(service, error) from None
                    async with response:
                        yield ServiceStream(response, service, timeout)
                        return

    async def _explained(self, service: Service, error: ContainerFailure) -> ContainerFailure:
        """The failure with the last line of the container's log, where that may say more."""
        line = await self._logs.last_log_line(service) if error.unexplained else ""
        return ContainerFailure(f"{error}; the last line of its log: {line}") if line else error

    async def _output(
        self,
        service: Service,
        given: ContainerInput,
        answer: bytes | bytearray,
        response: HttpResponse,
        memory: Reservation | None,
        *,
        keep_numbers: bool,
    ) -> bytes | bytearray:
        """The output in an answer, by the container's protocol."""
        result = service.protocol.result
        content_type = response.header("content-type")
        is_short = len(answer) <= _SHORT_ANSWER
        if not is_short and service.protocol.PASSES_JSON and _is_quickly_json(answer):
            output = answer
        elif is_short:
            output = result(
                service.container, given, answer, content_type, keep_numbers=keep_numbers
            )
        else:
            output = await asyncio.to_thread(
                result, service.container, given, answer, content_type, keep_numbers=keep_numbers
            )
        if len(output) > self._max_bytes:
            raise self._too_large()
        if memory is not None and len(output) > len(answer):
            await memory.wait_for(len(output) - len(answer))
        return output

    async def _send(
        self,
        service: Service,
        given: ContainerInput,
        memory: Reservation | None,
        limit: asyncio.Timeout,
        *,
        stream: bool = False,
    ) -> HttpResponse:
        """The response of a container that accepts a call: sent again while it loads its model."""
        protocol, pauses = service.protocol, None
        made = protocol.stream_request if stream else protocol.request
        while True:
            if isinstance(given.data, memoryview) and protocol.needs_whole(given):
                given = given._replace(data=bytes(given.data))
            if not isinstance(given.data, StoredInput) or not protocol.needs_whole(given):
                response = await self._post(service, made(service.container, given, service.model))
            else:
                response = await self._post_whole(service, given, given.data, memory, limit, made)
            if response.status < 300:
                service.clear_suspicion()
                if response.is_compressed and not (stream and protocol is infernet):
                    response.close()
                    raise ContainerFailure("Container's answer is compressed, without being asked")
                return response
            pauses = pauses or Backoff(_RESEND_PAUSE, _MAX_RESEND_PAUSE)
            pause, until = pauses.next(), limit.when()
            try:
                await refuse(service, response)
            except Loading:
                if until is None or asyncio.get_running_loop().time() + pause >= until:
                    raise
            await asyncio.sleep(pause)

    async def _post_whole(
        self,
        service: Service,
        given: ContainerInput,
        data: StoredInput,
        memory: Reservation | None,
        limit: asyncio.Timeout,
        made: Callable[[Container, ContainerInput, str], Call],
    ) -> HttpResponse:
        """Read a stored input for a protocol that needs it as a whole, and send the request."""
        if memory is not None and not memory.try_take(data.size):
            await _wait_for(memory, data.size, limit)
        try:
            whole = given._replace(data=b"".join([piece async for piece in data.pieces()]))
            call = await asyncio.to_thread(made, service.container, whole, service.model)
            del whole
            return await self._post(service, call)
        finally:
            if memory is not None:
                memory.release(data.size)

    async def _post(self, service: Service, call: Call) -> HttpResponse:
        """Send a call, once: a container that crashed on a job would get that job again."""
        target = parse_url(service.base_url + call.path, query_of(service.container))
        size = call.body.size if isinstance(call.body, RequestBody) else len(call.body)
        headers = headers_of(service.container)
        return await self._http.request(call.method, target, headers, sent(call.body), size)

    async def _read(
        self,
        response: HttpResponse,
        memory: Reservation | None,
        limit: asyncio.Timeout,
    ) -> bytes | bytearray:
        if (response.content_length or 0) > self._max_bytes:
            response.close()
            raise self._too_large()
        answer: bytes | bytearray = b""
        while part := await response.read():
            if len(answer) + len(part) > self._max_bytes:
                response.close()
                raise self._too_large()
            if memory is not None and not memory.try_take(len(part)):
                await _wait_for(memory, len(part), limit)
            if not answer:
                answer = part
            elif isinstance(answer, bytearray):
                answer += part
            else:
                answer = bytearray(answer)
                answer += part
        return answer

    def _too_large(self) -> ContainerFailure:
        """Created where it is raised: a stored error's traceback would keep the frame's bytes."""
        return ContainerFailure(f"Container's answer is larger than {self._max_bytes} bytes")


class _Readiness:
    """When a call may be sent: once its container is ready, and again if it could not be sent.

    A managed container that refuses the connection has just ended, or soon answers again: the call
    was not received, so it waits for the container like those that come after it. That takes no
    longer than the time limits of a call.
    """

    __slots__ = ("_began", "_end", "_pauses", "_seconds", "_service", "_startup")

    def __init__(self, service: Service, timeout: float | None) -> None:
        self._service = service
        self._seconds, self._startup = service.limits(timeout)
        self._began = asyncio.get_running_loop().time()
        self._end = self._began + self._seconds + (self._startup or 0.0)
        self._pauses: Backoff | None = None

    async def wait(self) -> float:
        """Wait until the container is ready; returns until when it has to answer (loop's time).

        Raises ServiceUnavailable.
        """
        loop, longest = asyncio.get_running_loop(), self._startup or self._seconds
        if self._pauses is not None:
            await asyncio.sleep(self._pauses.next())
            longest = min(longest, max(self._end - loop.time(), 0.0))
        await self._service.wait_ready(longest)
        return self._seconds + (loop.time() if self._startup else self._began)

    def may_repeat(self, failure: ContainerFailure) -> bool:
        """Whether to wait again after this failure."""
        if not failure.unsent or asyncio.get_running_loop().time() >= self._end:
            return False
        self._pauses = self._pauses or Backoff(_RESEND_PAUSE, _MAX_RESEND_PAUSE)
        return True


class ServiceStream:
    """The bytes of a streaming container as they arrive; `content_type` is "" if it sent none."""

    def __init__(self, response: HttpResponse, service: Service, timeout: float | None) -> None:
        self._response = response
        self._timeout = timeout
        self._service = service
        self.content_type = response.header("content-type")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks, none empty.

        Raises ContainerFailure when the container breaks off, or says that it failed.
        """
        watch = self._service.protocol.event_watch()
        while True:
            with _Failures(self._service, self._timeout):
                chunk = self._response.read_now(_MAX_CHUNK)
                if not chunk:
                    async with asyncio.timeout(self._service.limited(self._timeout)):
                        chunk = await self._response.read(_MAX_CHUNK)
            if not chunk:
                if watch is not None:
                    watch(b"\n")
                return
            self._service.clear_suspicion()
            yield chunk
            if watch is not None:
                watch(chunk)


def _is_quickly_json(answer: bytes | bytearray) -> bool:
    return len(answer) <= _LONG_ANSWER and is_json(answer)


async def _wait_for(memory: Reservation, size: int, limit: asyncio.Timeout) -> None:
    """Wait for memory for a part of an answer, while the time limit is suspended."""
    loop, until = asyncio.get_running_loop(), limit.when()
    began = loop.time()
    limit.reschedule(None)
    await memory.wait_for(size)
    limit.reschedule(until and until + loop.time() - began)


class _Failures:
    """Converts every error between the node and a container within a block to a ContainerFailure.

    A class, as each job passes it: a generator costs more.
    """

    __slots__ = ("_service", "_timeout")

    def __init__(self, service: Service, timeout: float | None) -> None:
        self._service = service
        self._timeout = timeout

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *_: object
    ) -> None:
        failure = None if error is None else _failure(self._service, self._timeout, error)
        if failure is not None:
            try:
                raise failure from None
            finally:
                del failure  # its traceback has this frame: both, and the answer, would be kept


def _failure(
    service: Service, timeout: float | None, error: BaseException
) -> ContainerFailure | None:
    """The failure of a call with an error; None for what is not between node and container.

    The container is suspect when it is not known whether it still answers; a shorter `timeout` than
    its own says nothing about that.
    """
    refusal, unsent = None, False
    match error:
        case TimeoutError():
            text = f"Container did not answer within {service.limited(timeout):g} s"
            if service.limited(timeout) < service.container.timeout:
                return ContainerFailure(text, repeatable=True)
        case ServiceUnavailable():
            return ContainerFailure(str(error), refusal=UNREACHABLE)
        case InvalidUrl() | InvalidHeader():
            return ContainerFailure(failure_of(error))
        case HttpError():
            text = failure_of(error)
            if isinstance(error, ConnectFailed):
                refusal, unsent = UNREACHABLE, service.managed
        case _:
            return None
    service.set_suspect(f"a call failed: {text}")
    return ContainerFailure(text, repeatable=True, refusal=refusal, unsent=unsent)
