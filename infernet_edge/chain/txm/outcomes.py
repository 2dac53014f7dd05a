"""What became of transactions: stored first, then given to who waits for it."""

from __future__ import annotations

import asyncio
import logging

from infernet_edge.chain.txm.events import log_transaction
from infernet_edge.chain.txm.funds import FeeBudget
from infernet_edge.chain.txm.in_flight import InFlightSet
from infernet_edge.chain.txm.store import Transaction, TransactionOutcome, TransactionStore

logger = logging.getLogger(__name__)

_REMEMBERED = 1000  # outcomes in memory


class Outcomes:
    """The outcomes of one account's transactions. All its coroutines raise StorageError."""

    def __init__(self, store: TransactionStore, in_flight: InFlightSet, budget: FeeBudget) -> None:
        self._store = store
        self._budget = budget
        self._in_flight = in_flight
        self._recent: dict[str, TransactionOutcome] = {}
        self._waiting: dict[str, asyncio.Future[TransactionOutcome]] = {}

    async def load(self) -> None:
        """Read the newest outcomes of earlier runs. To be called once, at start."""
        self._recent = await self._store.outcomes(_REMEMBERED)

    def recent(self, key: str) -> TransactionOutcome | None:
        """What became of a transaction; None while it is not final, or long ago."""
        return self._recent.get(key)

    async def wait(self, key: str) -> TransactionOutcome | None:
        """Wait until a transaction is final; None when there is none with this key.

        One may wait for each key. The store forgets transactions a month after they were final.
        """
        # The future first: the outcome may come while the store is read.
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            outcome = self._recent.get(key) or await self._store.outcome(key)
            if outcome is not None:
                return outcome
            if key not in self._in_flight.by_key and await self._store.find(key) is None:
                return None
            return self._recent.get(key) or await waiting
        finally:
            self._waiting.pop(key, None)

    async def finish(
        self, transaction: Transaction, outcome: TransactionOutcome, fee: int | None = None
    ) -> None:
        """Store what became of a transaction, which is no longer in flight then.

        `fee`: what the chain has charged for it, in wei.
        """
        key = transaction.key
        payment = None if fee is None else self._budget.payment(fee)
        await self._store.finish(transaction, outcome, payment)
        if payment is not None:
            self._budget.note_paid(payment)
        self._in_flight.by_key.pop(key, None)
        self._recent[key] = outcome
        if len(self._recent) > 2 * _REMEMBERED:
            self._recent = dict(list(self._recent.items())[-_REMEMBERED:])
        log_transaction(
            logger,
            outcome.status,
            transaction,
            logging.INFO if outcome.status == "mined" else logging.WARNING,
            hash=outcome.hash,
            block=outcome.block,
            gas_used=outcome.gas_used,
            fee=fee,
            reason=outcome.reason,
        )
        waiting = self._waiting.get(key)
        if waiting is not None and not waiting.done():
            waiting.set_result(outcome)
