"""Requests to one server, with the time limits that it needs, after its chain was checked."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from infernet_edge.chain.rpc.chain_check import CHAIN_ID_CALL, ChainCheck
from infernet_edge.chain.rpc.endpoint import Endpoint
from infernet_edge.chain.rpc.errors import Call, Cause, EndpointFailure
from infernet_edge.chain.rpc.replies import Unanswered
from infernet_edge.chain.rpc.state.health import Health
from infernet_edge.chain.rpc.state.rate import Rate

RECENT: Final = 2.0  # seconds after an answer, in which a failure may be due to the rate

OUTCOMES: Final = ("answered", "timeout", "rate_limited", "failed", "cancelled")
"""What comes of requests, by name."""

_FAILURES: Final = {Cause.TIMEOUT: "timeout", Cause.RATE: "rate_limited"}


class CheckedRequests:
    """Requests to `endpoint`; its health is asked whether the chain must be checked first."""

    def __init__(self, endpoint: Endpoint, chain: ChainCheck, health: Health, rate: Rate) -> None:
        self._endpoint = endpoint
        self._chain = chain
        self._health = health
        self._rate = rate
        self._checking = asyncio.Lock()

    def count(self) -> None:
        """A request begins."""
        self._rate.began()
        self._health.requests.add()

    async def answers(
        self, calls: list[Call], *, timeouts: int, once: bool
    ) -> list[Any | Unanswered]:
        """The answers to calls, made in one request that is counted already.

        `timeouts`: how often one of them was not answered in time before. `once`: one of them has
        an effect. The chain is checked with them, or before, where that is safer. Raises
        EndpointFailure.
        """
        checking = self._health.must_check
        if checking and (len(calls) == 1 or once or self._health.is_doubted):
            await self._check_first()
            checking = False
        asked = [CHAIN_ID_CALL, *calls] if checking else calls
        methods = [method for method, _ in asked]
        limit = self._health.times.limit(methods, timeouts)
        sent = time.monotonic()
        try:
            answers = await self._send(asked, limit)
        except EndpointFailure as failure:
            if failure.cause is Cause.TIMEOUT:
                self._health.times.timed_out(methods, limit)
            raise
        self._health.times.answered(methods, time.monotonic() - sent)
        if checking:
            self._check(answers)
        return answers

    async def _check_first(self) -> None:
        """Check the chain in a request of its own; one for all that wait for it.

        It is the simplest call: a server that does not answer it fails.
        """
        async with self._checking:
            if not self._health.must_check:
                return None
            if self._health.pause > 0:
                raise EndpointFailure(self._health.reason, Cause.UNREACHABLE)
            if self._health.since_answer < RECENT:
                try:
                    return await self._ask_chain()
                except EndpointFailure as failure:
                    if failure.cause is Cause.RATE:
                        self._rate.refused(time.monotonic())
                    elif failure.cause is not Cause.TIMEOUT:  # it may refuse what comes too fast
                        self._rate.suspected(time.monotonic())
                await asyncio.sleep(self._rate.wait())
            try:
                await self._ask_chain()
            except EndpointFailure as failure:
                if failure.cause in (Cause.RATE, Cause.CHAIN):
                    raise
                raise EndpointFailure(str(failure), Cause.UNREACHABLE, failure.pause) from None

    async def _ask_chain(self) -> None:
        self.count()
        limit = self._health.times.limit([CHAIN_ID_CALL[0]])
        self._check(await self._send([CHAIN_ID_CALL], limit))

    async def _send(self, calls: list[Call], limit: float) -> list[Any]:
        """Make one request, and count what comes of it."""
        outcome = "cancelled"
        try:
            answers = await self._endpoint.request(calls, limit)
            outcome = _outcome_of(answers)
        except EndpointFailure as failure:
            outcome = _FAILURES.get(failure.cause, "failed")
            raise
        finally:
            self._health.outcomes[outcome] += 1
        return answers

    def _check(self, answers: list[Any]) -> None:
        """Compare the first answer, and remove it."""
        answer = answers.pop(0)
        if isinstance(answer, Unanswered) and answer.error is None:
            raise EndpointFailure(answer.reason, answer.cause, answer.pause)
        self._chain.check(self._endpoint.name, answer)
        self._health.note_check()


def _outcome_of(answers: list[Any]) -> str:
    """What came of a request whose reply could be read; an error may be the answer to a call."""
    causes = [each.cause for each in answers if isinstance(each, Unanswered) and each.error is None]
    if not causes or len(causes) < len(answers):
        return "answered"
    return _FAILURES.get(causes[0], "failed")
