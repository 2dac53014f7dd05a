"""The head of the chain, polled; with each new one the calls of all watchers, in one batch.

Nothing else polls: what needs a call with each block becomes a watcher. While no block comes, a
poll is one call.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from infernet_edge.chain.rpc.block_times import BlockTimes
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.chain.rpc.retry import RetryPauses
from infernet_edge.logs import log_event, log_exception

logger = logging.getLogger(__name__)

LATEST_BLOCK: Final[Call] = ("eth_getBlockByNumber", ["latest", False])
_MAX_BLOCK_INTERVAL = 15.0  # seconds for which the head's time counts as the present
_MAX_OLD_ANSWERS = 3  # in a row that are ignored: servers behind a load balancer lag


class BlockHeader(NamedTuple):
    """A block's number, time (chain seconds), hash and base fee (wei; None before EIP-1559).

    `parent` is the hash of the block before it.
    """

    number: int
    timestamp: int
    hash: str
    base_fee: int | None
    parent: str = ""


class HeadWatcher(Protocol):
    """What has calls to make with each new block, or something to do as time passes."""

    def questions(self) -> list[Call]:
        """The calls to make: with each new head, and now and then while there is none."""

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        """The answers, each a result or an RpcError, in the order of the calls.

        A watcher that had no calls is notified with every poll.
        """


def parse_block(answer: Any) -> BlockHeader:
    """A block as eth_getBlockByNumber gives it; raises ValueError."""
    try:
        base_fee = answer.get("baseFeePerGas")
        return BlockHeader(
            quantity(answer["number"]),
            quantity(answer["timestamp"]),
            str(answer["hash"]),
            None if base_fee is None else quantity(base_fee),
            str(answer.get("parentHash", "")),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("not a block") from error


class HeadTracker:
    """Polls the head, every `period` seconds at most, and notifies the watchers.

    When blocks come slower than that, it polls when the next one is due: at most two polls a block
    on average. `poll_soon()` makes it poll after one period once.
    """

    def __init__(self, rpc: RpcClient, period: float) -> None:
        self.latest: BlockHeader | None = None
        self.seen = asyncio.Event()  # a block is known
        self.problem = ""  # why the last poll found no head, "" when it found one
        self.on_problem: Callable[[str], None] = lambda problem: None
        """Called when there is no head any more, with the reason, and with "" when there is."""
        self._rpc = rpc
        self._period = period
        self._watchers: list[HeadWatcher] = []
        self._silent: list[HeadWatcher] = []  # those that had no calls the last time
        self._times = BlockTimes(period)
        self._old_answers = 0
        self._answered_hash = ""  # the head with which the watchers' calls were answered
        self._answered_at = -math.inf
        self._wishes = 1  # how often it was wanted that all calls are made, without a new head
        self._granted = 0  # those of them that were answered
        self._due = math.inf  # chain seconds
        self._sooner = asyncio.Event()  # the next poll may have to come sooner
        self._hurried = False

    def watch(self, watcher: HeadWatcher) -> None:
        """Make a watcher's calls from now on."""
        self._watchers.append(watcher)
        self._wishes += 1

    def unwatch(self, watcher: HeadWatcher) -> None:
        """Make them no longer; nothing happens when they were not made."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def now(self) -> int:
        """The chain's time: that of the head, advanced by this machine's steady clock.

        This machine's date is only used while no block has been seen: it may be wrong.
        """
        if self.latest is None:
            return int(time.time())
        return self.latest.timestamp + int(time.monotonic() - self._times.seen_at)

    def passed(self) -> int:
        """The time up to which what is due may begin: that of the head.

        When no block has come for long it is `now()`: some chains make none without transactions.
        """
        if self.latest is None or time.monotonic() - self._times.seen_at < _MAX_BLOCK_INTERVAL:
            return 0 if self.latest is None else self.latest.timestamp
        return self.now()

    def poll_soon(self) -> None:
        """Poll after one period, whenever the next block may be due, and make all calls."""
        self._wishes += 1
        self._hurried = True
        self._sooner.set()

    def poll_by(self, due: int) -> None:
        """Poll when the time is `due` (chain seconds) at the latest, should no block come.

        It holds until the next poll.
        """
        if due < self._due:
            self._due = due
            self._sooner.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        outage = RetryPauses(2 * self._period)
        while True:
            try:
                await self.poll()
                self._set_problem("")
                outage.reset()
                pause = self.pause()
            except RpcUnavailable as error:
                self._set_problem(str(error))
                pause = outage.next(error.retry_after, self._due - self.now())
                log_event(logger, "head.poll_failed", logging.DEBUG, reason=str(error), pause=pause)
            await self._sleep(pause)

    def _set_problem(self, problem: str) -> None:
        before, self.problem = self.problem, problem
        if bool(before) != bool(problem):
            self.on_problem(problem)

    async def _sleep(self, pause: float) -> None:
        """Wait until the next poll: one period at least, and not past what is due."""
        until = time.monotonic() + pause
        await asyncio.sleep(self._period)
        while not self._hurried:
            until = min(until, self._due_at())
            remaining = until - time.monotonic()
            if remaining <= 0:
                return
            self._sooner.clear()
            await _wait(self._sooner, remaining)

    async def poll(self) -> None:
        """Poll once. Raises RpcUnavailable."""
        self._hurried = False
        if self._asks_everything():
            wishes, asked = self._wishes, self._questions()
            first, *answers = await self._rpc.batch([LATEST_BLOCK, *_calls(asked)], priority=True)
            block = _found(first)
            if self._take(block):
                self._notify(block, asked, answers, wishes)
            return
        [first] = await self._rpc.batch([LATEST_BLOCK], priority=True)
        block = _found(first)
        if not self._take(block):
            return
        for watcher in self._silent:  # what is due does not wait for the calls of others
            self._notify_one(watcher, block, [])
        if block.hash != self._answered_hash:
            wishes, asked = self._wishes, [each for each in self._questions() if each[1]]
            answers = await self._rpc.batch(_calls(asked), priority=True) if asked else []
            self._notify(block, asked, answers, wishes)

    def _asks_everything(self) -> bool:
        """Whether the watchers' calls go together with that for the head.

        Most polls find no new block, but where blocks come fast each one does. While there is none
        the calls are repeated from time to time: watchers wait for more than blocks.
        """
        latest = self.latest
        return (
            self._wishes != self._granted
            or latest is None
            or latest.hash != self._answered_hash
            or self._times.are_short
            or time.monotonic() - self._answered_at >= _MAX_BLOCK_INTERVAL
        )

    def _questions(self) -> list[tuple[HeadWatcher, list[Call]]]:
        asked = [(watcher, watcher.questions()) for watcher in self._watchers]
        self._silent = [watcher for watcher, questions in asked if not questions]
        return asked

    def _notify(
        self,
        block: BlockHeader,
        asked: list[tuple[HeadWatcher, list[Call]]],
        answers: list[Any],
        wishes: int,
    ) -> None:
        """Give the watchers the answers to all calls; `wishes` are those of before the calls."""
        self._granted = wishes
        self._answered_hash, self._answered_at = block.hash, time.monotonic()
        remaining = iter(answers)
        for watcher, questions in asked:
            self._notify_one(watcher, block, [next(remaining) for _ in questions])

    def _notify_one(self, watcher: HeadWatcher, block: BlockHeader, answers: list[Any]) -> None:
        if watcher not in self._watchers:
            return  # it has left meanwhile
        try:
            watcher.answers(block, answers)
        except Exception as error:  # noqa: BLE001 - any defect is logged
            # It must not stop the other watchers, nor the next poll.
            name = type(watcher).__name__
            log_exception(logger, "head.watcher_failed", error, watcher=name)

    def _take(self, block: BlockHeader) -> bool:
        """Note the head; False when the answers are older than what is known."""
        latest = self.latest
        if latest is not None and block.hash == latest.hash:
            self._due = math.inf
            self._old_answers = 0
            return True
        if latest is not None and block.number < latest.number:
            self._old_answers += 1
            if self._old_answers <= _MAX_OLD_ANSWERS:
                return False
        self._times.note(time.monotonic(), 0 if latest is None else block.number - latest.number)
        self._old_answers = 0
        self._due = math.inf  # watchers say it again
        self.latest = block
        self.seen.set()
        return True

    def pause(self) -> float:
        """Seconds until the next poll, unless something is due before that."""
        if not self._times.are_regular and self._due <= self.now():
            return self._period  # the block that lets it begin may come at any moment
        return self._times.pause(time.monotonic())

    def _due_at(self) -> float:
        """When what is due next may begin, should no block come before that.

        By the steady clock; infinity when that moment is over, or nothing is due.
        """
        if self.latest is None or self._due == math.inf:
            return math.inf
        seen_at, now = self._times.seen_at, time.monotonic()
        moment = seen_at + self._due - self.latest.timestamp
        if self._times.are_regular or moment <= now:
            moment = max(moment, seen_at + _MAX_BLOCK_INTERVAL)  # see passed()
        return moment if moment > now else math.inf


def _found(answer: Any) -> BlockHeader:
    """The head. Raises RpcUnavailable."""
    if isinstance(answer, RpcError):
        raise RpcUnavailable(f"The head is not available: {answer}")
    try:
        return parse_block(answer)
    except ValueError as error:
        raise RpcUnavailable("The head is no block") from error


def _calls(asked: list[tuple[HeadWatcher, list[Call]]]) -> list[Call]:
    return [call for _, questions in asked for call in questions]


async def _wait(event: asyncio.Event, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return
