"""Waiting for what becomes of transactions."""

from __future__ import annotations

import asyncio

from infernet_edge.chain.txm.store import Outcome
from infernet_edge.chain.txm.transactions import TransactionSender


class Outcomes:
    """Tells whoever waits for a transaction what became of it; one may wait for each."""

    def __init__(self, sender: TransactionSender) -> None:
        self._sender = sender
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        sender.on_outcome = self._note

    async def of(self, key: str) -> Outcome | None:
        """Wait until a transaction is final; None when there is none with this key.

        The ledger forgets transactions a month after they were final. Raises StorageError.
        """
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            outcome = await self._sender.recall(key)
            if outcome is None and await self._sender.find(key) is None:
                return None
            return outcome or self._sender.outcome(key) or await waiting
        finally:
            self._waiting.pop(key, None)

    def _note(self, key: str, outcome: Outcome) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None and not waiting.done():
            waiting.set_result(outcome)
