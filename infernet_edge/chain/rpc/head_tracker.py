"""The head of the chain, polled in one batch together with the calls of all watchers.

Nothing else polls: what needs a call with each block becomes a watcher.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any, Final, NamedTuple, Protocol

from infernet_edge.backoff import Backoff
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.logs import log_event, log_exception

logger = logging.getLogger(__name__)

LATEST_BLOCK: Final[Call] = ("eth_getBlockByNumber", ["latest", False])
_MAX_PAUSE = 30.0  # seconds between two polls while the RPC is unavailable
_MAX_BLOCK_INTERVAL = 15.0  # seconds for which the head's time counts as the present
_REMEMBERED = 8  # intervals between blocks
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
    """What has calls to make with each poll of the head."""

    def questions(self) -> list[Call]:
        """The calls to make together with that for the head."""

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        """The answers, each a result or an RpcError, in the order of the calls."""


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
        self._rpc = rpc
        self._period = period
        self._watchers: list[HeadWatcher] = []
        self._seen_at = 0.0
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)
        self._old_answers = 0
        self._soon = asyncio.Event()

    def watch(self, watcher: HeadWatcher) -> None:
        """Make a watcher's calls from now on."""
        self._watchers.append(watcher)

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
        return self.latest.timestamp + int(time.monotonic() - self._seen_at)

    def passed(self) -> int:
        """The time up to which what is due may begin: that of the head.

        When no block has come for long it is `now()`: some chains make none without transactions.
        """
        if self.latest is None or time.monotonic() - self._seen_at < _MAX_BLOCK_INTERVAL:
            return 0 if self.latest is None else self.latest.timestamp
        return self.now()

    def poll_soon(self) -> None:
        """Poll after one period, whenever the next block may be due."""
        self._soon.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        pauses = Backoff(min(2 * self._period, _MAX_PAUSE), _MAX_PAUSE)
        while True:
            try:
                await self.poll()
                pauses.reset()
                pause = self.pause()
            except RpcUnavailable as error:
                pause = pauses.next()
                log_event(logger, "head.poll_failed", logging.DEBUG, reason=str(error), pause=pause)
            await asyncio.sleep(self._period)
            await _wait(self._soon, pause - self._period)

    async def poll(self) -> None:
        """Poll once. Raises RpcUnavailable."""
        self._soon.clear()
        asked = [(watcher, watcher.questions()) for watcher in self._watchers]
        calls = [call for _, questions in asked for call in questions]
        first, *answers = await self._rpc.batch([LATEST_BLOCK, *calls], priority=True)
        if isinstance(first, RpcError):
            raise RpcUnavailable(f"The head is not available: {first}")
        try:
            block = parse_block(first)
        except ValueError as error:
            raise RpcUnavailable("The head is no block") from error
        if not self._take(block):
            return
        remaining = iter(answers)
        for watcher, questions in asked:
            own = [next(remaining) for _ in questions]
            if watcher in self._watchers:
                self._notify(watcher, block, own)

    def _notify(self, watcher: HeadWatcher, block: BlockHeader, answers: list[Any]) -> None:
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
            return True
        if latest is not None and block.number < latest.number:
            self._old_answers += 1
            if self._old_answers <= _MAX_OLD_ANSWERS:
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
        """Seconds until the next poll.

        Where blocks come in regular intervals, it comes half a period before the next one is due:
        if the block is there already, the polls move towards the moment at which blocks come, and
        if not, the poll after it finds it. The later a block is, the longer are the pauses.
        """
        if len(self._intervals) < _REMEMBERED:
            return self._period
        shortest, longest = min(self._intervals), max(self._intervals)
        if longest > 2 * shortest + self._period:
            return self._period
        due = self._seen_at + shortest - self._period / 2
        early = due - time.monotonic()
        return max(self._period, min(_MAX_BLOCK_INTERVAL, max(early, -early / 2)))


async def _wait(event: asyncio.Event, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return
