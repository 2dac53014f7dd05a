"""A transaction on its way, with what is known about it in this run of the node."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Any

from msgspec import Struct

from infernet_edge.chain.rpc.head_tracker import Block
from infernet_edge.chain.txm.store import Transaction
from infernet_edge.logs import log_event

_STUCK_BLOCKS = 3  # that a transaction was not in although its turn had come


class Pace(Struct, frozen=True):
    """How patient the sender is, in seconds. Tests use shorter times."""

    stuck: float = 60.0  # from a transaction's turn to its replacement with higher fees
    stuck_without_blocks: float = 300.0  # the same while no block comes, which fees may mend
    rebroadcast: float = 3.0  # between two broadcasts of a transaction that nobody has; doubles
    rebroadcast_limit: float = 60.0


class Flight:
    """What is known about a transaction that is not final.

    `introduced`: the servers may have it, so that it can be followed.
    """

    def __init__(self, transaction: Transaction, pace: Pace, *, introduced: bool) -> None:
        self.transaction = transaction
        self.introduced = introduced
        self.task: asyncio.Task[None] | None = None  # what is being done about it
        self.block = 0  # in which it is, 0 when in none
        self.used_up = 0  # looks in a row that showed its nonce used but none of its receipts
        self.told_stuck = False
        self._pace = pace
        self._turn: tuple[float, int] | None = None  # time and block when its nonce was the next
        self._again_at = 0.0  # when it may be broadcast again
        self._again_pause = pace.rebroadcast

    def note_turn(self, block: Block) -> None:
        """Its nonce is the next, from this block on."""
        if self._turn is None:
            self._turn = (time.monotonic(), block.number)

    def forget_turn(self) -> None:
        """Wait again before it counts as stuck."""
        self._turn = None

    def note_too_cheap(self) -> None:
        """It is not worth waiting any longer."""
        if self._turn is not None:
            self._turn = (-math.inf, 0)

    def is_stuck(self, block: Block) -> bool:
        """Whether it should have been mined by now."""
        if self._turn is None:
            return False
        since, first_block = self._turn
        waited = time.monotonic() - since
        if block.number - first_block < _STUCK_BLOCKS:
            return waited > self._pace.stuck_without_blocks
        return waited > self._pace.stuck

    def may_be_broadcast(self) -> bool:
        """Whether the last broadcast was long enough ago."""
        return time.monotonic() >= self._again_at

    def note_broadcast(self) -> None:
        """It was given to a server; the next pause is longer."""
        self._again_at = time.monotonic() + self._again_pause
        self._again_pause = min(self._pace.rebroadcast_limit, self._again_pause * 2)


def tell(
    logger: logging.Logger,
    event: str,
    transaction: Transaction,
    level: int = logging.INFO,
    **fields: Any,
) -> None:
    """Log an event of a transaction."""
    log_event(
        logger,
        f"transaction.{event}",
        level,
        key=transaction.key,
        **{
            "subscription": transaction.subject.subscription,
            "interval": transaction.subject.interval,
            "hash": transaction.hash,
            "nonce": transaction.nonce,
        }
        | fields,
    )
