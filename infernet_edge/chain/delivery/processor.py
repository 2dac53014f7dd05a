"""The life of a delivery: checked, simulated, computed, simulated again, sent, mined.

Each step stores the state that it reached before the next one begins, so that a node that was
killed goes on where it was. What the chain cannot be asked now waits for the chain; what will never
succeed ends with its reason.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from infernet_edge.chain.contracts.payload import BadPayload, pack
from infernet_edge.chain.delivery.coordinator import Coordinator
from infernet_edge.chain.delivery.errors import Done, Ended, Never, NotNow, Unpaid, Waiting
from infernet_edge.chain.delivery.escrow import Escrow
from infernet_edge.chain.delivery.proofs import Proof, Proofs
from infernet_edge.chain.delivery.recovery import Leftovers
from infernet_edge.chain.delivery.store import UNFINISHED, Delivery, DeliveryStore, State
from infernet_edge.chain.rpc.client import Call, RpcUnavailable
from infernet_edge.chain.rpc.head_tracker import Block, Head
from infernet_edge.chain.txm.broadcaster import SendError
from infernet_edge.chain.txm.in_flight import MAX_IN_FLIGHT
from infernet_edge.chain.txm.manager import TransactionManager
from infernet_edge.chain.txm.store import Outcome, Subject
from infernet_edge.checksums import Damaged
from infernet_edge.containers.client import ContainerFailure
from infernet_edge.errors import StorageError
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

MOST_ATTEMPTS: Final = 3
_MOST_AT_ONCE = 64  # deliveries that speak with the contracts; others wait in line
_MOST_FLYING = MAX_IN_FLIGHT - 4  # approvals and what fills gaps have room beside deliveries
_FIRST_PAUSE = 1.0  # seconds before something that failed is tried again; doubles
_LONGEST_PAUSE = 30.0
_MOST_REFUSALS = 8  # times that a step has to wait for the contracts, not for the RPC


class OnEnded(Protocol):
    """Is told of the end of a delivery of a contract's own subscription."""

    def __call__(self, delivery: Delivery, *, recurs: bool) -> None:
        """`recurs`: later intervals make sense."""


