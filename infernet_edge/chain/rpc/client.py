"""The node's JSON-RPC client: batches, several servers in order of preference, one chain.

A server that fails is paused, longer each time, and the next one is used. As soon as a preferred
server works again, the client returns to it. Servers of another chain are not used.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiohttp

from infernet_edge.backoff import Backoff
from infernet_edge.chain.rpc.counters import HourlyCount
from infernet_edge.chain.rpc.endpoint import (
    Call,
    Endpoint,
    EndpointFailure,
    ReplyTooLarge,
    RpcError,
    quantity,
)
from infernet_edge.chain.rpc.pending_tag import PendingTag
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.logs import log_event
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

logger = logging.getLogger(__name__)

_ROUNDS = 3  # how often one call goes through all servers
_MAX_WAIT = 2.0  # seconds that a call waits for the end of a server's pause
_FIRST_PAUSE = 0.25  # seconds; doubles with each failure in a row
_MAX_PAUSE = 15.0
_MAX_RETRY_AFTER = 120.0  # seconds; what a server may ask for with that header
_CHECK_PERIOD = 60.0  # seconds after which a single call checks the chain again, as batches do
_MAX_REQUESTS = 16  # at once


class RpcUnavailable(InfernetEdgeError):
    """No server gave a usable answer; a retry may succeed.

    `retry_after`: the seconds for which the servers want no requests, 0.0 when they do not say.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServerReport(NamedTuple):
    """What the operator is shown about a server.

    `name` is its host and port; nothing else of its URL may be shown. `problem` is "" when there is
    none. `requests` and `refused` are the HTTP requests of the last hour.
    """

    name: str
    in_use: bool
    problem: str
    requests: int
    refused: int


