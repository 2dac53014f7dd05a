"""The life of a delivery: checked, simulated, computed, simulated again, sent, mined.

The state that a step has reached is stored before the next one begins, so that a node that was
killed resumes there. A transient failure is retried, a permanent one ends the delivery.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from typing import Any

from infernet_edge.chain.delivery.coordinator import Coordinator
from infernet_edge.chain.delivery.errors import (
    ActionNeeded,
    NothingToDo,
    PaymentMissing,
    PermanentFailure,
    SubscriptionEnded,
    TooEarly,
    TransientFailure,
)
from infernet_edge.chain.delivery.events import DeliveryEvents
from infernet_edge.chain.delivery.record import (
    UNFINISHED,
    Delivery,
    DeliveryState,
    OpenDelivery,
    check_transition,
)
from infernet_edge.chain.delivery.recovery import RecoveryCheck
from infernet_edge.chain.delivery.steps import DeliverySteps, names_of
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.chain.rpc.client import Call, RpcUnavailable
from infernet_edge.chain.rpc.head_tracker import BlockHeader, HeadTracker
from infernet_edge.chain.rpc.retry import RetryPauses
from infernet_edge.errors import StorageError
from infernet_edge.logs import ConditionLog, kind_of, log_event, log_exception
from infernet_edge.storage.checksums import Damaged
from infernet_edge.tasks import TaskSet

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0  # seconds before a retry; doubles
_MAX_PAUSE = 30.0
_MAX_BLOCK_WAIT = 15.0  # seconds for the next block, before a retry without it
_MAX_REFUSALS = 8  # of one step by the contracts; outages of the RPC do not count


class DeliveryProcessor:
    """Takes deliveries from their acceptance to their end. Watches the head for those that wait
    for their time.

    `stored` holds deliveries that others have stored, to be begun.
    """

    def __init__(
        self,
        store: DeliveryStore,
        coordinator: Coordinator,
        steps: DeliverySteps,
        head: HeadTracker,
        recovery: RecoveryCheck,
        stored: asyncio.Queue[OpenDelivery],
        events: DeliveryEvents,
    ) -> None:
        self._store = store
        self._coordinator = coordinator
        self._steps = steps
        self._head = head
        self._recovery = recovery
        self._stored = stored
        self._events = events
        self._tasks = TaskSet(_log_crash)
        self._early: list[tuple[int, int, OpenDelivery]] = []
        self._newest = ""  # the hash of the newest block
        self._next_block = asyncio.Event()  # set, and replaced, when it comes
        self._conditions = ConditionLog()  # of deliveries, by number, and of the storage, as None

    async def start(self) -> None:
        """Resume what an earlier run left unfinished, and end what is not allowed any more."""
        loaded = await self._store.load(await self._steps.last_number())
        found = [(each, await self._steps.is_sent(each)) for each in loaded]
        for delivery, sent in found:
            if not isinstance(delivery, OpenDelivery):
                self._tasks.start(self._end_damaged(delivery, sent=sent))
                continue
            try:
                self._recovery.check_deployment(delivery)
                if not sent:
                    self._recovery.check_rules(delivery)
            except SubscriptionEnded as end:
                self._tasks.start(self._end(delivery, end))
                continue
            if sent:
                self._steps.resume(delivery)
            self.begin(delivery)
        self._head.watch(self)

    async def run(self) -> None:
        """Begin what others store, until cancelled."""
        while True:
            delivery = await self._stored.get()
            try:
                self.begin(delivery)
            except Exception as error:  # noqa: BLE001 - any defect is logged
                # The others must not wait for it; the next start resumes it.
                log_exception(logger, "delivery.crashed", error, **names_of(delivery))

    async def _end(self, delivery: Delivery, end: SubscriptionEnded) -> None:
        """End it without a successor: subscriptions are checked by the listener."""
        delivery.state, delivery.reason = end.state, str(end)
        await self._save(delivery)

    async def _end_damaged(self, delivery: Delivery, *, sent: bool) -> None:
        """End one whose request is lost; what was sent before may be delivered all the same."""
        if sent and await self._steps.is_delivered(delivery):
            delivery.state, delivery.reason = "delivered", ""
            await self._save(delivery)
            return
        await self._end(delivery, SubscriptionEnded("Its request was damaged on the disk"))

    def questions(self) -> list[Call]:
        """Nothing: the block alone has the time."""
        return []

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        """Begin the deliveries whose time has come."""
        if block.hash != self._newest:
            self._newest = block.hash
            self._next_block.set()
            self._next_block = asyncio.Event()
        while self._early and self._early[0][0] <= self._head.passed():
            self._tasks.start(self._run(heapq.heappop(self._early)[2]))
        if self._early:
            self._head.poll_by(self._early[0][0])

    def begin(self, delivery: OpenDelivery) -> None:
        """Work on a stored delivery, now or when its interval begins.

        Before the first block nothing begins: this machine's date may be wrong.
        """
        self._steps.claim(delivery)
        due = self._coordinator.due_time(delivery)
        early = self._head.latest is None or due > self._head.now()
        if delivery.state == "accepted" and early:
            heapq.heappush(self._early, (due, delivery.number, delivery))
            self._head.poll_by(due)
        else:
            self._tasks.start(self._run(delivery))

    async def _run(self, delivery: OpenDelivery) -> None:
        recurs = True
        while delivery.state in UNFINISHED:
            state, reason, recurs = await self._retry(delivery)
            if state != "sent":
                self._steps.release_transaction_slot(delivery)
            if state not in UNFINISHED and recurs and delivery.delegated:
                # Before the end is stored: a kill in between finds the successor there.
                await self._add_successor(delivery)
            check_transition(delivery.state, state)
            delivery.state, delivery.reason = state, reason
            await self._save(delivery)
            if state == "sent" and not delivery.delegated:
                self._events.delivery_sent(delivery)
        self._steps.release(delivery)
        if not delivery.delegated:
            self._events.delivery_ended(delivery, recurs=recurs)

    async def _retry(self, delivery: OpenDelivery) -> tuple[DeliveryState, str, bool]:
        """Take the delivery's step, with retries.

        Returns the state after it, its reason, and whether later intervals make sense.
        """
        pauses, outage = RetryPauses(_FIRST_PAUSE, _MAX_PAUSE), RetryPauses(_FIRST_PAUSE)
        refusals, unpaid = 0, ""
        while True:
            next_block = self._next_block  # one that comes during the step counts
            try:
                return *(await self._steps.take(delivery)), True
            except NothingToDo as end:
                delivery.answered_by = end.answered_by
                return "delivered", str(end), True
            except PermanentFailure as end:
                recurs = not isinstance(end, SubscriptionEnded)
                if not unpaid:
                    return end.state, str(end), recurs
                before = "" if unpaid in str(end) else f"; before that: {unpaid}"
                return "skipped", f"{end}{before}", recurs
            except TooEarly as error:
                await self._wait_for(next_block, delivery, str(error))
                continue
            except TransientFailure as error:
                refusals += 1
                unpaid = str(error) if isinstance(error, PaymentMissing) else unpaid
                if refusals == _MAX_REFUSALS:
                    return error.state, f"Given up: {error}", True
                problem = str(error)
            except Damaged as error:  # reading it again would not help
                return "failed", str(error), True
            except RpcUnavailable as error:
                await self._note_problem(delivery, str(error))
                await asyncio.sleep(outage.next(error.retry_after, self._ends_in(delivery)))
                continue
            except (ActionNeeded, StorageError) as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - any defect is logged
                # A defect of ours must not leave a delivery without a task.
                log_exception(logger, "delivery.crashed", error, **names_of(delivery))
                refusals += 1
                problem = f"A defect of the node, see its log: {type(error).__name__}"
                if refusals == _MAX_REFUSALS:
                    return "failed", problem, True
            await self._note_problem(delivery, problem)
            await asyncio.sleep(pauses.next(due_in=self._ends_in(delivery)))

    def _ends_in(self, delivery: OpenDelivery) -> float:
        """Seconds until the interval of a delivery is over, and the next one is due."""
        end = delivery.subscription.end_time(delivery.interval)
        return math.inf if end is None else end - self._head.now()

    async def _wait_for(self, block: asyncio.Event, delivery: OpenDelivery, problem: str) -> None:
        """Wait for a block, for a limited time; if it does not come, note the problem."""
        try:
            async with asyncio.timeout(_MAX_BLOCK_WAIT):
                await block.wait()
        except TimeoutError:
            await self._note_problem(delivery, problem)

    async def _note_problem(self, delivery: OpenDelivery, problem: str) -> None:
        """Log what a delivery waits for, once, and store it for the operator when it changes."""
        before, delivery.reason = delivery.reason, problem
        if self._conditions.is_new(delivery.number, problem):
            log_event(logger, "delivery.deferred", **names_of(delivery), reason=problem)
        elif kind_of(before) == kind_of(problem):
            return
        try:
            await self._store.save(delivery)
        except StorageError as error:
            log_event(logger, "delivery.save_failed", logging.WARNING, reason=str(error))

    async def _add_successor(self, delivery: OpenDelivery) -> None:
        """Store a delivery for the next interval of a recurring subscription, by its on-chain id.

        It has none when its first interval failed; the next one can create it then.
        """
        interval = self._coordinator.next_interval(delivery)
        if interval is None:
            return
        try:
            self._recovery.check_rules(delivery)
        except SubscriptionEnded as end:
            log_event(
                logger,
                "delivery.successor_refused",
                logging.WARNING,
                **names_of(delivery),
                reason=str(end),
            )
            return
        due, pauses = delivery.subscription.due_time(interval), RetryPauses(_FIRST_PAUSE)
        while True:
            retry_after = 0.0
            try:
                identifier = await self._coordinator.subscription_id(delivery)
                if identifier is None and not self._coordinator.may_be_made(delivery, interval):
                    return
                successor = OpenDelivery(
                    number=0,
                    generation=delivery.generation,
                    anchor=delivery.anchor,
                    owner=delivery.owner,
                    nonce=delivery.nonce,
                    subscription_id=identifier,
                    interval=interval,
                    containers=delivery.containers,
                    state="accepted",
                    verified=True,
                    client=delivery.client,
                    request=delivery.request,
                    subscription=delivery.subscription,
                    signed=delivery.signed,
                    planned_interval=interval,
                )
                # Without limit: it replaces this one.
                if await self._store.add(successor, limited=False) is None:
                    self.begin(successor)
                return
            except (TransientFailure, RpcUnavailable, StorageError) as error:
                if self._conditions.is_new(delivery.number, str(error)):
                    log_event(logger, "delivery.deferred", **names_of(delivery), reason=str(error))
                if isinstance(error, RpcUnavailable):
                    retry_after = error.retry_after
            await asyncio.sleep(pauses.next(retry_after, due - self._head.now()))

    async def _save(self, delivery: Delivery) -> None:
        """Store the state, with retries without limit: the next step must not run before that."""
        while True:
            try:
                await self._store.save(delivery)
                break
            except StorageError as error:
                if self._conditions.is_new(None, str(error)):
                    log_event(logger, "delivery.save_failed", logging.ERROR, reason=str(error))
                await asyncio.sleep(_MAX_PAUSE)
        self._conditions.end(None)
        self._conditions.end(delivery.number)  # in the next state it may wait for the same
        self._log_state(delivery)

    def _log_state(self, delivery: Delivery) -> None:
        amount, token = 0, ""
        if isinstance(delivery, OpenDelivery):
            amount, token = delivery.subscription.payment
        log_event(
            logger,
            "delivery.answered" if delivery.answered_by else f"delivery.{delivery.state}",
            logging.WARNING if delivery.state in ("failed", "skipped") else logging.INFO,
            **names_of(delivery),
            owner=delivery.owner,
            **({"amount": amount, "token": token} if amount else {}),
            reason=delivery.reason,
            transaction=delivery.transaction_hash,
        )

    async def stop(self) -> None:
        """Shut down; every delivery resumes at the next start."""
        self._head.unwatch(self)
        await self._tasks.stop()


def _log_crash(error: BaseException) -> None:
    """A defect of ours; the next start resumes the work."""
    log_exception(logger, "delivery.crashed", error)