class Processor:
    """Takes deliveries from their acceptance to their end. Watches the head for those that wait
    for their time.

    `escrow` and `proofs` see to what is locked in the node's wallet, where there is one.
    """

    def __init__(
        self,
        store: DeliveryStore,
        coordinator: Coordinator,
        orchestrator: Orchestrator,
        transactions: TransactionManager,
        head: Head,
        leftovers: Leftovers,
        escrow: Escrow | None = None,
        proofs: Proofs | None = None,
    ) -> None:
        self.on_sent: Callable[[Delivery], None] = lambda delivery: None
        self.on_ended: OnEnded = _forget
        self._store = store
        self._coordinator = coordinator
        self._orchestrator = orchestrator
        self._transactions = transactions
        self._head = head
        self._leftovers = leftovers
        self._escrow = escrow
        self._proofs = proofs
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)
        self._flights = asyncio.Semaphore(_MOST_FLYING)  # transactions that are not final
        self._flying: set[int] = set()  # the deliveries whose they are
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: list[tuple[int, int, Delivery]] = []
        self._taken: dict[tuple[str, int, int], int] = {}  # by whom intervals on the chain are

    async def start(self) -> None:
        """Go on with what an earlier run left unfinished, and end what is not to be done now."""
        last = await self._transactions.last_number()
        if self._proofs is not None:
            last = max(last, await self._proofs.last_number())
        found = [(each, await self._is_sent(each)) for each in await self._store.load(last)]
        for delivery, sent in found:
            try:
                if delivery.damaged:
                    raise Ended("Its request was damaged on the disk")
                self._leftovers.check_deployment(delivery)
                if not sent:
                    self._leftovers.check_rules(delivery)
            except Ended as end:
                self._follow(self._end(delivery, end))
                continue
            if sent and self._escrow is not None and (locked := self._coordinator.locks(delivery)):
                self._escrow.reserve(delivery.number, locked)  # it counts on an approval
            self.begin(delivery)
        self._head.watch(self)

    async def _is_sent(self, delivery: Delivery) -> bool:
        """Whether its transaction may be on its way since an earlier run."""
        if delivery.state != "sending":
            return delivery.state == "sent"
        return await self._transactions.find(_key(delivery)) is not None

    async def _end(self, delivery: Delivery, end: Ended) -> None:
        """Nothing follows: subscriptions are checked by those who follow them."""
        delivery.state, delivery.reason = end.state, str(end)
        await self._save(delivery)

    def questions(self) -> list[Call]:
        """Nothing: the block alone tells the time."""
        return []

    def answers(self, block: Block, answers: list[Any]) -> None:
        """Begin the deliveries whose time has come."""
        while self._early and self._early[0][0] <= self._head.passed():
            self._follow(self._run(heapq.heappop(self._early)[2]))

    def begin(self, delivery: Delivery) -> None:
        """Work on a stored delivery, now or when its interval begins.

        Before the first block nothing begins: this machine's date may be wrong.
        """
        if delivery.subscription_id is not None:
            self._taken.setdefault(_interval(delivery), delivery.number)
        due = self._coordinator.due_time(delivery)
        early = self._head.latest is None or due > self._head.now()
        if delivery.state == "accepted" and early:
            heapq.heappush(self._early, (due, delivery.number, delivery))
        else:
            self._follow(self._run(delivery))

    def _follow(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_ended)

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        """Let go of a task; a mistake of ours in it is told, and mended by the next start."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("delivery.broken", exc_info=error)

    async def _run(self, delivery: Delivery) -> None:
        recurs = True
        while delivery.state in UNFINISHED:
            state, reason, recurs = await self._patiently(delivery)
            if state != "sent" and delivery.number in self._flying:
                self._flying.remove(delivery.number)
                self._flights.release()
            if state not in UNFINISHED and recurs and delivery.delegated:
                # Before the end is stored: a kill in between finds the successor there.
                await self._add_successor(delivery)
            delivery.state, delivery.reason = state, reason
            await self._save(delivery)
            if state == "sent" and not delivery.delegated:
                self.on_sent(delivery)
        if self._escrow is not None:
            self._escrow.release(delivery.number)
        if self._taken.get(_interval(delivery)) == delivery.number:
            del self._taken[_interval(delivery)]
        if not delivery.delegated:
            self.on_ended(delivery, recurs=recurs)

    async def _patiently(self, delivery: Delivery) -> tuple[State, str, bool]:
        """Do the delivery's step, again and again while it has to wait.

        Returns the state after it, its reason, and whether later intervals make sense.
        """
        pause, refusals, unpaid = _FIRST_PAUSE, 0, ""
        while True:
            try:
                return *(await self._step(delivery)), True
            except Done as end:
                return "delivered", str(end), True
            except Never as end:
                recurs = not isinstance(end, Ended)
                if not unpaid:
                    return end.state, str(end), recurs
                told = "" if unpaid in str(end) else f"; before that: {unpaid}"
                return "skipped", f"{end}{told}", recurs
            except NotNow as error:
                refusals += 1
                unpaid = str(error) if isinstance(error, Unpaid) else unpaid
                if refusals == _MOST_REFUSALS:
                    return error.state, f"Given up: {error}", True
                problem = str(error)
            except Damaged as error:  # reading it again would not help
                return "failed", str(error), True
            except (Waiting, RpcUnavailable, StorageError) as error:
                problem = str(error)
            except Exception as error:
                # A mistake of ours must not leave a delivery behind that nobody works on.
                logger.exception("delivery.broken", extra={"fields": _named(delivery)})
                refusals += 1
                problem = f"A mistake of the node's own, see its log: {type(error).__name__}"
                if refusals == _MOST_REFUSALS:
                    return "failed", problem, True
            await self._tell_why(delivery, problem)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _tell_why(self, delivery: Delivery, problem: str) -> None:
        """Say what a delivery waits for, in the log and to whoever lists it; once."""
        if problem == delivery.reason:
            return
        delivery.reason = problem
        log_event(logger, "delivery.waits", **_named(delivery), reason=problem)
        try:
            await self._store.save(delivery)
        except StorageError as error:
            log_event(logger, "delivery.unsaved", logging.WARNING, reason=str(error))

    async def _add_successor(self, delivery: Delivery) -> None:
        """Take on the next interval of a recurring subscription, by its on-chain id.

        It has none when its first interval failed; the next one can make it then.
        """
        interval = self._coordinator.next_interval(delivery)
        if interval is None:
            return
        try:
            self._leftovers.check_rules(delivery)
        except Ended as end:
            log_event(logger, "delivery.last", logging.WARNING, **_named(delivery), reason=str(end))
            return
        pause = _FIRST_PAUSE
        while True:
            try:
                identifier = await self._coordinator.subscription_id(delivery)
                if identifier is None and not self._coordinator.may_be_made(delivery, interval):
                    return
                base = delivery.key.partition("#")[0]
                successor = Delivery(
                    number=0,
                    key=f"{base}#{interval}",
                    generation=delivery.generation,
                    owner=delivery.owner,
                    nonce=delivery.nonce,
                    subscription_id=identifier,
                    interval=interval,
                    containers=delivery.containers,
                    state="accepted",
                    verified=True,
                    client=delivery.client,
                    request=delivery.request,
                )
                # It takes the place of this one, so that there is room for it.
                if await self._store.add(successor, limited=False) is None:
                    self.begin(successor)
                return
            except (NotNow, RpcUnavailable, StorageError) as error:
                log_event(logger, "delivery.waits", **_named(delivery), reason=str(error))
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _save(self, delivery: Delivery) -> None:
        """Store the state, again and again if need be: the next step must not run without it."""
        while True:
            try:
                await self._store.save(delivery)
                break
            except StorageError as error:
                log_event(logger, "delivery.unsaved", logging.ERROR, reason=str(error))
                await asyncio.sleep(_LONGEST_PAUSE)
        self._tell(delivery)

    def _tell(self, delivery: Delivery) -> None:
        amount, token = self._coordinator.payment(delivery)
        log_event(
            logger,
            f"delivery.{delivery.state}",
            logging.WARNING if delivery.state in ("failed", "skipped") else logging.INFO,
            **_named(delivery),
            owner=delivery.owner,
            **({"amount": amount, "token": token} if amount else {}),
            reason=delivery.reason,
            transaction=delivery.transaction_hash,
        )

    async def _step(self, delivery: Delivery) -> tuple[State, str]:
        """One step; returns the state after it and its reason, or raises why there is none."""
        if delivery.state == "sent":
            return await self._wait_for_outcome(delivery)
        if delivery.state == "computing":
            self._coordinator.check_time(delivery)  # what it asks may take the server too long
            await self._compute(delivery)
            return "sending", ""
        if delivery.state == "sending":
            await self._make_ready(delivery)
            await self._send_in_turn(delivery)
            return "sent", ""
        async with self._places:  # who computes has no need of one: containers have their queues
            self._check_taken(delivery)
            await self._coordinator.admit(delivery)
            return "computing", ""

    async def _make_ready(self, delivery: Delivery) -> None:
        """Wait for an approval if need be; nobody else's place or transaction waits with it.

        Raises Never when its time is over, unless an earlier run stored its transaction.
        """
        if await self._transactions.find(_key(delivery)) is not None:
            return
        self._coordinator.check_time(delivery)
        locked = self._coordinator.locks(delivery)
        if locked is not None and self._escrow is not None:
            await self._escrow.secure(delivery.number, locked, _subject(delivery))

    async def _send_in_turn(self, delivery: Delivery) -> None:
        """Send when few enough transactions are on their way; one is until it is final."""
        await self._flights.acquire()
        try:
            async with self._places:
                await self._send(delivery)
        except BaseException:
            self._flights.release()
            raise
        self._flying.add(delivery.number)

    def _check_taken(self, delivery: Delivery) -> None:
        """Raise Done when another delivery is for the same interval.

        A contract's subscription that the node follows may be one of which a delegated request
        tells it later.
        """
        other = self._taken.get(_interval(delivery), delivery.number)
        if other != delivery.number:
            raise Done(f"Delivery {other} answers this interval")

    async def _compute(self, delivery: Delivery) -> None:
        """Run the containers; three times at most, with a growing pause between."""
        task = await self._coordinator.task(delivery)
        pause = _FIRST_PAUSE
        for attempt in range(1, MOST_ATTEMPTS + 1):
            try:
                with self._orchestrator.reserve() as memory:
                    answer = await self._orchestrator.compute(
                        delivery.containers,
                        task.data,
                        memory,
                        source=task.source,
                        destination=task.destination,
                        requires_proof=task.requires_proof,
                    )
                    packed = await asyncio.to_thread(pack, answer)
                break
            except (ContainerFailure, BadPayload) as error:
                if attempt == MOST_ATTEMPTS:
                    raise Never(f"The container failed {attempt} times: {error}") from None
                log_event(
                    logger,
                    "delivery.compute_failed",
                    logging.WARNING,
                    **_named(delivery),
                    attempt=attempt,
                    reason=str(error),
                )
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 5)
        delivery.input, delivery.output, delivery.proof = packed

    async def _send(self, delivery: Delivery) -> None:
        """Simulate and send; a transaction that an earlier run stored is taken up, not repeated."""
        key = _key(delivery)
        known = await self._transactions.find(key)
        if known is None:
            answer = await self._store.answer(delivery)
            order = await self._coordinator.prepare(delivery, answer)
            try:
                known = await self._transactions.send(
                    key,
                    order.to,
                    order.data,
                    gas=order.gas,
                    max_gas_price=order.max_gas_price,
                    subject=_subject(delivery),
                )
            except SendError as error:
                if error.temporary:
                    raise Waiting(str(error)) from None
                raise Never(str(error)) from None
        delivery.transaction_hash = known

    async def _wait_for_outcome(self, delivery: Delivery) -> tuple[State, str]:
        outcome = await self._transactions.outcomes.wait(_key(delivery))
        if outcome is None:
            # Forgotten while the node was off for a month. The simulation tells if it was mined.
            return "sending", ""
        delivery.transaction_hash = outcome.hash
        if outcome.status == "mined":
            await self._expect_verdict(delivery, outcome)
            return "delivered", ""
        delivery.attempts += 1
        if delivery.attempts >= MOST_ATTEMPTS:
            raise Never(f"Given up after {MOST_ATTEMPTS} transactions: {outcome.reason}")
        return "sending", outcome.reason

    async def _expect_verdict(self, delivery: Delivery, outcome: Outcome) -> None:
        locked = self._coordinator.locks(delivery)
        if locked is None or self._proofs is None:
            return
        try:
            identifier = await self._coordinator.subscription_id(delivery)
        except NotNow as error:  # it is delivered, whatever is said of its id
            raise Waiting(str(error)) from None
        if identifier is not None:
            proof = Proof(
                delivery.number, identifier, delivery.interval, locked, outcome.hash, outcome.block
            )
            await self._proofs.expect(proof)

    async def stop(self) -> None:
        """Stop working; every delivery goes on at the next start."""
        self._head.unwatch(self)
        await cancel(*self._tasks)


def _forget(delivery: Delivery, *, recurs: bool) -> None:
    """Nobody follows the subscriptions of contracts."""


def _named(delivery: Delivery) -> dict[str, Any]:
    """What names a delivery in the log."""
    return {
        "number": delivery.number,
        "subscription": delivery.subscription_id,
        "interval": delivery.interval,
    }


def _interval(delivery: Delivery) -> tuple[str, int, int]:
    """What names an interval on the chain."""
    return delivery.generation, delivery.subscription_id or 0, delivery.interval


def _subject(delivery: Delivery) -> Subject:
    return Subject(delivery.subscription_id, delivery.interval)


def _key(delivery: Delivery) -> str:
    """What names the transaction of this attempt, so that it exists once."""
    return f"delivery:{delivery.number}:{delivery.attempts}"
