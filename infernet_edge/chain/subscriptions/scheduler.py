"""When contracts' subscriptions are due: one entry in a heap for each, and nothing is polled.

The scheduler uses the chain's time. A delivery is stored for an interval when it begins, or when
the one before it is over; those that passed meanwhile are left out, and the log says so.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Mapping
from typing import Any, Final

from infernet_edge.chain.contracts.abi import (
    UnexpectedReply,
    decode_subscription_v1,
    encode_subscription,
    eth_call,
    get_subscription,
)
from infernet_edge.chain.contracts.reader import SubscriptionReader
from infernet_edge.chain.contracts.registry import Deployment, to_bytes
from infernet_edge.chain.contracts.subscription import SubscriptionV1
from infernet_edge.chain.delivery.record import UNFINISHED, OpenDelivery
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcUnavailable
from infernet_edge.chain.rpc.head_tracker import BlockHeader, HeadTracker
from infernet_edge.chain.subscriptions.store import (
    KnownSubscription,
    SubscriptionState,
    SubscriptionStore,
)
from infernet_edge.errors import StorageError, Unavailable
from infernet_edge.logs import log_event, log_exception
from infernet_edge.tasks import TaskSet

logger = logging.getLogger(__name__)

MAX_FOLLOWED: Final = 20_000  # active subscriptions; each takes about 1.5 kB of memory
_MAX_READS = 12  # of a subscription, to find out why it is over
_LATE = 30  # seconds after which others may have answered an interval
_ANSWERED = "its last interval is answered"
_PAUSE = 5.0  # seconds before a retry of what the disk, the server or a full queue prevented


class Scheduler:
    """Stores a delivery for each interval of the subscriptions that it follows.

    It is a watcher of the head.

    The deliveries that it stores go into `stored`, to be begun; their events come back here.
    `trail` is how many blocks behind the head subscriptions are read.
    """

    def __init__(
        self,
        rpc: RpcClient,
        head: HeadTracker,
        deployment: Deployment,
        store: SubscriptionStore,
        deliveries: DeliveryStore,
        stored: asyncio.Queue[OpenDelivery],
        reader: SubscriptionReader,
        trail: int,
    ) -> None:
        self._rpc = rpc
        self._head = head
        self._deployment = deployment
        self._store = store
        self._deliveries = deliveries
        self._stored = stored
        self._reader = reader
        self._trail = trail
        self._known: dict[int, KnownSubscription] = {}
        self._planned: dict[int, int] = {}  # the interval that waits or is in work
        self._heap: list[tuple[int, int, int]] = []  # due time, id, interval
        self._late: list[tuple[KnownSubscription, int]] = []  # to be begun, running for long
        self._waiting: set[int] = set()  # ids of which it was logged that they are deferred
        self._tasks = TaskSet(_log_crash)
        self._replaced: int | None = None  # the lowest id that was, see take_replaced

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, identifier: int) -> bool:
        return identifier in self._known

    def ids(self) -> list[int]:
        """The ids of the subscriptions that are followed."""
        return list(self._known)

    def subscription(self, identifier: int) -> KnownSubscription:
        """One that is followed. Raises KeyError."""
        return self._known[identifier]

    @property
    def next_due(self) -> tuple[int, int, int] | None:
        """The interval that begins next: chain seconds, subscription, interval."""
        planned = self._planned.get
        return min((each for each in self._heap if planned(each[1]) == each[2]), default=None)

    def follow(self, known: KnownSubscription) -> None:
        """Serve an active subscription from now on, in the interval that is running."""
        self._known[known.id] = known
        self._plan(known, 1)

    def _plan(self, known: KnownSubscription, earliest: int) -> None:
        """Note when the next interval is due; begin it, or end the subscription, if it is now."""
        subscription, now = known.subscription, self._head.now()
        interval = max(earliest, subscription.interval_at(now))
        self._planned[known.id] = interval
        last = subscription.last_interval
        if interval > last:
            if earliest > last and earliest > 1:
                self._tasks.start(self._conclude(known, "completed", ""))
            else:
                self._tasks.start(self._expire(known, interval))
            return
        if interval > earliest > 1:
            log_event(
                logger,
                "subscription.intervals_missed",
                logging.WARNING,
                subscription=known.id,
                first=earliest,
                last=interval - 1,
                reason="they were over before the node could answer them",
            )
        due = subscription.due_time(interval)
        if due <= now - _LATE:
            if not self._late:
                self._tasks.start(self._begin_late())
            self._late.append((known, interval))
        elif due <= now:
            self._tasks.start(self._store_due(known, interval))
        else:
            heapq.heappush(self._heap, (due, known.id, interval))
            self._head.poll_by(due)

    async def _expire(self, known: KnownSubscription, interval: int) -> None:
        """End a subscription whose time is over, if that is still so in a moment.

        One block with a wrong time must not end what is never checked again.
        """
        await asyncio.sleep(_PAUSE)
        if not self._is_planned(known, interval):
            return
        last = known.subscription.last_interval
        if known.subscription.interval_at(self._head.now()) > last:
            await self._conclude(known, "expired", f"its last interval, {last}, is over")
        else:
            self._plan(known, 1)

    def questions(self) -> list[Call]:
        """Nothing: the block alone has the time."""
        return []

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        """Begin what is due."""
        while self._heap and self._heap[0][0] <= self._head.passed():
            _, identifier, interval = heapq.heappop(self._heap)
            known = self._known.get(identifier)
            if known is not None and self._planned.get(identifier) == interval:
                self._plan(known, interval)
        if self._heap:
            self._head.poll_by(self._heap[0][0])

    async def _begin_late(self) -> None:
        """Begin intervals that are running for long, but those that others have answered.

        After a start or an outage that may be many: one call says it of all of them.
        """
        await asyncio.sleep(0)  # there may be more of them
        late, self._late = self._late, []
        while late:
            answers = await self._count_answers([(known.id, number) for known, number in late])
            for (known, interval), count in zip(late, answers, strict=False):
                if not self._is_planned(known, interval):
                    continue
                if count < known.subscription.redundancy:
                    self._tasks.start(self._store_due(known, interval))
                elif interval < known.subscription.last_interval:
                    self._plan(known, interval + 1)
                else:
                    self._tasks.start(self._conclude(known, "completed", _ANSWERED))
            late = late[len(answers) :]

    async def _count_answers(self, intervals: list[tuple[int, int]]) -> list[int]:
        """How often the first of some intervals are answered; 0 where that is not known.

        Then the simulation of the delivery shows it.
        """
        latest = self._head.latest
        if latest is None or len(intervals) == 1:  # a simulation is one call, too
            return [0] * len(intervals)
        try:
            async with asyncio.timeout(_PAUSE):
                return await self._reader.read_counts(
                    intervals, max(0, latest.number - self._trail)
                )
        except (RpcUnavailable, TimeoutError):
            return [0] * len(intervals)

    async def _store_due(self, known: KnownSubscription, interval: int) -> None:
        """Store the delivery for an interval, once, and hand it over."""
        delivery = self._delivery(known, interval)
        try:
            earlier = await self._deliveries.add(delivery)
        except (StorageError, Unavailable) as error:
            self._log_deferred(known, interval, str(error))
            await asyncio.sleep(_PAUSE)
            if self._is_planned(known, interval):
                self._plan(known, interval)
            return
        self._waiting.discard(known.id)
        if earlier is None:
            await self._stored.put(delivery)
        elif earlier.state not in UNFINISHED and self._is_planned(known, interval):
            self._plan(known, interval + 1)  # an earlier run has answered it

    def _log_deferred(self, known: KnownSubscription, interval: int, reason: str) -> None:
        """Log once that the delivery for an interval cannot be stored."""
        if known.id not in self._waiting:
            self._waiting.add(known.id)
            log_event(
                logger,
                "subscription.deferred",
                logging.WARNING,
                subscription=known.id,
                interval=interval,
                reason=reason,
            )

    def _is_planned(self, known: KnownSubscription, interval: int) -> bool:
        return self._known.get(known.id) is known and self._planned.get(known.id) == interval

    def _delivery(self, known: KnownSubscription, interval: int) -> OpenDelivery:
        return OpenDelivery(
            number=0,
            generation="1.x",
            anchor=self._deployment.anchor("1.x").lower(),
            owner=known.subscription.owner,
            nonce=0,
            subscription_id=known.id,
            interval=interval,
            containers=known.containers,
            state="accepted",
            verified=True,
            request=encode_subscription(known.subscription),
            subscription=known.subscription,
            delegated=False,
            planned_interval=interval,
            active_at=known.subscription.active_at,
        )

    def delivery_sent(self, delivery: OpenDelivery) -> None:
        """A transaction is in flight: the next interval need not wait until it is final."""
        known = self._known.get(delivery.subscription_id or 0)
        if (
            known is not None
            and self._is_planned(known, delivery.interval)
            and delivery.interval < known.subscription.last_interval
        ):
            self._plan(known, delivery.interval + 1)

    def delivery_ended(self, delivery: OpenDelivery, *, recurs: bool) -> None:
        """A delivery has ended; `recurs`: later intervals make sense."""
        known = self._known.get(delivery.subscription_id or 0)
        if known is None:
            return
        if not recurs:
            self._tasks.start(self._find_out(known, delivery.reason))
        elif not self._is_planned(known, delivery.interval):
            return  # the next one is planned since its transaction was sent
        elif delivery.state == "delivered" or delivery.interval < known.subscription.last_interval:
            self._plan(known, delivery.interval + 1)
        else:
            self._tasks.start(self._conclude(known, "failed", delivery.reason))

    async def take(self, found: Mapping[int, SubscriptionV1]) -> None:
        """Take subscriptions as the coordinator has them now, and end those that are over."""
        now = self._head.now()
        ends = [
            (known, end)
            for identifier, subscription in found.items()
            if (known := self._known.get(identifier)) and (end := _end_of(known, subscription, now))
        ]
        await asyncio.gather(*(self._conclude(known, *end) for known, end in ends))

    async def _ask(self, known: KnownSubscription) -> SubscriptionV1 | None:
        """A subscription as it is now; None where the coordinator does not say.

        It is read in a certain block: a server that lags has nothing to say of it then. Raises
        RpcUnavailable.
        """
        latest = self._head.latest
        if latest is None:
            return None
        coordinator = await self._deployment.coordinator("1.x")
        tag = hex(max(0, latest.number - self._trail))
        [answer] = await self._rpc.batch(
            [eth_call(coordinator, get_subscription("1.x", known.id), block=tag)]
        )
        try:
            return decode_subscription_v1(to_bytes(answer))
        except UnexpectedReply:
            return None

    async def _find_out(self, known: KnownSubscription, reason: str) -> None:
        """End a subscription that a delivery found to be over, with what the coordinator says."""
        for _ in range(_MAX_READS):
            try:
                now = await self._ask(known)
            except RpcUnavailable:
                now = None
            if now is not None and (end := _end_of(known, now, self._head.now())):
                await self._conclude(known, *end)
                return
            await asyncio.sleep(_PAUSE)  # it may not be deep enough yet
        await self._conclude(known, "failed", reason)

    async def _conclude(
        self, known: KnownSubscription, state: SubscriptionState, reason: str
    ) -> None:
        """Follow a subscription no longer."""
        if self._known.get(known.id) is not known:
            return
        del self._known[known.id]
        self._planned.pop(known.id, None)
        self._waiting.discard(known.id)
        known.state, known.reason = state, reason
        log_event(
            logger,
            f"subscription.{state}",
            logging.WARNING if state == "failed" else logging.INFO,
            subscription=known.id,
            owner=known.subscription.owner,
            containers=",".join(known.containers),
            reason=reason,
        )
        if state == "removed":
            self._replaced = min(known.id, self._replaced or known.id)
        while known.id not in self._known:  # else another one has its id already
            try:
                await self._store.save([known])
                return
            except StorageError as error:
                log_event(logger, "subscription.save_failed", logging.ERROR, reason=str(error))
            await asyncio.sleep(_PAUSE)

    @property
    def has_replaced(self) -> bool:
        """Whether `take_replaced` has something."""
        return self._replaced is not None

    def take_replaced(self) -> int | None:
        """The lowest id whose subscription was found to be gone, or another, since the last time.

        From there on subscriptions have to be read again.
        """
        replaced, self._replaced = self._replaced, None
        return replaced

    def remove(self, identifier: int) -> None:
        """After a reorg the coordinator has no such subscription any more."""
        known = self._known.get(identifier)
        if known is not None:
            self._tasks.start(self._conclude(known, "removed", "a reorg of the chain removed it"))

    async def stop(self) -> None:
        """Begin nothing any more; everything resumes at the next start."""
        self._head.unwatch(self)
        await self._tasks.stop()


def _log_crash(error: BaseException) -> None:
    """A defect of ours; the next start resumes the work."""
    log_exception(logger, "subscription.crashed", error)


def _end_of(
    known: KnownSubscription, found: SubscriptionV1, now: int
) -> tuple[SubscriptionState, str] | None:
    """Why there is nothing more to do for a subscription; None when there is."""
    if found.is_cancelled:
        return "cancelled", "its owner has cancelled it"
    if found != known.subscription:
        return "removed", "a reorg of the chain removed it"
    if found.interval_at(now) > found.last_interval:
        return "expired", f"its last interval, {found.last_interval}, is over"
    return None
