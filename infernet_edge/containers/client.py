"""HTTP client of service containers: one call and its answer, or one call and a stream of bytes.

The protocol is Infernet's container interface: POST /service_output with a source, a destination,
data and requires_proof; the answer is JSON.
"""

from __future__ import annotations

import asyncio
import functools
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple, overload

import aiohttp
import msgspec
from yarl import URL

from infernet_edge.backoff import Backoff
from infernet_edge.containers.answers.failures import failure_of
from infernet_edge.containers.answers.numbers import has_numbers, without_numbers
from infernet_edge.containers.answers.pages import is_page, page_text
from infernet_edge.containers.service import Service, ServiceUnavailable
from infernet_edge.containers.supervision.log_lines import LogReader, NoLogs
from infernet_edge.errors import InfernetEdgeError, StorageError
from infernet_edge.hardware.host_resolver import HostResolver
from infernet_edge.invariants import InvariantViolated
from infernet_edge.logs import log_event
from infernet_edge.memory import Reservation
from infernet_edge.storage.checksums import Damaged
from infernet_edge.validation import is_utf8

logger = logging.getLogger(__name__)

ON_CHAIN: Final = 0
OFF_CHAIN: Final = 1
STREAM: Final = 2

_WRITE_BYTES = 2**20  # bytes of a body that are written to the socket at once
_MAX_ERROR_BYTES = 4096  # bytes of a container's error text that are kept
_MAX_CHUNK = 64 * 2**10  # bytes of a stream that are forwarded at once
_CONNECT_TIMEOUT = 10.0  # seconds to connect to a container, perhaps on another machine
# Seconds for which an idle connection is kept. Servers in containers close theirs after 2 s
# (gunicorn) or 5 s (uvicorn, hypercorn): closing first avoids sending into a closing connection.
_KEEP_ALIVE = 1.5

_RETRY_PAUSE = 1.0  # seconds before a call is repeated, where containers[].retries allows it
_MAX_RETRY_PAUSE = 30.0  # up to which that pause grows

RESTARTED: Final = "The container was restarted while the job was running"

_json = msgspec.json.Decoder(msgspec.Raw)


class ContainerFailure(InfernetEdgeError):
    """A container did not return a valid answer; the text is for the job's client.

    `repeatable` is whether the same call may succeed later, see `containers[].retries`;
    `unexplained` whether the container's log may say more than its answer; `interrupted` whether
    the node itself stopped the container meanwhile, so that the call has to be made again.
    """

    def __init__(
        self,
        text: str,
        *,
        repeatable: bool = False,
        unexplained: bool = False,
        interrupted: bool = False,
    ) -> None:
        super().__init__(text)
        self.repeatable = repeatable
        self.unexplained = unexplained
        self.interrupted = interrupted


