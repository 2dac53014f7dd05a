"""One JSON-RPC server as the client uses it: its queue of calls, and its requests.

Callers wait in the queue while the server's limits let no more requests begin; calls that wait go
together, as many as the server takes in one request. A request that fails is made again: in halves,
down to single calls, when its size may be the reason, and later when the rate may be. Only what is
missing is asked again. A failure counts against the server when single calls fail too.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any, Final

from infernet_edge.chain.rpc.chain_check import ChainCheck
from infernet_edge.chain.rpc.checked_requests import RECENT, CheckedRequests
from infernet_edge.chain.rpc.endpoint import Endpoint
from infernet_edge.chain.rpc.errors import (
    Call,
    Cause,
    EndpointFailure,
    ReplyTooLarge,
    RpcError,
)
from infernet_edge.chain.rpc.pending_tag import PendingTag
from infernet_edge.chain.rpc.replies import Unanswered
from infernet_edge.chain.rpc.state.batch_size import BatchSize
from infernet_edge.chain.rpc.state.confirmed import ConfirmedErrors
from infernet_edge.chain.rpc.state.heads import HeadState, is_newest_block
from infernet_edge.chain.rpc.state.health import Health
from infernet_edge.chain.rpc.state.rate import Rate
from infernet_edge.chain.rpc.state.window import Window
from infernet_edge.chain.rpc.waiting import Batch, Slots, Waiting, WaitingCalls
from infernet_edge.tasks import cancel

_MAX_BLOCKED = 20.0  # seconds that calls wait in the queue after a refusal; else they fail
_MAX_WAIT = 120.0  # seconds for the answers to one batch, with all that it waits for
_MAX_FAILURES = 2  # of a single call, before it fails
_FAILURES_RECENT = 3  # the same where the server answered just before
_MAX_TIMEOUTS = 3  # of one call, before it fails
_MAX_REFUSALS = 3  # of one call because of the rate, before it fails
_DOUBTS = 4  # different errors in one reply that are confirmed
_SUSPICION = 5.0  # seconds between two such failures, from which on it is assumed

_Doubt = tuple[Waiting, RpcError]


class RpcServer:
    """One server. `timeout` is the longest time for one request, in seconds."""

    def __init__(self, endpoint: Endpoint, chain: ChainCheck, slots: Slots, timeout: float) -> None:
        self._slots = slots
        self.name: Final = endpoint.name
        self.health = Health(time.monotonic, timeout)
        self.heads = HeadState(time.monotonic)
        self.avoided = ""  # why another server is used although this one answers, "" for nothing
        self._sizes = BatchSize(time.monotonic)
        self._rate = Rate(time.monotonic)
        self._window = Window(time.monotonic)
        self._requests = CheckedRequests(endpoint, chain, self.health, self._rate)
        self._confirmed = ConfirmedErrors(time.monotonic)
        self._pending_tag = PendingTag(endpoint.name)
        self._queue = WaitingCalls()
        self._running: dict[asyncio.Task[None], tuple[float, list[Waiting]]] = {}
        self._suspected_at = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        slots.when_freed(self._pump)

    @property
    def delay(self) -> float:
        """Seconds until it may be asked again, after a failure or a refusal."""
        return max(self.health.pause, self._rate.blocked)

    @property
    def is_blocked(self) -> bool:
        """Whether it refuses requests, and asks for a pause that is too long to wait for."""
        return self._rate.blocked > _MAX_BLOCKED

    @property
    def named_pause(self) -> float:
        """Seconds that are left of those that the server asked to wait."""
        return self._rate.named_pause

    @property
    def problem(self) -> str:
        """What the operator is shown, "" for nothing."""
        return self.health.reason or self.avoided or self.heads.problem or self.health.lacking

    async def answers(
        self,
        calls: Sequence[Call],
        *,
        priority: bool = False,
        once: bool = False,
        patient: bool = True,
    ) -> list[Any]:
        """The answers to calls, in their order: results, RpcErrors, and CallNotAnswered for some.

        With `once` a call is not repeated when it may have had its effect; without `patient` it
        fails at the first refusal. Raises EndpointFailure when no call is answered.
        """

        async def ask(some: Sequence[Call]) -> list[Any]:
            return await self._wait_for(Batch(some, priority=priority, once=once, patient=patient))

        return await self._pending_tag.answers(ask, calls) if calls else []

    async def _wait_for(self, batch: Batch) -> list[Any]:
        count = len(batch.waiting)
        if not self._queue.has_room(count):
            raise EndpointFailure(f"{len(self._queue)} calls wait for it already", Cause.RATE)
        self._queue.add(batch.waiting)
        self._pump()
        try:
            async with asyncio.timeout(_MAX_WAIT):
                await batch.done
        except TimeoutError:
            raise EndpointFailure(
                f"no answer within {_MAX_WAIT:g} seconds, {len(self._queue)} calls wait for it",
                Cause.RATE,
            ) from None
        finally:
            self._leave(batch)
        return batch.result()

    async def close(self) -> None:
        """End all requests; what waits fails."""
        if self._timer is not None:
            self._timer.cancel()
        running = [each for _, taken in self._running.values() for each in taken]
        failure = EndpointFailure("the node shuts down")
        for each in [*running, *self._queue.drain()]:
            each.fail(failure)
        await cancel(*self._running)

    def _leave(self, batch: Batch) -> None:
        """A caller waits no longer: what is only for it is not asked, or not waited for."""
        batch.done.cancel()
        if not batch.done.cancelled():  # it has all that it asked for
            return
        self._queue.discard(batch)
        now = time.monotonic()
        for task, (began, taken) in self._running.items():
            if all(each.batch.is_closed for each in taken):
                methods = [each.call[0] for each in taken]
                if now - began >= self.health.times.hedge_after(methods):
                    self.health.note_slow(now - began, began)
                task.cancel()

    # Requests

    def _pump(self) -> None:
        """Begin the requests that may begin now."""
        while len(self._queue):
            only_priority = not (
                self._slots.is_free(priority=False) and self._window.is_open(len(self._running))
            )
            if only_priority and not self._slots.is_free(priority=True):
                return
            wait = self._rate.wait()
            if wait > 0:
                self._wake_in(wait)
                return
            size = self._sizes.size
            if size > 1 and self.health.must_check:
                size -= 1  # for the question of the chain
            # Calls with an effect wait for nothing but a rate, and go as others have gone before.
            once_size = min(size, self._sizes.proven) if self._rate.is_limited else 1
            taken = self._queue.take(size, once_size=once_size, only_priority=only_priority)
            if not taken:
                return
            self._slots.take()
            self._requests.count()
            task = asyncio.create_task(self._run(taken), name=f"rpc {self.name}")
            self._running[task] = (time.monotonic(), taken)
            task.add_done_callback(self._on_done)

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._pump)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        _, taken = self._running.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            for each in taken:
                each.batch.break_off(error)
        self._slots.give()

    async def _run(self, taken: list[Waiting]) -> None:
        """One request, and what follows from its reply."""
        began = time.monotonic()
        is_try = self._sizes.began(len(taken))
        try:
            answers = await self._request(taken)
            doubts = self._settle(taken, answers, began)
            if doubts:
                await self._confirm(doubts, len(taken))
        except EndpointFailure as failure:
            self._settle_failure(taken, failure, began)
        finally:
            self._sizes.ended(is_try)

    async def _request(self, taken: Sequence[Waiting]) -> list[Any | Unanswered]:
        return await self._requests.answers(
            [each.call for each in taken],
            timeouts=max(each.timeouts for each in taken),
            once=any(each.batch.once for each in taken),
        )

    # What follows from a reply

    def _settle(self, taken: list[Waiting], answers: list[Any], began: float) -> list[_Doubt]:
        """Hand out the answers and queue what is missing; returns the errors to be confirmed."""
        doubts: list[_Doubt] = []
        refused: list[Waiting] = []
        missing: list[Waiting] = []
        pause = 0.0
        for each, answer in zip(taken, answers, strict=True):
            if not isinstance(answer, Unanswered):
                self._answer(each, answer)
            elif answer.error is not None:
                if each.batch.once or self._confirmed.is_known(each.call[0], answer.error):
                    self._answer(each, answer.error)
                else:
                    doubts.append((each, answer.error))
            elif answer.cause is Cause.RATE:
                refused.append(each)
                pause = max(pause, answer.pause)
            elif each.batch.once:
                each.fail(EndpointFailure(answer.reason))
                missing.append(each)
            else:
                missing.append(each)
        self.health.note_answer()
        self._window.answered(len(self._running))
        count = len(taken)
        if refused:
            self._note_refusal(began, pause)
        else:
            self._rate.accepted()
        if missing:
            self._sizes.cut(count, count - len(missing) - len(refused) - len(doubts))
            self.health.refused.add()
        elif not doubts and not refused:
            self._sizes.worked(count)
        self._repeat_refused(refused, count)
        self._repeat([each for each in missing if not each.batch.once], limit=count // 2)
        return doubts

    def _answer(self, each: Waiting, answer: Any) -> None:
        self.health.note_method(each.call[0], answer)
        if is_newest_block(each.call):
            self.heads.note(answer)
        each.answer(answer)

    async def _confirm(self, doubts: list[_Doubt], count: int) -> None:
        """Make a call alone for each different error: was it about that call, or the batch?"""
        groups: dict[tuple[int, str], list[_Doubt]] = {}
        for each, error in doubts:
            groups.setdefault((error.code, error.message), []).append((each, error))
        for number, ((code, _), group) in enumerate(groups.items()):
            [(first, error), *others] = group
            if number >= _DOUBTS:
                for each, error in group:
                    self._answer(each, error)
                continue
            await asyncio.sleep(min(self._rate.wait(), _MAX_BLOCKED))
            self._requests.count()
            began = time.monotonic()
            try:
                [answer] = await self._request([first])
            except EndpointFailure as failure:
                self._settle_failure([first], failure, began)
                self._repeat([each for each, _ in others], limit=max(1, count // 2))
                continue
            self._rate.accepted()
            self._answer(first, answer)
            if isinstance(answer, RpcError) and answer.code == code:
                self._confirmed.note(first.call[0], error)
                for each, own in others:
                    self._answer(each, own)
            else:
                self._sizes.refused(count)
                self._repeat([each for each, _ in others], limit=max(1, count // 2))

    def _settle_failure(self, taken: list[Waiting], failure: EndpointFailure, began: float) -> None:
        """Nothing was answered: decide what is asked again, and whether the server fails."""
        count = len(taken)
        self.health.refused.add()
        if failure.cause in (Cause.TIMEOUT, Cause.LARGE_REPLY, Cause.UNCLEAR):
            taken = self._without_once(taken, failure)
        if not taken:
            self.health.doubt()
            return
        match failure.cause:
            case Cause.RATE:
                self._note_refusal(began, failure.pause, counted=True)
                if self.is_blocked:
                    self.health.reason = str(failure)
                    self._fail_all(taken, failure)
                else:
                    self._repeat_refused(taken, count, failure)
            case Cause.UNREACHABLE | Cause.CHAIN:
                self.health.note_failure(failure, began)
                self._fail_all(taken, failure)
            case Cause.LARGE_REPLY if count > 1:
                self._repeat(taken, limit=count // 2)
            case Cause.LARGE_REPLY if taken[0].call[0] == "eth_call":
                taken[0].answer(ReplyTooLarge(0, str(failure)))
            case Cause.SIZE if count == 1:
                self._sizes.restore()
                taken[0].fail(failure)
            case Cause.TIMEOUT:
                self._settle_timeout(taken, failure, began)
            case Cause.SIZE:
                self._sizes.refused(count, failure.limit)
                self._repeat(taken, limit=count // 2)
            case _ if count > 1 and not self._sizes.is_proven(count):
                self._sizes.refused(count)
                self._repeat(taken, limit=count // 2)
            case _:
                self._settle_unclear(taken, failure, began)

    @staticmethod
    def _without_once(taken: list[Waiting], failure: EndpointFailure) -> list[Waiting]:
        """The calls that may be repeated; the others fail, as they may have had their effect."""
        for each in taken:
            if each.batch.once:
                each.fail(failure)
        return [each for each in taken if not each.batch.once]

    def _settle_timeout(self, taken: list[Waiting], failure: EndpointFailure, began: float) -> None:
        self.health.doubt()
        count = len(taken)
        halves = any(each.timeouts for each in taken)
        for each in taken:
            each.timeouts += 1
        if count > 1:
            self._repeat(taken, limit=count // 2 if halves else count)
        elif taken[0].timeouts >= _MAX_TIMEOUTS:
            taken[0].fail(failure)
        else:
            self._repeat(taken, limit=1)

    def _settle_unclear(self, taken: list[Waiting], failure: EndpointFailure, began: float) -> None:
        """A single call failed, or a batch of a size that worked before.

        The same is asked once more. Servers also refuse in such ways what comes too fast, which is
        assumed when other calls fail too, while there are answers.
        """
        again = any(each.failures for each in taken)
        recent = self.health.since_answer < RECENT
        if recent and not again and began > self._suspected_at:
            if began - self._suspected_at < _SUSPICION:
                self._rate.suspected(began)
            self._suspected_at = time.monotonic()
        for each in taken:
            each.failures += 1
        self.health.doubt()
        count = len(taken)
        if count > 1:
            if again:
                self._sizes.refused(count)
            self._repeat(taken, limit=count // 2 if again else count)
            return
        [each] = taken
        if each.batch.once or each.failures >= (_FAILURES_RECENT if recent else _MAX_FAILURES):
            self._sizes.restore()
            each.fail(failure)
        else:
            self._repeat(taken, limit=1)

    def _note_refusal(self, began: float, pause: float, *, counted: bool = False) -> None:
        if not counted:
            self.health.refused.add()
        self._rate.refused(began, pause)

    def _repeat_refused(
        self, refused: list[Waiting], count: int, failure: EndpointFailure | None = None
    ) -> None:
        """Queue what the rate did not allow; in smaller requests if that happens again."""
        if not refused:
            return
        for each in refused:
            each.refusals += 1
        if count > 1 and all(each.refusals > 1 for each in refused):
            self._sizes.refused(count)
        failure = failure or EndpointFailure("too many requests", Cause.RATE)
        again: list[Waiting] = []
        for each in refused:
            if each.refusals > (_MAX_REFUSALS if each.batch.patient else 0):
                self.health.reason = str(failure)
                each.fail(failure)
            else:
                each.limit = min(each.limit, count if each.refusals < 2 else max(1, count // 2))
                again.append(each)
        self._repeat(again, limit=count)

    def _repeat(self, calls: list[Waiting], *, limit: int) -> None:
        """Queue calls again, in requests with no more calls than `limit`."""
        if self.health.pause > 0:
            self._fail_all(calls, EndpointFailure(self.health.reason, Cause.UNREACHABLE))
            return
        for each in calls:
            each.limit = min(each.limit, max(1, limit))
        self._queue.put_back(calls)

    def _fail_all(self, taken: Sequence[Waiting], failure: EndpointFailure) -> None:
        """The server answers nothing now: what waits for it goes to another one."""
        for each in taken:
            each.fail(failure)
        unsent = EndpointFailure(str(failure), Cause.UNREACHABLE, failure.pause)
        for each in self._queue.drain():
            each.fail(unsent)
