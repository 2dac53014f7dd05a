"""What a JSON-RPC server answers instead of a result, and why it gives no answer at all.

Methods and error codes are those of ethereum.org/en/developers/docs/apis/json-rpc, EIP-1474 and
jsonrpc.org/specification (2.0).
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any

from infernet_edge.errors import InfernetEdgeError

Call = tuple[str, list[Any]]
"""A method and its parameters."""

_TRANSIENT = re.compile(
    r"^internal (json-?rpc |server )?error|missing trie node|unknown block|"
    r"(header|block|resource) not found|could not find block|beyond (the )?(current )?head|"
    r"time.?out|timed out|unavailable|overload|try again|not (yet )?(ready|synced)",
    re.I,
)
_ABORTED = re.compile(r"execution (aborted|time.?out|timed out)", re.I)
_NO_METHOD_CODES = (-32601, -32604, -32004)
_NO_METHOD = re.compile(
    r"(unsupported|unknown|disabled|forbidden|invalid|restricted) (rpc )?(method|call|namespace)|"
    r"not.?whitelisted|whitelist|"
    r"method\b.{0,80}\b(not|isn't|cannot|can't|never)\b.{0,40}"
    r"(support|available|found|exist|enabled|allowed|permitted|included|recogni[sz]ed|handled)|"
    r"method\b.{0,80}\b(unsupported|disabled|blocked|restricted|forbidden|unavailable)",
    re.I,
)
_NO_STATE_CODES = (4444, -4444)  # EIP-4444: old history is not kept
_NO_STATE = re.compile(
    r"missing trie node|\bprun(ed|ing)\b|\barchiv(e|al)\b|historical state|"
    r"\bstate\b.{0,80}(not|un|n't).{0,3}(available|found)|"
    r"history.{0,60}(not available|unavailable|expired)|"
    r"\bupgrade\b|\b(paid|free|current|your|higher|growth|premium) (plan|tier|account)\b",
    re.I,
)


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

    @property
    def lacks_method(self) -> bool:
        """Whether this server does not offer the method; another one may."""
        return not self.is_revert and (
            self.code in _NO_METHOD_CODES or _NO_METHOD.search(self.message) is not None
        )

    @property
    def lacks_state(self) -> bool:
        """Whether this server does not have, or not give for this plan, what is asked for."""
        return not self.is_revert and (
            self.code in _NO_STATE_CODES or _NO_STATE.search(self.message) is not None
        )


class ReplyTooLarge(RpcError):
    """What a contract returns is more than the node reads."""


class Cause(Enum):
    """Why a request, or a call in it, was not answered."""

    UNREACHABLE = auto()  # it answers nothing: the call was not sent
    TIMEOUT = auto()
    RATE = auto()  # too many requests
    SIZE = auto()  # too many calls in one request
    LARGE_REPLY = auto()  # longer than the node reads
    CHAIN = auto()  # it serves another chain, or none
    UNCLEAR = auto()  # anything else, such as a page in HTML, or a connection that is closed


class CallNotAnswered(RpcError):
    """A server answered other calls of the same batch, but not this one."""

    def __init__(self, reason: str, cause: Cause = Cause.UNCLEAR) -> None:
        super().__init__(0, reason)
        self.cause = cause

    @property
    def is_transient(self) -> bool:
        """It says nothing about the call."""
        return True


def quantity(answer: Any) -> int:
    """The number that an answer is ("0x1f"); raises ValueError for everything else."""
    if not isinstance(answer, str):
        raise ValueError(f"not a quantity: {answer!r:.60}")
    return int(answer, 16)


class EndpointFailure(Exception):
    """A server gave no usable answer. The text names neither credentials nor path of its URL.

    `pause`: the seconds of its Retry-After. `limit`: how many calls a request may hold, 0: unknown.
    """

    def __init__(
        self, reason: str, cause: Cause = Cause.UNCLEAR, pause: float = 0.0, limit: int = 0
    ) -> None:
        super().__init__(reason)
        self.cause = cause
        self.pause = pause
        self.limit = limit
