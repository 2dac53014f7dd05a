"""Why a container could not be called, in plain words: no texts of the HTTP library."""

from __future__ import annotations

import os
import re
import ssl
from typing import Final, NamedTuple

from infernet_edge.errors import InfernetEdgeError
from infernet_edge.http_client.errors import (
    ConnectFailed,
    ConnectionLost,
    HttpError,
    IncompleteAnswer,
    InvalidHeader,
    InvalidUrl,
)

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
    the node itself stopped the container meanwhile, so that the call has to be made again;
    `unsent` whether a container that the node manages got nothing of the call.
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
        unsent: bool = False,
        retry_after: float = 0.0,
        refusal: Refusal | None = None,
    ) -> None:
        super().__init__(text)
        self.refusal = refusal
        self.repeatable = repeatable
        self.unexplained = unexplained
        self.interrupted = interrupted
        self.unsent = unsent
        self.retry_after = retry_after


def failure_of(error: HttpError) -> str:
    """The failure of a call, as a sentence for the job's client. It holds no address."""
    match error:
        case InvalidUrl():
            return "Container's url is not valid"
        case InvalidHeader():
            return "Container's bearer or headers cannot be sent over HTTP"
        case ConnectFailed():
            return f"Cannot connect to container: {_os_problem(error.os_error)}"
        case ConnectionLost(os_error=OSError() as os_error) if not error.is_closed:
            return f"The connection to the container failed: {_os_problem(os_error)}"
        case ConnectionLost():
            return "Container closed the connection without an answer"
        case IncompleteAnswer():
            return "Container broke off in the middle of its answer"
        case _:
            return "Container's answer is not valid HTTP"


def cause_of(error: HttpError) -> str:
    """The same in a few words, for the reason why a probe failed."""
    match error:
        case InvalidUrl():
            return "the url is not valid"
        case InvalidHeader():
            return "the bearer or headers cannot be sent over HTTP"
        case ConnectFailed():
            return _os_problem(error.os_error)
        case ConnectionLost(os_error=OSError() as os_error) if not error.is_closed:
            return _os_problem(os_error)
        case ConnectionLost():
            return "it closed the connection"
        case IncompleteAnswer():
            return "it broke off in the middle of its answer"
        case _:
            return "its answer is not valid HTTP"


def _os_problem(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message
        return f"its certificate is not valid{f' ({reason})' if reason else ''}"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS, or in another version; is its url http instead of https?"
    numbers = [error.errno or 0, *map(int, _NUMBER.findall(str(error)))]
    known = next((number for number in numbers if number > 0), 0)
    return os.strerror(known) if known else "its name or address is not known"
