"""Why a container could not be called, in plain words: no texts of the HTTP library."""

from __future__ import annotations

import errno
import os
import re
import ssl
from typing import Final, NamedTuple

import aiohttp

from infernet_edge.errors import InfernetEdgeError

_CLOSED = (errno.ECONNRESET, errno.EPIPE)
# Where a name has several addresses, the error of each is in the text only (aiohappyeyeballs).
_NUMBER = re.compile(r"\[Errno (\d+)\]")


class Refusal(NamedTuple):
    """The HTTP status that fits a failure: the one that a container answered, and that `text`.

    `retry_after`: the seconds for which it asks before the request is repeated, or 0.
    """

    status: int
    text: str = ""
    retry_after: float = 0.0


UNREACHABLE: Final = Refusal(503)
"""The container does not run now, or cannot be reached."""


class ContainerFailure(InfernetEdgeError):
    """A container did not return a valid answer; the text is for the job's client.

    `repeatable` is whether the same call may succeed later, see `containers[].retries`;
    `unexplained` whether the container's log may say more than its answer; `interrupted` whether
    the node itself stopped the container meanwhile, so that the call has to be made again.
    `retry_after` are the seconds for which the container asks before that (Retry-After), or 0.
    `refusal`: what HTTP says of it, None for nothing.
    """

    def __init__(
        self,
        text: str,
        *,
        repeatable: bool = False,
        unexplained: bool = False,
        interrupted: bool = False,
        retry_after: float = 0.0,
        refusal: Refusal | None = None,
    ) -> None:
        super().__init__(text)
        self.refusal = refusal
        self.repeatable = repeatable
        self.unexplained = unexplained
        self.interrupted = interrupted
        self.retry_after = retry_after


def failure_of(error: BaseException) -> str:
    """The failure of a call, as a sentence for the job's client. It holds no address."""
    if isinstance(error, aiohttp.InvalidURL):
        return "Container's url is not valid"
    if cause := _connection_problem(error):
        return f"Cannot connect to container: {cause}"
    if _is_closed(error):
        return "Container closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "Container broke off in the middle of its answer"
    if isinstance(error, OSError):
        return f"The connection to the container failed: {_os_problem(error)}"
    if isinstance(error, aiohttp.ClientError):
        return "Container's answer is not valid HTTP"
    return "Container's url or bearer cannot be sent over HTTP"


def cause_of(error: BaseException) -> str:
    """The same in a few words, for the reason why a probe failed."""
    if isinstance(error, aiohttp.InvalidURL):
        return "the url is not valid"
    if cause := _connection_problem(error):
        return cause
    if _is_closed(error):
        return "it closed the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "it broke off in the middle of its answer"
    if isinstance(error, OSError):
        return _os_problem(error)
    if isinstance(error, aiohttp.ClientError):
        return "its answer is not valid HTTP"
    return "the url or bearer cannot be sent over HTTP"


def _connection_problem(error: BaseException) -> str:
    """Why there is no connection; "" for other errors."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "")
        return f"its certificate is not valid{f' ({reason})' if reason else ''}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _os_problem(error.os_error)
    return ""


def _os_problem(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS, or in another version; is its url http instead of https?"
    numbers = [error.errno or 0, *map(int, _NUMBER.findall(str(error)))]
    known = next((number for number in numbers if number > 0), 0)
    return os.strerror(known) if known else "its name or address is not known"


def _is_closed(error: BaseException) -> bool:
    closed = isinstance(error, OSError) and error.errno in _CLOSED
    # A connection that was closed before the request was written has no number.
    closed = closed or (isinstance(error, aiohttp.ClientOSError) and error.errno is None)
    return closed or isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError)
