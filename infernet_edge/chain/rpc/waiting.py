"""The calls that wait for a request to one server, in the order in which they are made."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from infernet_edge.chain.rpc.errors import Call, CallNotAnswered, EndpointFailure

MAX_WAITING = 10_000  # calls that wait for one server
_RESERVED = 1  # requests at once that only polls of the head may use


class Slots:
    """How many requests may run at once, for all servers together."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._freed: list[Callable[[], None]] = []

    def when_freed(self, notify: Callable[[], None]) -> None:
        """Call this each time a slot is free again."""
        self._freed.append(notify)

    def is_free(self, *, priority: bool) -> bool:
        """Whether a request may begin; the last slot is for those with priority."""
        return self._left > (0 if priority else _RESERVED)

    def take(self) -> None:
        """A request begins."""
        self._left -= 1

    def give(self) -> None:
        """A request has come to an end."""
        self._left += 1
        for notify in self._freed:
            notify()


class Batch:
    """What one caller waits for: the answers to some calls of one server.

    `once`: a call that is not repeated when it may have had its effect.
    """

    def __init__(
        self, calls: Sequence[Call], *, priority: bool, once: bool, patient: bool = True
    ) -> None:
        self.priority = priority
        self.once = once
        self.patient = patient
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting = [Waiting(self, position, call) for position, call in enumerate(calls)]
        self._answers: list[Any] = [None] * len(calls)
        self._left = len(calls)
        self._failure: EndpointFailure | None = None
        self._answered = False

    @property
    def is_closed(self) -> bool:
        """Whether its caller waits no longer."""
        return self.done.done()

    def answer(self, position: int, answer: Any) -> None:
        """Note the answer to a call, a result or an RpcError."""
        self._answered = True
        self._note(position, answer)

    def fail(self, position: int, failure: EndpointFailure) -> None:
        """Note that a call gets no answer."""
        self._failure = failure
        self._note(position, CallNotAnswered(str(failure), failure.cause))

    def _note(self, position: int, answer: Any) -> None:
        if self.is_closed:
            return
        self._answers[position] = answer
        self._left -= 1
        if self._left == 0:
            self.done.set_result(None)

    def break_off(self, error: BaseException) -> None:
        """End with an unexpected error."""
        if not self.is_closed:
            self.done.set_exception(error)

    def result(self) -> list[Any]:
        """All answers; those that are missing are CallNotAnswered.

        Raises EndpointFailure when there are none.
        """
        if self._failure is not None and not self._answered:
            raise self._failure
        return self._answers


class Waiting:
    """One call that waits. `limit`: the largest number of calls in a request that holds it."""

    __slots__ = ("batch", "call", "failures", "limit", "position", "refusals", "timeouts")

    def __init__(self, batch: Batch, position: int, call: Call) -> None:
        self.batch = batch
        self.position = position
        self.call = call
        self.limit = MAX_WAITING
        self.failures = 0  # of requests with this call alone
        self.refusals = 0  # because of the rate, in a row
        self.timeouts = 0

    def answer(self, answer: Any) -> None:
        """Give it its answer."""
        self.batch.answer(self.position, answer)

    def fail(self, failure: EndpointFailure) -> None:
        """It gets no answer."""
        self.batch.fail(self.position, failure)


class WaitingCalls:
    """A queue with a bound. Polls of the head go first, but not twice while others wait."""

    def __init__(self) -> None:
        self._first: deque[Waiting] = deque()
        self._others: deque[Waiting] = deque()
        self._priority_before = False

    def __len__(self) -> int:
        return len(self._first) + len(self._others)

    def has_room(self, count: int) -> bool:
        """Whether so many more calls may wait."""
        return len(self) + count <= MAX_WAITING

    def add(self, calls: Sequence[Waiting]) -> None:
        """New calls of one caller."""
        for each in calls:
            self._queue_of(each).append(each)

    def put_back(self, calls: Sequence[Waiting]) -> None:
        """Calls whose request was not answered: they are the next ones, in the same order."""
        for each in reversed(calls):
            if not each.batch.is_closed:
                self._queue_of(each).appendleft(each)

    def _queue_of(self, waiting: Waiting) -> deque[Waiting]:
        return self._first if waiting.batch.priority else self._others

    def take(self, size: int, *, once_size: int, only_priority: bool) -> list[Waiting]:
        """The calls of the next request, `size` at most; [] when none may go.

        There are `once_size` at most where one of them is made once.
        """
        queues = [self._first, self._others]
        if only_priority and not self._first:
            return []
        if self._priority_before and self._others and not only_priority:
            queues.reverse()
        taken: list[Waiting] = []
        for queue in queues:
            while queue:
                limit = min(queue[0].limit, once_size if queue[0].batch.once else size)
                if len(taken) >= min(size, limit):
                    break
                size = min(size, limit)
                taken.append(queue.popleft())
            if queue:
                break
        self._priority_before = bool(taken) and taken[0].batch.priority
        return taken

    def discard(self, batch: Batch) -> None:
        """Remove the calls of a caller that waits no longer."""
        if batch.priority:
            self._first = deque(each for each in self._first if each.batch is not batch)
        else:
            self._others = deque(each for each in self._others if each.batch is not batch)

    def drain(self) -> Iterator[Waiting]:
        """Remove and return all calls."""
        for queue in (self._first, self._others):
            while queue:
                yield queue.popleft()
