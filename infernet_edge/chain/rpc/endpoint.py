"""One JSON-RPC server: a batch of calls over HTTP, and what its answer says.

The format is that of jsonrpc.org/specification (2.0); methods and error codes are those of
ethereum.org/en/developers/docs/apis/json-rpc and EIP-1474.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec
from msgspec import UNSET, Struct, UnsetType
from yarl import URL

from infernet_edge.config.host_names import LOOPBACK, OF_THIS_MACHINE, RESOLVING_TIME, host_of
from infernet_edge.config.proxies import Proxy, UnusableProxy, proxy_of
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

Call = tuple[str, list[Any]]
"""A method and its parameters."""

MAX_PER_REQUEST: Final = 100
_MAX_REPLY_BYTES = 16 * 2**20  # bytes
_MAX_MESSAGE = 500  # characters of a server's message that are kept
_REDIRECTIONS: Final = (301, 302, 303, 307, 308)
_REPLACED_FOR = 300.0  # seconds until such a name is resolved again
_THROTTLED_CODES = (429, -32097)
_TRANSIENT = re.compile(
    r"^internal (json-?rpc |server )?error|missing trie node|unknown block|"
    r"(header|block|resource) not found|could not find block|beyond (the )?(current )?head|"
    r"time.?out|timed out|unavailable|overload|try again|not (yet )?(ready|synced)",
    re.I,
)
_ABORTED = re.compile(r"execution (aborted|time.?out|timed out)", re.I)
_THROTTLED = re.compile(r"rate.?limit|too many requests|requests? limit|throughput|capacity", re.I)


class RpcError(InfernetEdgeError):
    """The server's answer to a call is an error.

    `data` is what a contract reverted with (b"" if nothing came); `code` is the server's own.
    """

    def __init__(self, code: int, message: str, data: bytes = b"") -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message
        self.data = data

    @property
    def is_revert(self) -> bool:
        """Whether a contract reverted, rather than the server failing."""
        return bool(self.data) or self.code == 3 or "revert" in self.message.lower()

    @property
    def is_transient(self) -> bool:
        """Whether the server could not answer now, which says nothing about the call.

        The messages are those of geth, Erigon, anvil and the big providers; there are no codes.
        """
        own = self.is_revert or self.is_aborted
        return not own and _TRANSIENT.search(self.message) is not None

    @property
    def is_aborted(self) -> bool:
        """Whether the call itself took a server too long, as geth and Erigon say it.

        It may do so again: what depends on it must not retry without limit.
        """
        return not self.is_revert and _ABORTED.search(self.message) is not None


class ReplyTooLarge(RpcError):
    """What a contract returns is more than the node reads."""


def quantity(answer: Any) -> int:
    """The number that an answer is ("0x1f"); raises ValueError for everything else."""
    if not isinstance(answer, str):
        raise ValueError(f"not a quantity: {answer!r:.60}")
    return int(answer, 16)


class EndpointFailure(Exception):
    """A server gave no usable answer. The text names neither credentials nor path of its URL.

    `pause`: the seconds of its Retry-After.
    """

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class _TooMany(EndpointFailure):
    """The server does not take so many calls in one request."""


class _TooLarge(EndpointFailure):
    """The reply is longer than the node reads."""


class _Failure(Struct):
    code: Any = 0
    message: Any = ""
    data: Any = None


class _Reply(Struct):
    id: Any = None
    result: Any | UnsetType = UNSET
    error: _Failure | None = None


_decoder = msgspec.json.Decoder(list[_Reply] | _Reply)
_identifiers = itertools.count(1)


class Endpoint:
    """One server. `name` is its host, which is all of its URL that may be shown."""

    def __init__(self, session: aiohttp.ClientSession, url: str, timeout: float) -> None:
        self._address = Address(url)
        self.name = self._address.name
        self._session = session
        self._timeout = timeout
        self._max_calls = MAX_PER_REQUEST

    @property
    def takes_batches(self) -> bool:
        """Whether it has not refused them all yet."""
        return self._max_calls > 1

    async def answers(self, calls: Sequence[Call]) -> list[Any | RpcError]:
        """Make calls; the answers come in their order. Raises EndpointFailure.

        Servers limit how many calls they accept at once, and do not say how many that is: the
        requests shrink until they are accepted. A contract that returns too much for a reply is
        no failure of the server: its call alone is answered with ReplyTooLarge.
        """
        answers: list[Any | RpcError] = []
        while len(answers) < len(calls):
            some = calls[len(answers) : len(answers) + self._max_calls]
            try:
                answers += await self._request(some)
            except _TooMany:
                if len(some) == 1:
                    raise
                self._max_calls = len(some) // 2
            except _TooLarge as failure:
                if all(method != "eth_call" for method, _ in some):
                    raise
                if len(some) == 1:
                    answers.append(ReplyTooLarge(0, str(failure)))
                    continue
                half = len(some) // 2
                answers += await self.answers(some[:half])
                answers += await self.answers(some[half:])
        return answers

    async def _request(self, calls: Sequence[Call]) -> list[Any | RpcError]:
        identifiers = [next(_identifiers) for _ in calls]
        questions = [
            {"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}
            for identifier, (method, params) in zip(identifiers, calls, strict=True)
        ]
        # Not all servers know batches, so a single call is never one.
        body = msgspec.json.encode(questions if len(questions) > 1 else questions[0])
        try:
            async with asyncio.timeout(self._timeout):
                status, reply = await self._post(body)
        except TimeoutError:
            raise EndpointFailure(f"no answer within {self._timeout:g} seconds") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise EndpointFailure(self._address.failure(error)) from None
        return _in_order(_decode(reply, status, len(calls)), identifiers)

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        async with self._session.post(
            **await self._address.request_options(),
            data=body,
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            allow_redirects=False,
        ) as response:
            status = response.status
            if status in _REDIRECTIONS or status == 407:
                raise EndpointFailure(self._address.refusal(status, response.headers))
            if status == 429 or status >= 500:
                pause = _retry_after(response.headers.get("Retry-After", ""))
                raise EndpointFailure(f"status {status} {response.reason or ''}".strip(), pause)
            if status == 413:
                raise _TooMany("status 413: requests are too large for it")
            reply = bytearray()
            async for chunk in response.content.iter_chunked(2**16):
                reply += chunk
                if len(reply) > _MAX_REPLY_BYTES:
                    raise _TooLarge(f"a reply of more than {_MAX_REPLY_BYTES} bytes")
        return status, bytes(reply)


class Address:
    """Where a server is, and the proxy on the way. `name` is its host, which may be shown.

    Requests to a host by which containers address this machine go to this machine when the name
    cannot be resolved. `environment` may name a proxy, see config/proxies.py; other requests of the
    node do not use it.
    """

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        parts = urlsplit(url)
        self.name = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        self._url = url
        self._proxy: Proxy | None = None
        self._problem = ""
        self._in_containers = host_of(url) in OF_THIS_MACHINE
        self._resolved = False
        self._replaced_until = -math.inf
        self._replacement_logged = False
        try:
            self._proxy = proxy_of(url, environment)
        except UnusableProxy as error:
            self._problem = str(error)
        if self._proxy is not None:
            log_event(logger, "rpc.proxy_used", server=self.name, proxy=self._proxy.name)

    async def request_options(self) -> dict[str, Any]:
        """Where to send a request, as arguments of aiohttp. Raises EndpointFailure."""
        if self._problem:
            raise EndpointFailure(self._problem)
        url = URL(self._url)
        if self._in_containers and await self._is_replaced():
            url = url.with_host(LOOPBACK)
        options: dict[str, Any] = {"url": url, "headers": {"Content-Type": "application/json"}}
        if self._proxy is not None:
            options["proxy"] = self._proxy.url
            if self._proxy.authorization:
                # With https, the server itself must not see it: it is for CONNECT.
                place = "proxy_headers" if url.scheme == "https" else "headers"
                given = {"Proxy-Authorization": self._proxy.authorization}
                options[place] = options.get(place, {}) | given
        return options

    async def _is_replaced(self) -> bool:
        """Whether the name for this machine cannot be resolved."""
        if self._resolved:
            return False
        if time.monotonic() < self._replaced_until:
            return True
        try:
            async with asyncio.timeout(RESOLVING_TIME):
                await asyncio.get_running_loop().getaddrinfo(host_of(self._url), None)
        except (OSError, TimeoutError):
            self._replaced_until = time.monotonic() + _REPLACED_FOR
            if not self._replacement_logged:
                log_event(logger, "rpc.host_replaced", server=self.name, used=LOOPBACK)
            self._replacement_logged = True
            return True
        self._resolved = True
        return False

    def failure(self, error: Exception) -> str:
        """Why a connection failed. The texts of aiohttp may hold the whole URL."""
        if isinstance(error, aiohttp.ClientHttpProxyError):  # to CONNECT
            return self.refusal(error.status, {})
        if isinstance(error, aiohttp.ClientConnectorError):
            words = error.os_error.strerror or error.os_error
            of_proxy = isinstance(error, aiohttp.ClientProxyConnectionError)
            return f"no connection{self._to_proxy if of_proxy else ''} ({words})"
        return f"the connection failed ({type(error).__name__})"

    @property
    def _to_proxy(self) -> str:
        proxy = self._proxy
        return "" if proxy is None else f" to the proxy {proxy.name} of {proxy.variable}"

    def refusal(self, status: int, headers: Mapping[str, str]) -> str:
        """What a redirection, or a status of the proxy, means; without path or credentials."""
        if status not in _REDIRECTIONS:
            hint = "; is its user name and password right?" if status == 407 else ""
            return f"status {status} of the connection{self._to_proxy}{hint}"
        target = self._target(headers.get("Location", ""))
        return f"status {status}: it redirects to {target}; correct chain.rpc_url"

    def _target(self, location: str) -> str:
        if not location:
            return "nothing"
        try:
            target, origin = urlsplit(urljoin(self._url, location)), urlsplit(self._url)
            if (target.scheme, target.netloc) == (origin.scheme, origin.netloc):
                return "another path of the same server"
            shown = URL.build(scheme=target.scheme, host=target.hostname or "", port=target.port)
            return str(shown)
        except ValueError:
            return "something that is not a URL"


def _decode(reply: bytes, status: int, asked: int) -> list[_Reply]:
    try:
        decoded = _decoder.decode(reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        refused = "; is the key in chain.rpc_url right?" if status in (401, 403) else ""
        raise EndpointFailure(
            f"status {status} and something that is not JSON-RPC{refused}"
        ) from None
    replies = decoded if isinstance(decoded, list) else [decoded]
    for reply_ in replies:
        if reply_.error is not None and _is_throttled(reply_.error):
            raise EndpointFailure(f"too many requests ({_words(reply_.error)})")
    if asked > 1 and not isinstance(decoded, list):
        words = _words(decoded.error) if decoded.error is not None else "one answer for all"
        raise _TooMany(f"no answer to a batch ({words})")
    return replies


def _in_order(replies: list[_Reply], identifiers: list[int]) -> list[Any | RpcError]:
    by_identifier = {reply.id: reply for reply in replies if isinstance(reply.id, int)}
    answers: list[Any | RpcError] = []
    for identifier in identifiers:
        reply = by_identifier.get(identifier)
        if reply is None:
            raise EndpointFailure("an answer to something else" if replies else "an empty answer")
        if reply.error is not None:
            answers.append(_error(reply.error))
        elif reply.result is UNSET:
            raise EndpointFailure("an answer without a result")
        else:
            answers.append(reply.result)
    return answers


def _error(failure: _Failure) -> RpcError:
    code = failure.code if isinstance(failure.code, int) else 0
    data = failure.data
    if isinstance(data, dict):  # some wrap it
        data = data.get("data") or data.get("result")
    found = re.fullmatch(r"(?:Reverted )?0x((?:[0-9a-fA-F]{2})*)", str(data))
    return RpcError(code, _words(failure), bytes.fromhex(found[1]) if found else b"")


def _words(failure: _Failure) -> str:
    return str(failure.message or "an error without words")[:_MAX_MESSAGE]


def _is_throttled(failure: _Failure) -> bool:
    return failure.code in _THROTTLED_CODES or (
        # A revert's text is a contract's, and -32602 is about the call itself.
        failure.data is None
        and failure.code not in (3, -32602)
        and _THROTTLED.search(_words(failure)) is not None
    )


def _retry_after(text: str) -> float:
    """Seconds of a Retry-After header, which may also be a date (RFC 9110, 10.2.3)."""
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
