"""HTTP client of service containers: one call and its answer, or one call and a stream of bytes.

The protocol is Infernet's container interface: POST /service_output with a source, a destination,
data and requires_proof; the answer is JSON.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple, overload

import aiohttp
import msgspec
from yarl import URL

from infernet_edge.containers.service import Service, ServiceUnavailable
from infernet_edge.errors import InfernetEdgeError, StorageError
from infernet_edge.memory import Reservation
from infernet_edge.storage.checksums import Damaged
from infernet_edge.validation import is_utf8

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

_json = msgspec.json.Decoder(msgspec.Raw)


class ContainerFailure(InfernetEdgeError):
    """A container did not return a valid answer; the text is for the job's client."""


def make_session() -> aiohttp.ClientSession:
    """Create the HTTP session of the process. Each container's limit bounds its connections."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=60),
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

    def __init__(self, session: aiohttp.ClientSession, max_bytes: int) -> None:
        self._session = session
        self._max_bytes = max_bytes

    async def call(
        self, service: Service, body: bytes | RequestBody, memory: Reservation | None = None
    ) -> bytes | bytearray:
        """Send a job's body and return the JSON text of the answer, for which `memory` is reserved.

        While there is no memory for it, the answer is not read and the time-out is suspended.
        Raises ContainerFailure when the container cannot be reached, takes longer than its time-out
        to get ready and to answer, or answers with an error status or with something that is not
        JSON. Raises StorageError or Damaged when the input cannot be read.
        """
        timeout = service.container.timeout
        until = asyncio.get_running_loop().time() + timeout
        with service.working(), _failures(timeout):
            await service.wait_ready(timeout)
            async with asyncio.timeout_at(until) as limit:
                async with await self._post(service, body) as response:
                    await _refuse_errors(response)
                    answer = await self._read(response, memory, limit)
        return _checked(answer, response)

    @asynccontextmanager
    async def stream(
        self, service: Service, body: bytes | RequestBody
    ) -> AsyncIterator[ServiceStream]:
        """Send a streaming job's body; yields the stream once the container began to answer.

        The container's time-out limits the wait for the head, which includes getting ready, and the
        wait for each chunk. Raises ContainerFailure, here or from the stream's chunks.
        """
        timeout = service.container.timeout
        until = asyncio.get_running_loop().time() + timeout
        with _failures(timeout):
            await service.wait_ready(timeout)
            async with asyncio.timeout_at(until):
                response = await self._post(service, body)
        with service.working():
            async with response:
                with _failures(timeout):
                    async with asyncio.timeout_at(until):
                        await _refuse_errors(response)
                yield ServiceStream(response, timeout)

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


_CLOSED = (errno.ECONNRESET, errno.EPIPE)
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT)


class ServiceStream:
    """The bytes of a streaming container as they arrive; `content_type` is "" if it sent none."""

    def __init__(self, response: aiohttp.ClientResponse, timeout: float) -> None:
        self._response = response
        self._timeout = timeout
        self.content_type = response.headers.get("Content-Type", "")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks, none empty. Raises ContainerFailure when the container breaks off."""
        while True:
            with _failures(self._timeout):
                async with asyncio.timeout(self._timeout):
                    chunk = await self._response.content.read(_MAX_CHUNK)
            if not chunk:
                return
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
def _failures(timeout: float) -> Iterator[None]:
    """Convert every error between the node and a container to a ContainerFailure."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        raise ContainerFailure("Cannot connect to container: Connection timed out") from None
    except TimeoutError:
        raise ContainerFailure(f"Container did not answer within {timeout:g} s") from None
    except ServiceUnavailable as error:
        raise ContainerFailure(str(error)) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # ValueError: a host name or a token that cannot be sent over HTTP.
        raise ContainerFailure(_reason(error)) from None


@functools.lru_cache(maxsize=1024)
def _output_url(base_url: str) -> URL:
    return URL(base_url + "/service_output")


async def _refuse_errors(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status < 300:
        return
    if status < 400:
        raise ContainerFailure(f"Container answered with a redirect ({status}), not followed")
    text = await _beginning(response)
    response.close()  # the rest of a long error page is not waited for
    raise ContainerFailure(text or f"Container answered {status} {response.reason or ''}".rstrip())


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """The beginning of an answer, as text."""
    content = b""
    while len(content) < _MAX_ERROR_BYTES:
        part = await response.content.read(_MAX_ERROR_BYTES - len(content))
        if not part:
            break
        content += part
    return content.decode("utf-8", "replace").strip()


def _checked(answer: bytes | bytearray, response: aiohttp.ClientResponse) -> bytes | bytearray:
    """The answer, if it is JSON text in UTF-8."""
    try:
        _json.decode(answer)
        valid = is_utf8(answer)
    except (msgspec.DecodeError, RecursionError):
        valid = False
    if not valid:
        kind = response.headers.get("Content-Type", "no content type")
        shown = answer[:200].decode("utf-8", "replace").strip()
        raise ContainerFailure(f"Container's answer is not JSON ({kind}): {shown}")
    return answer


def _reason(error: BaseException) -> str:
    """The reason for an error between the node and a container, for the job's client."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        reason = os.strerror(number) if number and number > 0 else error.os_error.strerror
        return f"Cannot connect to container: {reason or 'its name or address is not known'}"
    closed = isinstance(error, OSError) and error.errno in _CLOSED
    if closed or isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "Container closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "Container broke off in the middle of its answer"
    return f"Container's answer is not valid HTTP ({type(error).__name__})"