def make_session() -> aiohttp.ClientSession:
    """Create the HTTP session of the process. Each container's limit bounds its connections."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=60, resolver=HostResolver()
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
        headers={"Content-Type": "application/json"},
    )


class StoredInput(NamedTuple):
    """An input that is read while it is sent: JSON text of `size` bytes."""

    size: int
    pieces: Callable[[], AsyncIterator[bytes]]


class RequestBody(NamedTuple):
    """The body of POST /service_output: JSON text around the input."""

    before: bytes
    data: StoredInput
    after: bytes

    @property
    def size(self) -> int:
        """The length in bytes."""
        return len(self.before) + self.data.size + len(self.after)


@overload
def request_body(data: bytes, source: int, destination: int, *, requires_proof: bool) -> bytes: ...


@overload
def request_body(
    data: bytes | StoredInput, source: int, destination: int, *, requires_proof: bool
) -> bytes | RequestBody: ...


def request_body(
    data: bytes | StoredInput, source: int, destination: int, *, requires_proof: bool
) -> bytes | RequestBody:
    """The body of POST /service_output; `data` is JSON text, which is inserted unchanged."""
    before = b'{"source":%d,"destination":%d,"data":' % (source, destination)
    after = b',"requires_proof":%b}' % (b"true" if requires_proof else b"false")
    if isinstance(data, bytes):
        return b"%b%b%b" % (before, data, after)
    return RequestBody(before, data, after)


class ServiceClient:
    """Calls containers. Answers over `max_bytes` are failures."""

    def __init__(
        self, session: aiohttp.ClientSession, max_bytes: int, logs: LogReader | None = None
    ) -> None:
        """`logs` adds the last line of a container's log to failures that say little."""
        self._session = session
        self._max_bytes = max_bytes
        self._logs = logs or NoLogs()

    async def call(
        self,
        service: Service,
        body: bytes | RequestBody,
        memory: Reservation | None = None,
        *,
        keep_numbers: bool = False,
        timeout: float | None = None,
    ) -> bytes | bytearray:
        """Send a job's body and return the JSON text of the answer, for which `memory` is reserved.

        NaN and Infinity in it, which JSON does not have, are `null`; with `keep_numbers` they are
        kept. `timeout` (seconds) may shorten that of the container. While there is no memory for
        the answer, it is not read and the time-out is suspended.
        Raises ContainerFailure when the container cannot be reached, takes longer than its time-out
        to get ready and to answer, or answers with an error status or with something that is not
        JSON; that of the last attempt, where `retries` of the container allows several. Raises
        StorageError or Damaged when the input cannot be read.
        """
        held = memory.size if memory is not None else 0
        pauses = Backoff(_RETRY_PAUSE, _MAX_RETRY_PAUSE)
        for left in range(service.container.retries, -1, -1):
            generation = service.generation
            try:
                answer, response = await self._call_once(service, body, memory, timeout)
                return await self._checked(answer, response, memory, keep_numbers=keep_numbers)
            except ContainerFailure as error:
                if service.generation != generation:
                    raise ContainerFailure(RESTARTED, interrupted=True) from None
                if not left or not error.repeatable:
                    raise await self._explained(service, error) from None
                reason = str(error)  # not the error: its traceback would keep the answer's bytes
            log_event(logger, "container.call_repeated", container=service.id, reason=reason)
            answer = b""
            if memory is not None:
                memory.release(memory.size - held)
            await asyncio.sleep(pauses.next())
        raise InvariantViolated("a call has at least one attempt")

    async def _call_once(
        self,
        service: Service,
        body: bytes | RequestBody,
        memory: Reservation | None,
        timeout: float | None,
    ) -> tuple[bytes | bytearray, aiohttp.ClientResponse]:
        seconds = service.limited(timeout)
        until = asyncio.get_running_loop().time() + seconds
        with service.working(), _failures(service, timeout):
            await service.wait_ready(seconds)
            with service.calling():
                async with asyncio.timeout_at(until) as limit:
                    async with await self._post(service, body) as response:
                        await _refuse_errors(service, response)
                        return await self._read(response, memory, limit), response

    @asynccontextmanager
    async def stream(
        self, service: Service, body: bytes | RequestBody, timeout: float | None = None
    ) -> AsyncIterator[ServiceStream]:
        """Send a streaming job's body; yields the stream once the container began to answer.

        The container's time-out limits the wait for the head, which includes getting ready, and the
        wait for each chunk; `timeout` may shorten it. Raises ContainerFailure, here or from chunks.
        """
        seconds = service.limited(timeout)
        until = asyncio.get_running_loop().time() + seconds
        with service.working():
            with _failures(service, timeout):
                await service.wait_ready(seconds)
            with service.calling():
                with _failures(service, timeout):
                    async with asyncio.timeout_at(until):
                        response = await self._post(service, body)
                async with response:
                    try:
                        with _failures(service, timeout):
                            async with asyncio.timeout_at(until):
                                await _refuse_errors(service, response)
                    except ContainerFailure as error:
                        raise await self._explained(service, error) from None
                    yield ServiceStream(response, service, timeout)

    async def _explained(self, service: Service, error: ContainerFailure) -> ContainerFailure:
        """The failure with the last line of the container's log, where that may say more."""
        line = await self._logs.last_log_line(service) if error.unexplained else ""
        return ContainerFailure(f"{error}; the last line of its log: {line}") if line else error

    async def _checked(
        self,
        answer: bytes | bytearray,
        response: aiohttp.ClientResponse,
        memory: Reservation | None,
        *,
        keep_numbers: bool,
    ) -> bytes | bytearray:
        """The answer, if it is JSON text in UTF-8, apart from NaN and Infinity."""
        if _is_json(answer):
            return answer
        if has_numbers(answer):
            replaced = await without_numbers(answer)
            if _is_json(replaced):
                if keep_numbers:
                    return answer
                if len(replaced) > self._max_bytes:
                    raise self._too_large()
                if memory is not None:
                    await memory.wait_for(max(0, len(replaced) - len(answer)))
                return replaced
        kind = response.headers.get("Content-Type", "no content type")
        shown = answer[:_MAX_ERROR_BYTES].decode("utf-8", "replace")
        page = is_page(shown, kind)
        shown = page_text(shown) if page else shown[:200].strip()
        raise ContainerFailure(
            f"Container's answer is not JSON ({kind}): {shown}", unexplained=page
        )

    async def _post(self, service: Service, body: bytes | RequestBody) -> aiohttp.ClientResponse:
        bearer = service.container.bearer
        headers = {"Authorization": f"Bearer {bearer.reveal()}"} if bearer else {}
        problems: list[StorageError | Damaged] = []
        if isinstance(body, RequestBody):
            headers["Content-Length"] = str(body.size)
        try:
            # Never sent twice: a container that crashed on a job would get that job again.
            return await self._session.post(
                _output_url(service.base_url),
                data=_sent(body, problems),
                headers=headers,
                allow_redirects=False,
                timeout=_TIMEOUT,
            )
        except aiohttp.ClientError:
            if problems:
                raise problems.pop() from None
            raise

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        memory: Reservation | None,
        limit: asyncio.Timeout,
    ) -> bytes | bytearray:
        if (response.content_length or 0) > self._max_bytes:
            response.close()
            raise self._too_large()
        answer: bytes | bytearray = b""
        while part := await response.content.readany():
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


