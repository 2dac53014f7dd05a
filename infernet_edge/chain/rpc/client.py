"""The node's JSON-RPC client: batches, several servers in order of preference, one chain.

A server that fails is paused, longer each time, and the next one is used. As soon as a preferred
server works again, the client returns to it. Servers of another chain are not used, nor those whose
head stands still while that of another one moves. A call that one server cannot answer goes to the
next one; so does a call that takes longer than usual.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from infernet_edge.chain.rpc.chain_check import ChainCheck
from infernet_edge.chain.rpc.checked_requests import OUTCOMES
from infernet_edge.chain.rpc.choice import ServerChoice
from infernet_edge.chain.rpc.endpoint import Endpoint
from infernet_edge.chain.rpc.errors import (
    Call,
    CallNotAnswered,
    Cause,
    EndpointFailure,
    ReplyTooLarge,
    RpcError,
    quantity,
)
from infernet_edge.chain.rpc.server import RpcServer
from infernet_edge.chain.rpc.state.heads import is_newest_block
from infernet_edge.chain.rpc.waiting import Slots
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.http_client.client import HttpClient
from infernet_edge.tasks import cancel

__all__ = [
    "Call",
    "ReplyTooLarge",
    "RpcClient",
    "RpcError",
    "RpcUnavailable",
    "ServerReport",
    "quantity",
]

_ROUNDS = 3  # how often one call goes through all servers
_MAX_WAIT = 2.0  # seconds that a call waits for the end of a server's pause
_MAX_REQUESTS = 16  # at once


class RpcUnavailable(InfernetEdgeError):
    """No server gave a usable answer; a retry may succeed.

    `retry_after`: the seconds that the servers ask to wait, 0 when they name no time.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServerReport(NamedTuple):
    """What the operator is shown about a server.

    `name` is its host and port; nothing else of its URL may be shown. `problem` is "" when there is
    none. `requests` are the HTTP requests of the last hour, `refused` those of them that were
    refused or not answered. `seconds` is how long an answer usually takes, None while not known.
    """

    name: str
    in_use: bool
    problem: str
    requests: int
    refused: int
    seconds: float | None


