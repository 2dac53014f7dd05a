"""Finds the subscriptions that contracts create at the coordinator of SDK 1.x.

Each poll of the head reads the id that the next subscription will have, and the logs of
cancellations and of the node's wallet. When there are new ids, they are read through the Reader in
batches, `chain.trail_head_blocks` behind the head; at start that is all that came meanwhile. The
next id to read is stored with what was found.

What is new is read first. What was read before is read again after that: all that is followed at
start (recheck.py), and the ids since blocks that a reorg has replaced.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from infernet_edge.chain.contracts.abi import (
    NEXT_ID,
    SUBSCRIPTION_CANCELLED,
    UnexpectedReply,
    eth_call,
)
from infernet_edge.chain.contracts.reader import SubscriptionPage, SubscriptionReader
from infernet_edge.chain.contracts.registry import Deployment, to_bytes
from infernet_edge.chain.contracts.subscription import SubscriptionV1
from infernet_edge.chain.delivery import proofs
from infernet_edge.chain.guard.rules import SubscriptionRules, explain
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.chain.rpc.head_tracker import BlockHeader, HeadTracker
from infernet_edge.chain.rpc.retry import RetryPauses
from infernet_edge.chain.subscriptions.listener_events import log_advanced, log_found, log_synced
from infernet_edge.chain.subscriptions.log_cursor import LogCursor, LogsRead
from infernet_edge.chain.subscriptions.next_ids import NextIds
from infernet_edge.chain.subscriptions.recheck import Recheck
from infernet_edge.chain.subscriptions.reorg import ReorgDetector
from infernet_edge.chain.subscriptions.scheduler import MAX_FOLLOWED, Scheduler
from infernet_edge.chain.subscriptions.store import KnownSubscription, SubscriptionStore
from infernet_edge.config.sections.chain import Chain
from infernet_edge.errors import ApiError, StorageError
from infernet_edge.logs import ConditionLog, log_event

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5  # seconds before what failed is tried again; doubles
_PROGRESS_PERIOD = 10.0  # seconds between two lines of a long sync
_DEEPEST_REORG = 64  # blocks after which a subscription counts as settled
_REMEMBERED = 1000  # subscriptions that a reorg may remove
_LOGGED_EACH = 20  # new subscriptions at once that get a line each


class Claims(Protocol):
    """Which subscriptions of contracts the node serves as delegated requests already."""

    async def claimed(self, found: Sequence[KnownSubscription], block: int) -> set[int]:
        """The ids of those, as of a block. Raises RpcUnavailable, StorageError."""


class ListenerProgress(NamedTuple):
    """How far the listener is.

    `next_id` is the coordinator's next id, 0 while it is not known; what is before `read_to` was
    read. `problem` is why that does not go on, "" when it does.
    """

    next_id: int
    read_to: int
    problem: str


class Listener:
    """Follows the coordinator, as a watcher of the head, and fills the scheduler."""

    def __init__(
        self,
        rpc: RpcClient,
        head: HeadTracker,
        deployment: Deployment,
        config: Chain,
        store: SubscriptionStore,
        rules: SubscriptionRules,
        reader: SubscriptionReader,
        scheduler: Scheduler,
        claims: Claims,
        verdicts: proofs.Proofs | None,
    ) -> None:
        self._rpc = rpc
        self._head = head
        self._deployment = deployment
        self._trail = config.trail_head_blocks
        self._sync = config.snapshot_sync
        self._store = store
        self._rules = rules
        self._scheduler = scheduler
        self._claims = claims
        self._proofs = verdicts
        self._reader = reader
        self._first_id = max(1, config.snapshot_sync.starting_sub_id)
        self._next_id = self._first_id
        self._begun = False
        self._coordinator = ""
        self._wanted = asyncio.Event()  # there is something to read
        self._next_ids = NextIds()
        self._conditions = ConditionLog()
        self._problem = ""  # why nothing can be read now
        self._silence = ""  # why the last poll gave no next id
        self._read_block = 0  # as of which was read last
        self._reorgs = ReorgDetector()
        self._logs = LogCursor(self._trail)
        self._recheck = Recheck(reader, scheduler)
        self._proofs_missed = False  # logs with verdicts may be lost
        self._replaced: int | None = None  # the oldest block that may have been replaced
        self._again = range(0)  # ids below the next one that have to be read again
        self._recent: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)  # block, id

    @property
    def progress(self) -> ListenerProgress:
        """What is known and read now, for the operator."""
        problem = self._problem or self._silence
        return ListenerProgress(self._next_ids.newest, self._next_id, problem)

    async def run(self) -> None:
        """Listen until cancelled."""
        if not self._begun:  # a defect may have ended an earlier run
            await self._retry(self._resume)
            self._begun = True
        await self._retry(self._check_for_reorg)
        self._head.watch(self)
        try:
            while True:
                await self._retry(self._handle_found)
                await self._wanted.wait()
        finally:
            self._head.unwatch(self)

    async def _retry(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something, with retries while the server or the disk prevents it."""
        pauses = RetryPauses(_FIRST_PAUSE)
        while True:
            retry_after = 0.0
            try:
                await work()
                self._problem = ""
                return
            except (RpcUnavailable, StorageError) as error:
                self._problem = str(error)
                if self._conditions.is_new("listener", self._problem):
                    log_event(logger, "listener.deferred", logging.WARNING, reason=self._problem)
                if isinstance(error, RpcUnavailable):
                    retry_after = error.retry_after
            await asyncio.sleep(pauses.next(retry_after))

    async def _resume(self) -> None:
        """Serve what an earlier run followed, as soon as the chain's time is known."""
        await self._head.seen.wait()
        fingerprint = f"{self._first_id}:{self._rules.fingerprint}"
        self._next_id, known = await self._store.begin(self._first_id, fingerprint)
        log_event(logger, "listener.started", next_id=self._next_id, followed=len(known))
        for each in known:
            self._scheduler.follow(each)

    async def _check_for_reorg(self) -> None:
        """Find the contracts. A reorg while the node was off may have removed what was read."""
        self._coordinator = await self._deployment.coordinator("1.x")
        self._wanted.set()
        mark = await self._store.mark()
        if mark is None:
            return
        number, hash_ = mark
        [found] = await self._rpc.batch([("eth_getBlockByNumber", [hex(number), False])])
        if isinstance(found, RpcError):
            raise RpcUnavailable(f"Block {number} is not available: {found}")
        if not isinstance(found, dict) or found.get("hash") != hash_:
            self._read_from(self._next_id - _REMEMBERED)
            log_event(
                logger,
                "chain.reorged",
                logging.WARNING,
                block=number,
                doubtful=len(self._again),
            )

    # With each poll of the head

    def questions(self) -> list[Call]:
        """The next id, the logs since the last answer, and whether a block is still there."""
        asked = [eth_call(self._coordinator, NEXT_ID.encode()), self._logs_question()]
        if (doubted := self._reorgs.doubted) is not None:
            asked.append(("eth_getBlockByNumber", [hex(doubted.number), False]))
        return asked

    def _logs_question(self) -> Call:
        latest = self._head.latest
        first = self._logs.first_block(None if latest is None else latest.number)
        addresses, topics = [self._coordinator], [SUBSCRIPTION_CANCELLED]
        if self._proofs is not None:
            addresses.append(self._proofs.wallet)
            topics += proofs.TOPICS
        return ("eth_getLogs", [{"address": addresses, "topics": [topics], "fromBlock": first}])

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        """Note what there is to do."""
        next_id, logs, *found = answers
        fallen = self._reorgs.observe(block, *found)
        if fallen is not None:
            self._note_reorg(block, fallen)
        self._recheck.note_block(block.hash)
        try:
            self._next_ids.note(block.number, int(NEXT_ID.decode(to_bytes(next_id))))
            self._silence = ""
        except UnexpectedReply as error:
            self._next_ids.note(block.number, 0)
            said = next_id if isinstance(next_id, RpcError) else error
            self._silence = f"The coordinator {self._coordinator} does not answer id(): {said}"
        waiting = self._scheduler.has_replaced or self._recheck.is_ready or bool(self._again)
        if waiting or self._is_behind():
            self._wanted.set()
        read = self._logs.take(block.number, logs)
        if read is LogsRead.MISSED:
            log_event(logger, "listener.logs_missed", logging.WARNING, reason=str(logs))
        if read is not LogsRead.NOTHING:
            self._wanted.set()

    def _note_reorg(self, block: BlockHeader, fallen: int) -> None:
        """Blocks were replaced: what was read in the last ones has to be read again.

        When the head has fallen by many blocks, everything has: it is another chain.
        """
        oldest = block.number - _DEEPEST_REORG + 1 if fallen < _DEEPEST_REORG else -1
        self._logs.rewind(block.number)
        self._next_ids.clear()
        self._read_block = 0
        doubtful = len(self._read_since(oldest))
        log_event(logger, "chain.reorged", logging.WARNING, block=block.number, doubtful=doubtful)
        self._replaced = oldest if self._replaced is None else min(oldest, self._replaced)
        self._wanted.set()

    def _read_since(self, block: int) -> list[int]:
        """The ids of what was read since a block."""
        return [identifier for number, identifier in self._recent if number >= block]

    def _is_behind(self) -> bool:
        """Whether there are subscriptions to read that are deep enough."""
        latest = self._head.latest
        deep = 0 if latest is None else self._next_ids.at(latest.number - self._trail)
        return deep not in (0, self._next_id)

    # In the listener's own task

    async def _handle_found(self) -> None:
        """Handle what the polls have found: what is new before what is known.

        One kind of work that fails does not prevent the others.
        """
        self._wanted.clear()
        more, failure = True, None
        while more:
            self._note_replaced()
            more = False
            for work in (self._read_new, self._handle_logs, self._read_again, self._read_followed):
                try:
                    more |= await work()
                except (RpcUnavailable, StorageError) as error:
                    failure = failure or error
            if failure is not None:
                raise failure

    def _note_replaced(self) -> None:
        """Blocks or subscriptions were replaced: what was read since has to be read again."""
        if self._logs.incomplete:
            self._logs.incomplete = False  # first: more may get lost meanwhile
            self._recheck.add(self._scheduler.ids())
            self._proofs_missed = self._proofs is not None
        if self._replaced is not None:
            since = self._read_since(self._replaced) if self._replaced >= 0 else [self._first_id]
            self._read_from(min([self._next_id, *since]))
            self._replaced = None
        if (replaced := self._scheduler.take_replaced()) is not None:
            self._read_from(replaced)

    def _read_from(self, identifier: int) -> None:
        """Read again from an id on what was read before."""
        first = max(self._first_id, identifier)
        if self._again:
            first = min(first, self._again.start)
        self._again = range(first, self._next_id)

    async def _handle_logs(self) -> bool:
        """Do what logs say; they wait until all is stored."""
        if self._proofs_missed and self._proofs is not None:
            await self._proofs.check()
            self._proofs_missed = False
        logs = list(self._logs.waiting)
        cancelled = [each for log in logs if (each := _cancelled(log)) is not None]
        self._recheck.add(cancelled, urgent=True)
        if self._proofs is not None:
            await self._proofs.take_logs(logs)
        self._logs.handled(len(logs))
        return bool(logs)

    async def _read_followed(self) -> bool:
        """Read some of what is followed again, if there is need of it."""
        if self._recheck.is_ready:
            await self._recheck.read(self._deep_block())
        return False  # the others wait for the next block

    async def _read_again(self) -> bool:
        """Read one page of what was read before and may have been replaced."""
        if not self._again:
            return False
        first = self._again.start
        page = await self._page(first, len(self._again))
        done = first + len(page.subscriptions)
        rest = range(done, min(self._again.stop, self._next_id))
        if page.subscriptions:
            found = await self._choose(
                page, first, rest.start if rest else self._next_id, Counter()
            )
            log_found(found, few=len(found) <= _LOGGED_EACH)
            await asyncio.sleep(self._sync.sleep)
        self._again = rest
        return bool(page.subscriptions)

    async def _read_new(self) -> bool:
        """Read from the next id up to the last subscription that is deep enough."""
        if not self._is_behind():
            return False  # it was read before the poll that found it was over
        began = logged = time.monotonic()
        first, tally = self._next_id, Counter[str]()
        while True:
            page = await self._page(self._next_id, self._next_ids.newest - self._next_id)
            if page.subscriptions:
                done = self._next_id + len(page.subscriptions)
                stored = self._again.start if self._again else done  # the next run resumes there
                found = await self._choose(page, self._next_id, stored, tally)
                self._next_id = done
                log_found(found, few=self._next_id - first <= _LOGGED_EACH)
            if self._next_id >= page.next_id:
                break
            if time.monotonic() - logged > _PROGRESS_PERIOD:
                logged = time.monotonic()
                log_advanced(self._next_id - first, page.next_id - first, tally)
            await asyncio.sleep(self._sync.sleep)
        if self._next_id - first > _LOGGED_EACH:
            seconds = round(time.monotonic() - began, 1)
            log_synced(self._next_id - first, page.next_id - first, tally, seconds)
        return False

    def _deep_block(self) -> int:
        """The newest block that is deep enough. Raises RpcUnavailable while none is known."""
        latest = self._head.latest
        if latest is None:
            raise RpcUnavailable("No block is known yet")
        return max(0, latest.number - self._trail)

    async def _page(self, first: int, limit: int) -> SubscriptionPage:
        """Read as many subscriptions from an id on as the server gives at once."""
        block = self._deep_block()
        page = await self._reader.read(first, limit, block)
        if self._first_id <= page.next_id < self._next_id and block >= self._read_block:
            self._forget_from(page.next_id)
        self._read_block = max(self._read_block, block)
        return page

    async def _choose(
        self, page: SubscriptionPage, first: int, stored_next_id: int, tally: Counter[str]
    ) -> list[KnownSubscription]:
        """Choose what to follow of a page, and store it together with how far the listener is.

        `first` is the id of the first one in it; the next run reads from `stored_next_id` on.
        """
        found: list[KnownSubscription] = []
        now, block = self._head.now(), self._head.latest
        numbered = enumerate(zip(page.subscriptions, page.answers, strict=True), first)
        for identifier, (subscription, count) in numbered:
            if block is not None:
                self._recent.append((block.number, identifier))
            if not subscription.exists:
                tally["unknown"] += 1
            elif subscription.is_cancelled:
                tally["cancelled"] += 1
            elif subscription.interval_at(now) > subscription.last_interval:
                tally["expired"] += 1
            elif subscription.last_interval == 1 and count >= subscription.redundancy:
                tally["completed"] += 1
            elif not self._is_followed(identifier, subscription):
                found.append(self._by_rules(KnownSubscription(identifier, subscription)))
        wanted = [known for known in found if known.state == "active"]
        claimed = await self._claims.claimed(wanted, self._read_block) if wanted else set()
        found = [known for known in found if known.id not in claimed]
        await self._store.save(found, stored_next_id, self._mark())
        for known in found:
            tally[known.state] += 1
            if known.state == "active":
                self._scheduler.follow(known)
        tally.update(["delegated"] * len(claimed))
        return found

    def _mark(self) -> tuple[int, str] | None:
        """The head: when it is replaced later, subscriptions may be others."""
        latest = self._head.latest
        return None if latest is None else (latest.number, latest.hash)

    def _is_followed(self, identifier: int, subscription: SubscriptionV1) -> bool:
        """Whether it is known already; another one with its id makes room."""
        if identifier not in self._scheduler:
            return False
        if self._scheduler.subscription(identifier).subscription == subscription:
            return True
        self._scheduler.remove(identifier)
        return False

    def _by_rules(self, known: KnownSubscription) -> KnownSubscription:
        known.containers = self._rules.containers_of(known.subscription)
        try:
            self._rules.check(known.subscription, delegated=False)
            if len(self._scheduler) >= MAX_FOLLOWED:
                known.state, known.reason = "ignored", f"{MAX_FOLLOWED} are followed already"
        except ApiError as error:
            known.state, known.reason = "ignored", explain(error)
        return known

    def _forget_from(self, next_id: int) -> None:
        """The chain has fewer subscriptions than were read: there was a reorg."""
        for identifier in self._scheduler.ids():
            if identifier >= next_id:
                self._scheduler.remove(identifier)
        self._next_id = next_id


def _cancelled(log: dict[str, Any]) -> int | None:
    """The id of the subscription that a log says is cancelled."""
    topics = log.get("topics") or [""]
    try:
        return quantity(topics[1]) if topics[0] == SUBSCRIPTION_CANCELLED else None
    except (IndexError, ValueError):
        return None
