"""The chain's newest block, looked at in one batch together with everybody's questions.

Nobody else polls: whoever wants to know something with each block becomes a watcher.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any, Final, NamedTuple, Protocol

from infernet_edge.backoff import Backoff
from infernet_edge.chain.rpc.client import Call, Rpc, RpcError, RpcUnavailable, quantity
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

LATEST_BLOCK: Final[Call] = ("eth_getBlockByNumber", ["latest", False])
_LONGEST_PAUSE = 30.0  # seconds between two looks while the RPC is unavailable
_LONGEST_INTERVAL = 15.0  # seconds between two blocks that are relied on
_REMEMBERED = 8  # intervals between blocks
_OLD_ANSWERS = 3  # in a row that are not believed: servers behind a load balancer lag


class Block(NamedTuple):
    """A block's number, time (chain seconds), hash and base fee (wei; None before EIP-1559).

    `parent` is the hash of the block before it.
    """

    number: int
    timestamp: int
    hash: str
    base_fee: int | None
    parent: str = ""


class Watcher(Protocol):
    """Somebody who wants to know something about each look at the chain."""

    def questions(self) -> list[Call]:
        """What to ask together with the newest block."""

    def answers(self, block: Block, answers: list[Any]) -> None:
        """The answers, each a result or an RpcError, in the order of the questions."""


def parse_block(answer: Any) -> Block:
    """A block as eth_getBlockByNumber gives it; raises ValueError."""
    try:
        base_fee = answer.get("baseFeePerGas")
        return Block(
            quantity(answer["number"]),
            quantity(answer["timestamp"]),
            str(answer["hash"]),
            None if base_fee is None else quantity(base_fee),
            str(answer.get("parentHash", "")),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("not a block") from error


class Head:
    """Looks at the chain, every `period` seconds at most, and tells the watchers.

    When blocks come slower than that, it looks when the next one is due: at most two looks a block
    on average. `hurry()` makes it look with each period once more.
    """

    def __init__(self, rpc: Rpc, period: float) -> None:
        self.latest: Block | None = None
        self.seen = asyncio.Event()  # a block is known
        self._rpc = rpc
        self._period = period
        self._watchers: list[Watcher] = []
        self._seen_at = 0.0
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)
        self._old_answers = 0
        self._hurried = asyncio.Event()

    def watch(self, watcher: Watcher) -> None:
        """Ask a watcher's questions from now on."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Ask them no longer; nothing happens when they were not asked."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def now(self) -> int:
        """The chain's time: that of the newest block, advanced by this machine's steady clock.

        This machine's date is only used while no block has been seen: it may be wrong.
        """
        if self.latest is None:
            return int(time.time())
        return self.latest.timestamp + int(time.monotonic() - self._seen_at)

    def passed(self) -> int:
        """The time up to which what is due may be done: that of the newest block.

        When no block has come for long it is `now()`: some chains make none without transactions.
        """
        if self.latest is None or time.monotonic() - self._seen_at < _LONGEST_INTERVAL:
            return 0 if self.latest is None else self.latest.timestamp
        return self.now()

    def hurry(self) -> None:
        """Look after one period, whenever the next block may be due."""
        self._hurried.set()

    async def run(self) -> None:
        """Look for ever."""
        pauses = Backoff(min(2 * self._period, _LONGEST_PAUSE), _LONGEST_PAUSE)
        while True:
            try:
                await self.look()
                pauses.reset()
                pause = self.pause()
            except RpcUnavailable as error:
                pause = pauses.next()
                log_event(logger, "head.unseen", logging.DEBUG, reason=str(error), pause=pause)
            await asyncio.sleep(self._period)
            await _wait(self._hurried, pause - self._period)

    async def look(self) -> None:
        """Look once. Raises RpcUnavailable."""
        self._hurried.clear()
        asked = [(watcher, watcher.questions()) for watcher in self._watchers]
        calls = [call for _, questions in asked for call in questions]
        first, *answers = await self._rpc.batch([LATEST_BLOCK, *calls])
        if isinstance(first, RpcError):
            raise RpcUnavailable(f"The newest block cannot be had: {first}")
        try:
            block = parse_block(first)
        except ValueError as error:
            raise RpcUnavailable("The newest block cannot be read") from error
        if not self._take(block):
            return
        remaining = iter(answers)
        for watcher, questions in asked:
            own = [next(remaining) for _ in questions]
            if watcher in self._watchers:
                self._tell(watcher, block, own)

    def _tell(self, watcher: Watcher, block: Block, answers: list[Any]) -> None:
        try:
            watcher.answers(block, answers)
        except Exception:
            # The others, and the next block, must not suffer from it.
            name = type(watcher).__name__
            logger.exception("head.watcher_failed", extra={"fields": {"watcher": name}})

    def _take(self, block: Block) -> bool:
        """Note the newest block; False when the answers are older than what is known."""
        latest = self.latest
        if latest is not None and block.hash == latest.hash:
            return True
        if latest is not None and block.number < latest.number:
            self._old_answers += 1
            if self._old_answers <= _OLD_ANSWERS:
                return False
        now = time.monotonic()
        if latest is not None and block.number > latest.number:
            self._intervals.append((now - self._seen_at) / (block.number - latest.number))
        self._old_answers = 0
        self._seen_at = now
        self.latest = block
        self.seen.set()
        return True

    def pause(self) -> float:
        """Seconds until the next look.

        Where blocks come at a steady pace, it comes half a period before the next one is due: if
        the block is there already, the looks move towards the moment at which blocks come, and if
        not, the look after it finds it. A block that is late is looked for more and more rarely.
        """
        if len(self._intervals) < _REMEMBERED:
            return self._period
        shortest, longest = min(self._intervals), max(self._intervals)
        if longest > 2 * shortest + self._period:
            return self._period
        due = self._seen_at + shortest - self._period / 2
        early = due - time.monotonic()
        return max(self._period, min(_LONGEST_INTERVAL, max(early, -early / 2)))


async def _wait(event: asyncio.Event, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return