class RpcClient:
    """Calls the first of `urls` that answers.

    `expected_chain_id` is the only chain that is accepted; None: that of the first answer, which is
    `chain_id` then. `timeout` (seconds) is the longest one of a request: it is shorter where a
    server usually answers soon. A preferred server that failed is checked every `return_after`
    seconds.
    """

    def __init__(
        self,
        http: HttpClient,
        urls: Sequence[str],
        *,
        timeout: float = 10.0,
        return_after: float = 15.0,
    ) -> None:
        self._chain = ChainCheck()
        slots = Slots(_MAX_REQUESTS)
        self._servers = [
            RpcServer(Endpoint(http, url), self._chain, slots, timeout)
            for url in dict.fromkeys(url for url in urls if url)
        ]
        self._choice = ServerChoice(self._servers, return_after)
        self._timeout = timeout

    @property
    def expected_chain_id(self) -> int | None:
        """The only chain that is accepted; None: that of the first answer."""
        return self._chain.expected

    @expected_chain_id.setter
    def expected_chain_id(self, chain_id: int | None) -> None:
        self._chain.expected = chain_id

    @property
    def chain_id(self) -> int | None:
        """The chain of the servers, None while it is not known."""
        return self._chain.found

    @property
    def problem(self) -> str:
        """Why no server answers, "" when one does."""
        return self._choice.lost

    def servers(self) -> list[ServerReport]:
        """What is known about each server, in the order of preference."""
        return [
            ServerReport(
                server.name,
                server is self._choice.in_use,
                server.problem,
                server.health.requests.total(),
                server.health.refused.total(),
                server.health.times.usual,
            )
            for server in self._servers
        ]

    @property
    def outcomes(self) -> dict[tuple[str, str], int]:
        """How many requests had which outcome since the start, by the server's name and outcome.

        The outcomes: answered, timeout, rate_limited, failed, cancelled (another server was
        faster). URLs that differ in their path only have one name.
        """
        found: Counter[tuple[str, str]] = Counter()
        for server in self._servers:
            for outcome in OUTCOMES:
                found[server.name, outcome] += server.health.outcomes[outcome]
        return dict(found)

    async def call(self, method: str, params: list[Any]) -> Any:
        """The result of one call. Raises RpcError, RpcUnavailable."""
        return _result(await self.batch([(method, params)]))

    async def call_once(self, method: str, params: list[Any]) -> Any:
        """The same for a call that has an effect: an error is then the answer to the first try.

        It is not repeated after a request that may have had the effect, nor made at two servers at
        once. It waits like others, and is made again when a server refused it because
        of the rate, or does not offer the method. Raises RpcError, RpcUnavailable; after the latter
        the call may have had its effect.
        """
        return _result(await self._batch([(method, params)], once=True))

    async def spread(self, method: str, params: list[Any]) -> bool:
        """Make a call at all servers that work, if there are several; whether one has a result.

        For a call whose effect is the same however often it is made.
        """
        if len(self._servers) == 1:
            return False
        servers = [each for each in self._choice.in_order() if not each.health.lacks(method)]
        asked = [server.answers([(method, params)], once=True) for server in servers]
        found = await asyncio.gather(*asked, return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, EndpointFailure):
                raise each
        return any(isinstance(each, list) and not isinstance(each[0], RpcError) for each in found)

    async def batch(self, calls: Sequence[Call], *, priority: bool = False) -> list[Any | RpcError]:
        """The answers to some calls, in their order.

        They come from one server, but for those that it cannot answer. With `priority` they go
        ahead of all that wait: that is for the polls of the head. Raises RpcUnavailable when no
        server answers any of them; a call that alone is not answered gets an RpcError that
        is transient.
        """
        return await self._batch(calls, priority=priority)

    async def close(self) -> None:
        """End all requests, and stop checking servers; may be called twice."""
        await self._choice.close()
        for server in self._servers:
            await server.close()

    async def _batch(
        self, calls: Sequence[Call], *, priority: bool = False, once: bool = False
    ) -> list[Any | RpcError]:
        began = time.monotonic()
        work = _Work(calls, priority=priority, once=once)
        for number in range(1 if once else _ROUNDS):
            if number:
                soonest = min((server.delay for server in self._servers), default=math.inf)
                if soonest > _MAX_WAIT or time.monotonic() - began > self._timeout:
                    break
                await asyncio.sleep(soonest)
            work.again = False
            await self._go_round(work)
            if work.is_complete or not work.again:
                break
        if not work.answers and calls:
            raise self._unavailable(work)
        return [work.answers.get(n, work.unanswered[n]) for n in range(len(calls))]

    async def _go_round(self, work: _Work) -> None:
        """Ask each server that works for what is missing, until nothing is."""
        servers = self._choice.in_order()
        switch = True  # to the first one that answers
        for position, server in enumerate(servers):
            others = servers[position + 1 :]
            asked = [
                n
                for n in work.missing
                if not (
                    _lacks(server, work.calls[n])
                    and any(not _lacks(other, work.calls[n]) for other in others)
                )
            ]
            if not asked:
                switch = False
                continue
            calls = [work.calls[n] for n in asked]
            try:
                answering, found = await self._ask(server, others, calls, work)
            except EndpointFailure as failure:
                work.failures[server.name] = str(failure)
                if failure.cause in (Cause.UNREACHABLE, Cause.CHAIN):
                    work.again = True
                elif work.once and failure.cause is not Cause.RATE:
                    return  # the call may have had its effect
                continue
            if answering.heads.is_null and _asks_for_newest(calls) and others:
                self._choice.avoid(answering, answering.heads.problem)
                work.note_last_resort(asked, found)
                continue
            self._choice.note_answer(answering, switch=switch and answering is server)
            switch = False
            work.note(asked, found)
            if not work.missing:
                return

    async def _ask(
        self, server: RpcServer, others: Sequence[RpcServer], calls: list[Call], work: _Work
    ) -> tuple[RpcServer, list[Any]]:
        """The answers of a server, or of the next one when they take longer than usual.

        Raises EndpointFailure.
        """
        spare = next((each for each in others if _is_fit(each, calls)), None)
        if work.once or spare is None:
            found = await server.answers(
                calls, priority=work.priority, once=work.once, patient=spare is None
            )
            return server, found
        late = server.health.times.hedge_after(method for method, _ in calls)
        first = asyncio.create_task(server.answers(calls, priority=work.priority))
        tasks = {first: server}
        try:
            done, pending = await asyncio.wait(tasks, timeout=late)
            if not done:
                second = asyncio.create_task(spare.answers(calls, priority=work.priority))
                tasks[second] = spare
                pending.add(second)
            while True:
                for task in done:
                    if task.exception() is None:
                        return tasks[task], task.result()
                if not pending:
                    return server, first.result()
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(*tasks)

    def _unavailable(self, work: _Work) -> RpcUnavailable:
        """The error of a call that no server answers."""
        reasons = {
            server.name: work.failures.get(server.name) or server.health.reason
            for server in self._servers
        }
        named = [f"{name}: {reason}" for name, reason in reasons.items() if reason]
        problem = "; ".join(named) or "none is set"
        if not work.once and all(server.health.reason for server in self._servers):
            self._choice.note_lost(problem)
        retry_after = min((server.named_pause for server in self._servers), default=0.0)
        return RpcUnavailable(
            f"No JSON-RPC server of chain.rpc_url answers: {problem}", retry_after
        )


