"""Asks another node for its health and what it does, without a token and with short limits.

The other side is a stranger: whatever it answers is bounded, checked and cleaned.
"""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from infernet_edge.discovery.forms import Health
from infernet_edge.discovery.service import clean, container_ids
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import ConnectFailed, HttpError
from infernet_edge.http_client.urls import parse_url

_FETCH_TIMEOUT = 2.0  # seconds for one answer
_MAX_ANSWER = 64 * 2**10  # bytes of an answer
_MAX_VERSION = 64  # characters
_MAX_PENDING = 10**9
_HEADERS = (("Accept", "application/json"),)


def make_client() -> HttpClient:
    """The client of all requests to other nodes, whose certificates are their own.

    So they are not verified: nothing secret is sent, and what comes back is not trusted.
    """
    return HttpClient(_unverified_context)


class Answered(NamedTuple):
    """What a node answered; `reason` is why it did not, or not all."""

    health: Health
    version: str = ""
    containers: list[str] | None = None
    pending: int | None = None
    reason: str = ""


class _Health(Struct):
    status: str


class _Container(Struct):
    id: str


class _Pending(Struct):
    offchain: int = 0
    onchain: int = 0


class _Info(Struct):
    version: str = ""
    containers: list[_Container] = []
    pending: _Pending | None = None


_Answer = TypeVar("_Answer", _Health, _Info)


class _NoAnswer(Exception):
    """Why there is no usable answer."""


async def ask_node(http: HttpClient, url: str) -> Answered:
    """Ask the node at a URL, such as http://10.0.0.7:4000; never raises for what it does."""
    try:
        health = await _get(http, f"{url}/health", _Health)
    except _NoAnswer as error:
        return Answered("unreachable", reason=str(error))
    state: Health = "healthy" if health.status == "healthy" else "unhealthy"
    try:
        info = await _get(http, f"{url}/info", _Info)
    except _NoAnswer as error:
        return Answered(state, reason=str(error))
    pending = None
    if info.pending is not None:
        pending = min(max(0, info.pending.offchain + info.pending.onchain), _MAX_PENDING)
    return Answered(
        state,
        clean(info.version, _MAX_VERSION),
        container_ids(each.id for each in info.containers),
        pending,
    )


async def _get(http: HttpClient, url: str, kind: type[_Answer]) -> _Answer:
    """One answer; raises _NoAnswer with a short reason."""
    try:
        async with (
            asyncio.timeout(_FETCH_TIMEOUT),
            await http.request("GET", parse_url(url), _HEADERS) as response,
        ):
            if response.status == 401:
                raise _NoAnswer("it needs a token")
            if response.status != 200:
                raise _NoAnswer(f"it answered with status {response.status}")
            body = await response.whole(_MAX_ANSWER)
    except TimeoutError:
        raise _NoAnswer("timed out") from None
    except ConnectFailed as error:
        raise _NoAnswer(_reason(error.os_error)) from None
    except HttpError:
        raise _NoAnswer("its answer is not one of HTTP") from None
    if body is None:
        raise _NoAnswer("its answer is too long")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _NoAnswer("its answer is not that of a node") from None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else "no connection"


@functools.cache
def _unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