_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT)


class ServiceStream:
    """The bytes of a streaming container as they arrive; `content_type` is "" if it sent none."""

    def __init__(
        self, response: aiohttp.ClientResponse, service: Service, timeout: float | None
    ) -> None:
        self._response = response
        self._timeout = timeout
        self._service = service
        self.content_type = response.headers.get("Content-Type", "")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks, none empty. Raises ContainerFailure when the container breaks off."""
        while True:
            with _failures(self._service, self._timeout):
                async with asyncio.timeout(self._service.limited(self._timeout)):
                    chunk = await self._response.content.read(_MAX_CHUNK)
            if not chunk:
                return
            self._service.clear_suspicion()
            yield chunk


def _sent(
    body: bytes | RequestBody, problems: list[StorageError | Damaged]
) -> bytes | io.BytesIO | AsyncIterator[bytes]:
    """A body for aiohttp: long ones are sent in pieces, so that the event loop is not blocked."""
    if isinstance(body, bytes):
        return body if len(body) <= _WRITE_BYTES else io.BytesIO(body)
    return _pieces(body, problems)


async def _pieces(
    body: RequestBody, problems: list[StorageError | Damaged]
) -> AsyncIterator[bytes]:
    """A body in pieces. aiohttp wraps errors that are raised here, so `problems` keeps them."""
    yield body.before
    try:
        async for piece in body.data.pieces():
            yield piece
    except (StorageError, Damaged) as error:
        problems.append(error)
        raise
    yield body.after


async def _wait_for(memory: Reservation, size: int, limit: asyncio.Timeout) -> None:
    """Wait for memory for a part of an answer, while the time limit is suspended."""
    loop, until = asyncio.get_running_loop(), limit.when()
    began = loop.time()
    limit.reschedule(None)
    await memory.wait_for(size)
    limit.reschedule(until and until + loop.time() - began)


@contextmanager
def _failures(service: Service, timeout: float | None) -> Iterator[None]:
    """Convert every error between the node and a container to a ContainerFailure.

    The container is suspect when it is not known whether it still answers; a shorter `timeout` than
    its own says nothing about that.
    """
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        text = "Cannot connect to container: Connection timed out"
    except TimeoutError:
        text = f"Container did not answer within {service.limited(timeout):g} s"
        if service.limited(timeout) < service.container.timeout:
            raise ContainerFailure(text, repeatable=True) from None
    except ServiceUnavailable as error:
        raise ContainerFailure(str(error)) from None
    except (aiohttp.ClientError, OSError) as error:
        text = failure_of(error)
    except ValueError as error:  # a host name or a token that cannot be sent over HTTP
        raise ContainerFailure(failure_of(error)) from None
    else:
        return
    service.set_suspect(f"a call failed: {text}")
    raise ContainerFailure(text, repeatable=True)


@functools.lru_cache(maxsize=1024)
def _output_url(base_url: str) -> URL:
    return URL(base_url + "/service_output")


async def _refuse_errors(service: Service, response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status < 500:
        service.clear_suspicion()
    elif service.container.health_path:  # without it the probe would accept the same status
        service.set_suspect(f"a call was answered with status {status}")
    if status < 300:
        return
    if status < 400:
        raise ContainerFailure(f"Container answered with a redirect ({status}), not followed")
    text = await _beginning(response)
    response.close()  # the rest of a long error page is not waited for
    raise ContainerFailure(
        _error_text(response, text),
        repeatable=status >= 500 or status == 429,
        unexplained=status >= 500 and not text.startswith(("{", "[")),
    )


def _error_text(response: aiohttp.ClientResponse, text: str) -> str:
    """What a container answered with an error status; a page as one line."""
    status = f"{response.status} {response.reason or ''}".rstrip()
    if text and not is_page(text, response.headers.get("Content-Type", "")):
        return text
    line = page_text(text)
    if line in status:
        line = status
    elif not line.startswith(str(response.status)):  # otherwise the page shows the status itself
        line = f"{status}: {line}"
    return f"Container answered {line}"


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """The beginning of an answer, as text."""
    content = b""
    while len(content) < _MAX_ERROR_BYTES:
        part = await response.content.read(_MAX_ERROR_BYTES - len(content))
        if not part:
            break
        content += part
    return content.decode("utf-8", "replace").strip()


def _is_json(answer: bytes | bytearray) -> bool:
    """Whether it is JSON text in UTF-8."""
    try:
        _json.decode(answer)
        return is_utf8(answer)
    except (msgspec.DecodeError, RecursionError):
        return False