class _Work:
    """The calls of one caller, and what was answered so far."""

    def __init__(self, calls: Sequence[Call], *, priority: bool, once: bool) -> None:
        self.calls = calls
        self.priority = priority
        self.once = once
        self.answers: dict[int, Any] = {}
        self.unanswered = [CallNotAnswered("no server answered it")] * len(calls)
        self.missing = list(range(len(calls)))  # another server may have an answer, or a better one
        self.failures: dict[str, str] = {}  # by the servers' names
        self.again = True  # a server failed, and may work again

    @property
    def is_complete(self) -> bool:
        """Whether each call has an answer, even if another server may have a better one."""
        return len(self.answers) == len(self.calls)

    def note(self, asked: Sequence[int], found: Sequence[Any]) -> None:
        """Note the answers of a server to the calls in these positions."""
        for n, answer in zip(asked, found, strict=True):
            if isinstance(answer, CallNotAnswered):
                self.unanswered[n] = answer
            elif n not in self.answers or not _is_unsuited(answer):
                self.answers[n] = answer
        self.missing = [n for n in self.missing if not self._is_final(n)]

    def note_last_resort(self, asked: Sequence[int], found: Sequence[Any]) -> None:
        """Note answers that count only if no other server answers."""
        missing = self.missing
        self.note(asked, found)
        self.missing = missing

    def _is_final(self, n: int) -> bool:
        if n not in self.answers:
            return False
        answer = self.answers[n]
        if self.once:  # any other error may come after the effect
            return not (isinstance(answer, RpcError) and answer.lacks_method)
        return not _is_unsuited(answer)


def _is_unsuited(answer: Any) -> bool:
    """Whether another server may have an answer where this one has none."""
    return isinstance(answer, RpcError) and (
        answer.lacks_method or answer.lacks_state or answer.is_transient
    )


def _lacks(server: RpcServer, call: Call) -> bool:
    return server.health.lacks(call[0])


def _is_fit(server: RpcServer, calls: Sequence[Call]) -> bool:
    """Whether a server can be asked for the same at once."""
    return (
        server.delay == 0 and not server.avoided and not any(_lacks(server, call) for call in calls)
    )


def _asks_for_newest(calls: Sequence[Call]) -> bool:
    return any(is_newest_block(call) for call in calls)


def _result(answers: list[Any | RpcError]) -> Any:
    [answer] = answers
    if isinstance(answer, RpcError):
        raise answer
    return answer