class _Server:
    """What is known about one server; times are those of the monotonic clock, in seconds."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.pending_tag = PendingTag(endpoint.name)
        self._pauses = Backoff(_FIRST_PAUSE, _MAX_PAUSE)
        self.failed_at = -math.inf
        self.paused_until = -math.inf
        self.checked_at = -math.inf
        self.reason = ""
        self.requests = HourlyCount(time.monotonic)
        self.refused = HourlyCount(time.monotonic)

    def note_failure(self, failure: EndpointFailure, began: float) -> None:
        """Pause it. Failures of requests that ran at the same time count as one."""
        now = time.monotonic()
        self.refused.add()
        if began >= self.failed_at:
            # At random: many nodes must not come back at once.
            pause = self._pauses.next() * random.uniform(0.5, 1.0)  # noqa: S311
            self.paused_until = now + max(pause, min(failure.pause, _MAX_RETRY_AFTER))
        self.failed_at = now
        self.checked_at = -math.inf
        self.reason = str(failure)

    def note_success(self) -> None:
        self._pauses.reset()
        self.paused_until = -math.inf
        self.reason = ""


class RpcClient:
    """Calls the first of `urls` that answers.

    `expected_chain_id` is the only chain that is accepted; None: that of the first answer, which is
    `chain_id` then. `problem` is why no server answers, "" when one does. `timeout` (seconds) is
    that of one request; a preferred server that failed is checked every `return_after` seconds.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Sequence[str],
        *,
        timeout: float = 10.0,
        return_after: float = 15.0,
    ) -> None:
        unique = dict.fromkeys(url for url in urls if url)
        self._servers = [_Server(Endpoint(session, url, timeout)) for url in unique]
        self._current = 0
        self._timeout = timeout
        self._return_after = return_after
        self._slots = asyncio.Semaphore(_MAX_REQUESTS)
        self._return_task: asyncio.Task[None] | None = None
        self._lost_at: float | None = None
        self.expected_chain_id: int | None = None
        self.chain_id: int | None = None
        self.problem = ""

    async def call(self, method: str, params: list[Any]) -> Any:
        """The result of one call. Raises RpcError, RpcUnavailable."""
        return _result(await self.batch([(method, params)]))

    async def call_once(self, method: str, params: list[Any]) -> Any:
        """The same with one request to one server: an error is then the answer to the first try.

        Raises RpcError, RpcUnavailable; after the latter the call may have had its effect.
        """
        return _result(await self._batch([(method, params)], once=True))

    async def batch(self, calls: Sequence[Call], *, priority: bool = False) -> list[Any | RpcError]:
        """The answers to some calls, in their order; all come from one server.

        With `priority` they go ahead of all that wait: that is for the polls of the head. Raises
        RpcUnavailable when no server answers them all.
        """
        return await self._batch(calls, once=False)

    def servers(self) -> list[ServerReport]:
        """What is known about each server, in the order of preference."""
        return [
            ServerReport(
                server.endpoint.name,
                position == self._current,
                server.reason,
                server.requests.total(),
                server.refused.total(),
            )
            for position, server in enumerate(self._servers)
        ]

    async def close(self) -> None:
        """Stop checking servers; may be called twice."""
        if self._return_task is not None:
            await cancel(self._return_task)
            self._return_task = None

    async def _batch(self, calls: Sequence[Call], *, once: bool) -> list[Any | RpcError]:
        began = time.monotonic()
        for _ in range(1 if once else _ROUNDS):
            for position in self._in_order()[: 1 if once else None]:
                try:
                    answers = await self._ask(self._servers[position], calls)
                except EndpointFailure:
                    continue
                self._note_answer(position)
                return answers
            soonest = min((server.paused_until for server in self._servers), default=math.inf)
            now = time.monotonic()
            if soonest > now + _MAX_WAIT or now - began > self._timeout:
                break
            await asyncio.sleep(max(0.0, soonest - now))
        problem = self._reasons()
        if not once:
            self._note_lost(problem)
        raise RpcUnavailable(f"No JSON-RPC server of chain.rpc_url answers: {problem}")

    def _in_order(self) -> list[int]:
        """The servers to use now: the one in use, then the others in the order of preference."""
        now = time.monotonic()
        order = sorted(range(len(self._servers)), key=lambda n: (n != self._current, n))
        return [n for n in order if self._servers[n].paused_until <= now]

    async def _ask(self, server: _Server, calls: Sequence[Call]) -> list[Any | RpcError]:
        """One request, with the call for the chain id in front where that costs little."""
        async with self._slots:
            began = time.monotonic()
            server.requests.add()
            cheap = len(calls) > 1 and server.endpoint.takes_batches
            checking = cheap or began - server.checked_at > _CHECK_PERIOD
            question: list[Call] = [("eth_chainId", [])] if checking else []
            try:
                asked = [*question, *calls]
                answers = await server.pending_tag.answers(server.endpoint.answers, asked)
                if checking:
                    self._check_chain(server, answers.pop(0))
            except EndpointFailure as failure:
                server.note_failure(failure, began)
                raise
        server.note_success()
        return answers

    def _check_chain(self, server: _Server, answer: Any) -> None:
        try:
            found = quantity(answer)
        except ValueError:
            raise EndpointFailure("it gives no chain id") from None
        expected = self.chain_id if self.expected_chain_id is None else self.expected_chain_id
        if expected is not None and found != expected:
            reason = (
                f"it serves chain {found}, but this node works on chain {expected}; correct"
                " chain.rpc_url, or give the node another storage.path for another chain"
            )
            if server.reason != reason:
                name = server.endpoint.name
                log_event(logger, "rpc.chain_refused", logging.ERROR, server=name, reason=reason)
            raise EndpointFailure(reason)
        self.chain_id = found
        server.checked_at = time.monotonic()

    def _note_answer(self, position: int) -> None:
        self.problem = ""
        if self._lost_at is not None:
            lost = round(time.monotonic() - self._lost_at, 1)
            self._lost_at = None
            name = self._servers[position].endpoint.name
            log_event(logger, "rpc.recovered", server=name, after_seconds=lost)
        if position == self._current:
            return
        before, now = self._servers[self._current], self._servers[position]
        log_event(
            logger,
            "rpc.switched",
            logging.WARNING if position > self._current else logging.INFO,
            server=now.endpoint.name,
            before=before.endpoint.name,
            reason=before.reason or "it is preferred",
        )
        self._current = position
        if position > 0 and (self._return_task is None or self._return_task.done()):
            self._return_task = asyncio.create_task(self._return(), name="rpc-return")

    def _reasons(self) -> str:
        named = [(server.endpoint.name, server.reason) for server in self._servers]
        return "; ".join(f"{name}: {reason}" for name, reason in named if reason) or "none is set"

    def _note_lost(self, problem: str) -> None:
        self.problem = problem
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            log_event(logger, "rpc.lost", logging.WARNING, reason=problem)

    async def _return(self) -> None:
        """Check the preferred servers until the first one is in use again."""
        while self._current > 0:
            await asyncio.sleep(self._return_after)
            for position in range(self._current):
                try:
                    [syncing] = await self._ask(self._servers[position], [("eth_syncing", [])])
                except EndpointFailure:
                    continue
                if syncing is False or isinstance(syncing, RpcError):
                    self._note_answer(position)
                    break


def _result(answers: list[Any | RpcError]) -> Any:
    [answer] = answers
    if isinstance(answer, RpcError):
        raise answer
    return answer
