"""One JSON-RPC server: a request of one or more calls over HTTP, and where it goes."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import re
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from infernet_edge.chain.rpc.errors import Call, Cause, EndpointFailure, RpcError
from infernet_edge.chain.rpc.replies import Response, Unanswered, read_answers
from infernet_edge.config.host_names import LOOPBACK, OF_THIS_MACHINE, RESOLVING_TIME, host_of
from infernet_edge.config.proxies import Proxy, UnusableProxy, proxy_of
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import ConnectFailed, HttpError, ProxyRefused
from infernet_edge.http_client.heads import Headers
from infernet_edge.http_client.urls import Target, parse_url, through
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_MAX_REPLY_BYTES = 16 * 2**20  # bytes
_REDIRECTIONS: Final = (301, 302, 303, 307, 308)
_SECRET_LENGTH = 12  # characters; keys are longer than that
_REPLACED_FOR = 300.0  # seconds until such a name is resolved again

_identifiers = itertools.count(1)


class Endpoint:
    """One server. `name` is its host, which is all of its URL that may be shown."""

    def __init__(self, http: HttpClient, url: str) -> None:
        self._address = Address(url)
        self.name = self._address.name
        self._http = http

    async def request(
        self, calls: Sequence[Call], timeout: float
    ) -> list[Any | RpcError | Unanswered]:
        """Make calls in one request; the answers come in their order.

        `timeout` is in seconds. Raises EndpointFailure when no call was answered.
        """
        identifiers = [next(_identifiers) for _ in calls]
        questions = [
            {"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}
            for identifier, (method, params) in zip(identifiers, calls, strict=True)
        ]
        # Not all servers know batches, so a single call is never one.
        body = msgspec.json.encode(questions if len(questions) > 1 else questions[0])
        try:
            async with asyncio.timeout(timeout):
                response = await self._post(body)
        except TimeoutError:
            raise EndpointFailure(f"no answer within {timeout:g} seconds", Cause.TIMEOUT) from None
        except HttpError as error:
            unsent = isinstance(error, ConnectFailed | ProxyRefused)
            cause = Cause.UNREACHABLE if unsent else Cause.UNCLEAR
            raise EndpointFailure(self._address.failure(error), cause) from None
        return read_answers(response, calls, identifiers)

    async def _post(self, body: bytes) -> Response:
        target, headers = await self._address.target()
        async with await self._http.request("POST", target, headers, body) as response:
            status = response.status
            if status in _REDIRECTIONS or status == 407:
                reason = self._address.refusal(status, response.header("location"))
                raise EndpointFailure(reason, Cause.UNREACHABLE)
            reply = await response.whole(_MAX_REPLY_BYTES)
        if reply is None:
            raise EndpointFailure(
                f"a reply of more than {_MAX_REPLY_BYTES} bytes", Cause.LARGE_REPLY
            )
        hidden = self._address.without_secrets(reply)
        return Response(status, response.reason, response.header("retry-after"), hidden)


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
        self._secrets = _secrets(url)
        self._headers = _headers(url)
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

    async def target(self) -> tuple[Target, Headers]:
        """Where to send a request, and its headers. Raises EndpointFailure and InvalidUrl."""
        if self._problem:
            raise EndpointFailure(self._problem, Cause.UNREACHABLE)
        target = parse_url(self._url)
        if self._in_containers and await self._is_replaced():
            target = parse_url(_with_host(self._url, LOOPBACK))
        if self._proxy is not None:
            target = through(target, self._proxy.url, self._proxy.authorization)
        return target, self._headers

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

    def without_secrets(self, reply: bytes) -> bytes:
        """A reply without what is secret in the URL: some servers repeat a key that is wrong."""
        for secret in self._secrets:
            reply = reply.replace(secret, b"***")
        return reply

    def failure(self, error: HttpError) -> str:
        """Why a request was not answered."""
        if isinstance(error, ProxyRefused):
            return self.refusal(error.status)
        if isinstance(error, ConnectFailed):
            words = error.os_error.strerror or error.os_error
            return f"no connection{self._to_proxy if error.of_proxy else ''} ({words})"
        return f"the connection failed ({type(error).__name__})"

    @property
    def _to_proxy(self) -> str:
        proxy = self._proxy
        return "" if proxy is None else f" to the proxy {proxy.name} of {proxy.variable}"

    def refusal(self, status: int, location: str = "") -> str:
        """What a redirection, or a status of the proxy, means; without path or credentials."""
        if status not in _REDIRECTIONS:
            hint = "; is its user name and password right?" if status == 407 else ""
            return f"status {status} of the connection{self._to_proxy}{hint}"
        target = self._target(location)
        return f"status {status}: it redirects to {target}; correct chain.rpc_url"

    def _target(self, location: str) -> str:
        if not location:
            return "nothing"
        try:
            target, origin = urlsplit(urljoin(self._url, location)), urlsplit(self._url)
            if (target.scheme, target.netloc) == (origin.scheme, origin.netloc):
                return "another path of the same server"
            host = target.hostname or ""
            shown = f"[{host}]" if ":" in host else host
            return f"{target.scheme}://{shown}" + (f":{target.port}" if target.port else "")
        except ValueError:
            return "something that is not a URL"


def _headers(url: str) -> Headers:
    """The headers of all requests to a URL: its user name and password are sent in one."""
    json = ("Content-Type", "application/json")
    parts = urlsplit(url)
    if parts.username is None:
        return (json,)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return json, ("Authorization", f"Basic {b64encode(pair.encode()).decode()}")


def _with_host(url: str, host: str) -> str:
    """A URL with another host, and the same port."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()


def _secrets(url: str) -> list[bytes]:
    """The user, the password, and the parts of path and query of a URL that may be keys."""
    parts = urlsplit(url)
    found = [unquote(part) for part in re.split(r"[/?&=]", f"{parts.path}?{parts.query}")]
    found += [unquote(part) for part in (parts.username, parts.password) if part]
    return [part.encode() for part in dict.fromkeys(found) if len(part) >= _SECRET_LENGTH]
