"""The steps of a delivery: checked and simulated, computed, simulated again and sent, mined.

Each step ends with the state that it reached, which the processor stores before the next one
begins; or it raises why there is none, see errors.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from typing import Any, Final

from infernet_edge.backoff import Backoff
from infernet_edge.chain.contracts.payload import BadPayload, pack
from infernet_edge.chain.delivery.coordinator import Coordinator
from infernet_edge.chain.delivery.errors import (
    ActionNeeded,
    InputRefused,
    NothingToDo,
    PermanentFailure,
    TransientFailure,
)
from infernet_edge.chain.delivery.escrow import Escrow
from infernet_edge.chain.delivery.next_block import NextBlock
from infernet_edge.chain.delivery.proofs import Proof, Proofs
from infernet_edge.chain.delivery.record import Delivery, DeliveryState, OpenDelivery
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.chain.txm.broadcaster import OneAtATime, SendError
from infernet_edge.chain.txm.manager import TransactionManager
from infernet_edge.chain.txm.store import Subject, TransactionOutcome
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.protocols.call import ON_CHAIN
from infernet_edge.errors import BadRequest, StorageError
from infernet_edge.jobs.checking.inputs import InputSchemas
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
_MAX_AT_CONTRACTS = 64  # deliveries that call the contracts at once; others queue
_MAX_TURNS = 4  # slots for one transaction in a row, where a server takes one after the other
_UNFIT: Final = "The input does not fit the container's input_schema"
_FIRST_PAUSE = 1.0  # seconds before a container that failed is called again; grows
_MAX_PAUSE = 30.0


class DeliverySteps:
    """Does what is next for a delivery.

    `escrow` and `proofs` are for what is locked in the node's wallet, where there is one.
    """

    def __init__(
        self,
        store: DeliveryStore,
        coordinator: Coordinator,
        orchestrator: Orchestrator,
        transactions: TransactionManager,
        next_block: NextBlock,
        schemas: InputSchemas,
        escrow: Escrow | None = None,
        proofs: Proofs | None = None,
    ) -> None:
        self._store = store
        self._coordinator = coordinator
        self._orchestrator = orchestrator
        self._transactions = transactions
        self._next_block = next_block
        self._schemas = schemas
        self._escrow = escrow
        self._proofs = proofs
        self._contract_slots = asyncio.Semaphore(_MAX_AT_CONTRACTS)
        self._sent: dict[int, str] = {}  # keys of transactions in flight, by delivery
        self._claims: dict[tuple[str, int, int], int] = {}  # which delivery is for an interval

    async def last_number(self) -> int:
        """The largest number of a delivery that others have stored. Raises StorageError."""
        last = await self._transactions.last_number()
        if self._proofs is not None:
            last = max(last, await self._proofs.last_number())
        return last

    async def is_sent(self, delivery: Delivery) -> bool:
        """Whether its transaction may be in flight since an earlier run. Raises StorageError."""
        if delivery.state != "sending":
            return delivery.state == "sent"
        return await self._transactions.find(_key(delivery)) is not None

    def resume(self, delivery: OpenDelivery) -> None:
        """Note what a delivery of an earlier run holds, whose transaction may be in flight.

        It counts on an approval, and those for later intervals wait for it.
        """
        self._transactions.slots.adopt(_key(delivery), _group(delivery))
        self._sent[delivery.number] = _key(delivery)
        if self._escrow is not None and (locked := self._coordinator.locks(delivery)):
            self._escrow.reserve(delivery.number, locked)

    def claim(self, delivery: OpenDelivery) -> None:
        """Note which interval of a subscription on the chain a delivery is for; the first wins."""
        if delivery.subscription_id is not None:
            self._claims.setdefault(_interval(delivery), delivery.number)

    def release_transaction_slot(self, delivery: OpenDelivery) -> None:
        """Its transaction is final, or there is none. May be called more than once."""
        if (key := self._sent.pop(delivery.number, None)) is not None:
            self._transactions.slots.release(key)

    def release(self, delivery: OpenDelivery) -> None:
        """Release what is held for a delivery that has ended."""
        if self._escrow is not None:
            self._escrow.release(delivery.number)
        if self._claims.get(_interval(delivery)) == delivery.number:
            del self._claims[_interval(delivery)]

    async def take(self, delivery: OpenDelivery) -> tuple[DeliveryState, str]:
        """Take one step; returns the state after it and its reason.

        Raises the errors of errors.py, RpcUnavailable, StorageError.
        """
        if delivery.state == "sent":
            return await self._wait_for_outcome(delivery)
        if delivery.state == "computing":
            self._coordinator.check_time(delivery)  # what it asks may take the server too long
            await self._compute(delivery)
            return "sending", ""
        if delivery.state == "sending":
            await self._secure(delivery)
            await self._send_in_turn(delivery)
            return "sent", ""
        async with self._contract_slots:  # not while it computes: containers have queues
            self._check_claim(delivery)
            await self._coordinator.admit(delivery)
            return "computing", ""

    def _check_claim(self, delivery: OpenDelivery) -> None:
        """Raise NothingToDo when another delivery is for the same interval.

        A contract's subscription that the node follows may turn out later to be one of a delegated
        request.
        """
        other = self._claims.get(_interval(delivery), delivery.number)
        if other != delivery.number:
            raise NothingToDo(f"Delivery {other} answers this interval", f"delivery {other}")

    async def _compute(self, delivery: OpenDelivery) -> None:
        """Run the containers; three times at most, with a growing pause between."""
        task = await self._coordinator.task(delivery)
        if task.source == ON_CHAIN and isinstance(task.data, bytes):
            try:
                await self._schemas.check_onchain(delivery.containers[0], task.data)
            except BadRequest as error:
                raise InputRefused(f"{_UNFIT}, {error.message}") from None
        pauses = Backoff(_FIRST_PAUSE, _MAX_PAUSE, factor=5.0)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                with self._orchestrator.computing.reserve() as memory:
                    answer = await self._orchestrator.computing.compute(
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
                if attempt == MAX_ATTEMPTS:
                    raise PermanentFailure(
                        f"The container failed {attempt} times: {error}"
                    ) from None
                log_event(
                    logger,
                    "delivery.compute_failed",
                    logging.WARNING,
                    **names_of(delivery),
                    attempt=attempt,
                    reason=str(error),
                )
                await asyncio.sleep(pauses.next())
        delivery.input, delivery.output, delivery.proof = packed

    async def _secure(self, delivery: OpenDelivery) -> None:
        """Wait for an approval if need be, without a slot: nothing else waits with it.

        Raises PermanentFailure when its time is over, unless an earlier run stored its transaction.
        """
        if await self._transactions.find(_key(delivery)) is not None:
            return
        self._coordinator.check_time(delivery)
        locked = self._coordinator.locks(delivery)
        if locked is not None and self._escrow is not None:
            await self._escrow.secure(delivery.number, locked, _subject(delivery))

    async def _send_in_turn(self, delivery: OpenDelivery) -> None:
        """Send when few enough transactions wait for a block, and none of its subscription."""
        key = _key(delivery)
        for turn in range(_MAX_TURNS):
            if await self._transactions.find(key) is not None:
                await self._send(delivery)
                return
            slot = self._transactions.slots.slot(key, _group(delivery), first=turn > 0)
            try:
                async with slot, self._contract_slots:
                    await self._send(delivery)
                    self._sent[delivery.number] = key
                return
            except OneAtATime as error:
                if turn == _MAX_TURNS - 1:
                    raise ActionNeeded(str(error)) from None

    async def _send(self, delivery: OpenDelivery) -> None:
        """Simulate and send; a transaction that an earlier run stored is not sent twice."""
        key = _key(delivery)
        known = await self._transactions.find(key)
        if known is None:
            answer = await self._store.answer(delivery)
            order = await self._coordinator.prepare(delivery, answer)
            self._next_block.check(delivery)
            try:
                known = await self._transactions.send(
                    key,
                    order.to,
                    order.data,
                    gas=order.gas,
                    max_gas_price=order.max_gas_price,
                    subject=_subject(delivery),
                )
            except OneAtATime:
                raise
            except SendError as error:
                if error.temporary:
                    raise ActionNeeded(str(error)) from None
                raise PermanentFailure(str(error)) from None
        delivery.transaction_hash = known

    async def is_delivered(self, delivery: Delivery) -> bool:
        """Wait until the transaction of a delivery is final; whether it was mined.

        Needs nothing of its request. Retries while the database cannot be used.
        """
        pauses = Backoff(1.0, 60.0)
        while True:
            try:
                outcome = await self._transactions.outcomes.wait(_key(delivery))
            except StorageError:  # the database has logged it
                await asyncio.sleep(pauses.next())
                continue
            if outcome is not None:
                delivery.transaction_hash = outcome.hash
            return outcome is not None and outcome.status == "mined"

    async def _wait_for_outcome(self, delivery: OpenDelivery) -> tuple[DeliveryState, str]:
        outcome = await self._transactions.outcomes.wait(_key(delivery))
        if outcome is None:
            # Forgotten while the node was off for a month. The simulation shows if it was mined.
            return "sending", ""
        delivery.transaction_hash = outcome.hash
        if outcome.status == "mined":
            await self._expect_verdict(delivery, outcome)
            return "delivered", ""
        delivery.attempts += 1
        if delivery.attempts >= MAX_ATTEMPTS:
            raise PermanentFailure(f"Given up after {MAX_ATTEMPTS} transactions: {outcome.reason}")
        return "sending", outcome.reason

    async def _expect_verdict(self, delivery: OpenDelivery, outcome: TransactionOutcome) -> None:
        locked = self._coordinator.locks(delivery)
        if locked is None or self._proofs is None:
            return
        try:
            identifier = await self._coordinator.subscription_id(delivery)
        except TransientFailure as error:  # it is delivered, whatever is said of its id
            raise ActionNeeded(str(error)) from None
        if identifier is not None:
            proof = Proof(
                delivery.number, identifier, delivery.interval, locked, outcome.hash, outcome.block
            )
            await self._proofs.expect(proof)


def names_of(delivery: Delivery) -> dict[str, Any]:
    """What names a delivery in the log."""
    return {
        "number": delivery.number,
        "subscription": delivery.subscription_id,
        "interval": delivery.interval,
    }


def _interval(delivery: OpenDelivery) -> tuple[str, int, int]:
    """What names an interval on the chain."""
    return delivery.generation, delivery.subscription_id or 0, delivery.interval


def _group(delivery: OpenDelivery) -> Hashable | None:
    """Of what there is one transaction at a time: a subscription on the chain."""
    if delivery.subscription_id is None:
        return None
    return delivery.generation, delivery.subscription_id


def _subject(delivery: OpenDelivery) -> Subject:
    return Subject(delivery.subscription_id, delivery.interval)


def _key(delivery: Delivery) -> str:
    """What names the transaction of this attempt, so that it exists once."""
    return f"delivery:{delivery.number}:{delivery.attempts}"
