"""The block tag "pending", which some servers refuse or never answer.

With it, a server counts what waits to be mined and simulates in the next block, so it is asked for
first. Who asks gets the answer for "latest" where a server does not know "pending".
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from infernet_edge.backoff import Backoff
from infernet_edge.chain.rpc.errors import (
    Call,
    CallNotAnswered,
    Cause,
    EndpointFailure,
    RpcError,
)
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

PENDING: Final = "pending"
_LATEST: Final = "latest"
_NO_TAG: Final = ""  # some servers take no tag at all for an estimate
_FIRST_PAUSE = 60.0  # seconds until "pending" is tried again; doubles
_MAX_PAUSE = 3600.0
_ANY = ""  # the key of what holds for all methods
_DOUBTFUL = (Cause.TIMEOUT, Cause.UNCLEAR)  # causes that the tag may have

Ask = Callable[[Sequence[Call]], Awaitable[list[Any]]]
"""Makes calls at one server; the answers, each a result or an RpcError, come in their order."""


class _Refusal:
    """That a server does not answer a method for "pending"; `tag` is what it answers for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pauses = Backoff(_FIRST_PAUSE, _MAX_PAUSE)
        self._until = -math.inf
        self.tag = _LATEST

    @property
    def counts(self) -> bool:
        """Whether it is too early to try "pending" again."""
        return self._clock() < self._until

    def renew(self, tag: str) -> None:
        """It was refused again: the time until the next try is longer."""
        self.tag = tag
        self._until = self._clock() + self._pauses.next()


class PendingTag:
    """What one server makes of "pending", by method; tried again after a while.

    A refusal is an error that is no revert, or null, where the server answers for "latest". When a
    server does not answer at all while "pending" is among the calls, "latest" is asked for the next
    time; if it answers that, "pending" counts as refused for all methods.
    """

    def __init__(self, server: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._refusals: dict[str, _Refusal] = {}
        self._doubted = False  # the last request with "pending" was not answered

    async def answers(self, ask: Ask, calls: Sequence[Call]) -> list[Any]:
        """The answers to calls, some for "latest" instead of "pending". Raises EndpointFailure."""
        doubted = self._doubted
        tags = [self._tag(call, doubted=doubted) for call in calls]
        asked = [_with_tag(call, tag) for call, tag in zip(calls, tags, strict=True)]
        try:
            answers = await ask(asked)
        except EndpointFailure as failure:
            # Where it fails without "pending" as well, the server itself does not work.
            self._doubted = PENDING in tags and failure.cause in _DOUBTFUL
            raise
        if PENDING in tags:
            self._doubted = False
        elif doubted and any(map(_has_pending, calls)):
            self._doubted = False
            self._note_refusal(_ANY, _LATEST, "it did not answer")
        for position, tag in enumerate(tags):
            if tag == PENDING:
                answers[position] = await self._settle(ask, calls[position], answers[position])
        return answers

    def _tag(self, call: Call, *, doubted: bool) -> str:
        """The tag to make a call with, where it asks for "pending"."""
        if not _has_pending(call):
            return _LATEST
        for key in (call[0], _ANY):
            if (known := self._refusals.get(key)) is not None and known.counts:
                return known.tag
        return _LATEST if doubted else PENDING

    async def _settle(self, ask: Ask, call: Call, answer: Any) -> Any:
        """The answer to a call that was made with "pending", or that for another tag."""
        if _says_nothing(answer):
            return answer
        if not _is_refusal(answer):
            for key in (call[0], _ANY):
                self._refusals.pop(key, None)
            return answer
        second = answer
        for tag in (_LATEST, _NO_TAG):
            if tag == _NO_TAG and not (call[0] == "eth_estimateGas" and _is_of_arguments(second)):
                break
            try:
                [second] = await ask([_with_tag(call, tag)])
            except EndpointFailure as failure:  # what was answered to the others counts
                return CallNotAnswered(str(failure), failure.cause)
            if not (_is_refusal(second) or _says_nothing(second)):
                self._note_refusal(call[0], tag, "null" if answer is None else str(answer))
                return second
        return answer

    def _note_refusal(self, method: str, tag: str, reason: str) -> None:
        known = self._refusals.get(method)
        if known is None:
            known = self._refusals[method] = _Refusal(self._clock)
            log_event(
                logger, "rpc.pending_refused", server=self._server, method=method, reason=reason
            )
        if not known.counts:  # calls that ran at the same time count once
            known.renew(tag)


def _has_pending(call: Call) -> bool:
    return PENDING in call[1]


def _with_tag(call: Call, tag: str) -> Call:
    method, params = call
    if tag == _NO_TAG:
        return method, [param for param in params if param != PENDING]
    return method, [tag if param == PENDING else param for param in params]


def _says_nothing(answer: Any) -> bool:
    """Whether a call was not answered for a reason that no tag has, such as the rate."""
    return isinstance(answer, CallNotAnswered) and answer.cause not in _DOUBTFUL


def _is_refusal(answer: Any) -> bool:
    if isinstance(answer, RpcError):
        return not (answer.is_revert or answer.is_aborted)
    return answer is None


def _is_of_arguments(answer: Any) -> bool:
    """Whether the server takes fewer arguments, or others (JSON-RPC 2.0, section 5.1)."""
    return isinstance(answer, RpcError) and (
        answer.code == -32602 or "argument" in answer.message.lower()
    )
