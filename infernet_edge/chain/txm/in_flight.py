"""The transactions in flight: what is known of each, and what has to be done about it next.

Everything here is pure state: nothing asks a server or writes to the disk, and the clock is passed
in. The broadcaster adds transactions and changes their signed forms, the confirmer notes what
servers say of them and does what `InFlight.observe` asks for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import Final, NamedTuple

from msgspec import Struct

from infernet_edge.backoff import Backoff
from infernet_edge.chain.rpc.head_tracker import BlockHeader
from infernet_edge.chain.txm.store import Transaction

MAX_IN_FLIGHT: Final = 1000  # in memory: those in a block that is not deep enough yet count too
_STUCK_BLOCKS = 3  # that did not include a transaction although its nonce was the next
_MIN_AGREEING = 3  # observations in a row, before a nonce may count as used by others

Clock = Callable[[], float]
"""A steady clock, in seconds, such as time.monotonic."""


class StuckLimits(Struct, frozen=True):
    """After how many seconds something is done about a transaction. Tests use shorter times."""

    stuck: float = 60.0  # from the moment its nonce is the next, to a replacement
    stuck_without_blocks: float = 300.0  # the same while no block comes; higher fees may fix that
    rebroadcast: float = 3.0  # between two broadcasts of one that no mempool has; doubles
    rebroadcast_limit: float = 60.0


class InFlightState(Enum):
    """How far a transaction is that is not final.

        BROADCASTING ──> PENDING <──> INCLUDED ──> (final, no longer in flight)

    One that an earlier run stored starts as PENDING: it may have reached a server or not.
    """

    BROADCASTING = auto()  # the broadcaster signs, stores and sends it; nothing else touches it
    PENDING = auto()  # servers may have it; it is in no block, as far as is known
    INCLUDED = auto()  # it is in a block that is not deep enough yet; a reorg makes it PENDING


class NextStep(Enum):
    """What has to be done about a transaction after an observation."""

    WAIT = auto()
    REBROADCAST = auto()  # no mempool has it
    REPLACE = auto()  # it is stuck, or cannot be mined at the present base fee
    CHECK_NONCE = auto()  # its nonce is used, and none of its signed forms has a receipt
    FINISH = auto()  # its block is deep enough


class Observation(NamedTuple):
    """What one server said, in one batch, of a transaction and its account."""

    head: BlockHeader
    mined_nonce: int  # the account's next nonce after all that is mined
    pending_nonce: int  # the same after all that is in the mempool
    receipt_block: int | None  # the block of its receipt, None when no signed form has one


class InFlight:
    """One transaction that is not final. `block` is where it is included, 0 for nowhere."""

    def __init__(
        self, transaction: Transaction, state: InFlightState, limits: StuckLimits, clock: Clock
    ) -> None:
        self.transaction = transaction
        self.state = state
        self.block = 0
        self.stuck_logged = False
        self._limits = limits
        self._clock = clock
        self._without_receipt = 0  # observations in a row: its nonce used, no receipt
        self._next_since: tuple[float, int] | None = None  # time and block: its nonce is the next
        self._underpriced_in = -1  # the last block whose base fee was above its maximum fee
        self._too_cheap = False
        self.waits_for_turn = False  # servers take it when its nonce is the next
        self._rebroadcast_at = -math.inf
        self._rebroadcast_pauses = Backoff(limits.rebroadcast, limits.rebroadcast_limit)

    def observe(self, seen: Observation, depth: int) -> NextStep:
        """Note what a server said, and return what has to be done now.

        `depth`: how many blocks have to follow its block until it is final. Each REPLACE and
        CHECK_NONCE is returned once; the time or the count towards the next starts again.
        """
        if seen.receipt_block is not None:
            self.state, self.block = InFlightState.INCLUDED, seen.receipt_block
            self._without_receipt = 0
            deep = seen.head.number - seen.receipt_block >= depth
            return NextStep.FINISH if deep else NextStep.WAIT
        self.state, self.block = InFlightState.PENDING, 0
        nonce = self.transaction.nonce
        if seen.mined_nonce > nonce:
            # One observation proves little: servers behind one address differ by some blocks.
            self._without_receipt = (self._without_receipt + 1) % _MIN_AGREEING
            return NextStep.WAIT if self._without_receipt else NextStep.CHECK_NONCE
        self._without_receipt = 0
        if seen.mined_nonce == nonce and self._next_since is None:
            self._next_since = (self._clock(), seen.head.number)
        if self._is_newly_underpriced(seen.head) or self._too_cheap or self._is_stuck(seen.head):
            self.restart_stuck_time()
            self._too_cheap = False
            return NextStep.REPLACE
        missing = seen.pending_nonce <= nonce
        in_turn = seen.mined_nonce == nonce or not self.waits_for_turn
        if missing and in_turn and self._clock() >= self._rebroadcast_at:
            return NextStep.REBROADCAST
        return NextStep.WAIT

    @property
    def is_doubted(self) -> bool:
        """Whether its nonce seems to be used by another, and more observations have to agree."""
        return self._without_receipt > 0

    def _is_newly_underpriced(self, head: BlockHeader) -> bool:
        """Whether its maximum fee is below the base fee; once for each block.

        No later nonce can be mined before it, so waiting for its turn gains nothing.
        """
        price = self.transaction.signed[-1].max_fee
        if head.base_fee is None or price >= head.base_fee or head.number == self._underpriced_in:
            return False
        self._underpriced_in = head.number
        return True

    def _is_stuck(self, head: BlockHeader) -> bool:
        """Whether it should have been included by now."""
        if self._next_since is None:
            return False
        since, first_block = self._next_since
        waited = self._clock() - since
        if head.number - first_block < _STUCK_BLOCKS:
            return waited > self._limits.stuck_without_blocks
        return waited > self._limits.stuck

    def restart_stuck_time(self) -> None:
        """Count the time until it is stuck from the next observation on."""
        self._next_since = None

    def note_too_cheap(self) -> None:
        """A server does not take it for such fees: it has to be replaced."""
        self._too_cheap = True

    def note_one_at_a_time(self) -> None:
        """A server takes it only when its nonce is the next."""
        self.waits_for_turn = True

    def note_broadcast(self) -> None:
        """It was given to a server; the pause before the next time is longer."""
        self._rebroadcast_at = self._clock() + self._rebroadcast_pauses.next()


class InFlightSet:
    """The transactions in flight of one account, by their keys."""

    def __init__(self, limits: StuckLimits | None = None, clock: Clock = time.monotonic) -> None:
        self.by_key: dict[str, InFlight] = {}
        self._limits = limits or StuckLimits()
        self._clock = clock
        self._gap_since = math.inf

    def __len__(self) -> int:
        return len(self.by_key)

    def new(self, transaction: Transaction, state: InFlightState) -> InFlight:
        """One that is not in the set yet: it is added when it is stored."""
        return InFlight(transaction, state, self._limits, self._clock)

    def nonces_besides(self, transaction: Transaction) -> set[int]:
        """The nonces of the others on the same chain."""
        return {
            other.transaction.nonce
            for key, other in self.by_key.items()
            if key != transaction.key and other.transaction.chain_id == transaction.chain_id
        }

    def reserved_besides(self, transaction: Transaction) -> int:
        """Wei that the others may still cost, those that are included left out."""
        return sum(
            other.transaction.gas * other.transaction.signed[-1].max_fee
            for key, other in self.by_key.items()
            if key != transaction.key and other.state is not InFlightState.INCLUDED
        )

    def is_pending(self, key: str) -> bool:
        """Whether there is such a transaction that is in no block."""
        known = self.by_key.get(key)
        return known is not None and known.state is not InFlightState.INCLUDED

    def pending(self) -> set[str]:
        """The keys of those that are in no block."""
        return {key for key in self.by_key if self.is_pending(key)}

    def most_besides(self, transaction: Transaction) -> int:
        """Wei that the others may cost at most, also those that are included and not final."""
        return sum(
            other.transaction.gas * other.transaction.signed[-1].max_fee
            for key, other in self.by_key.items()
            if key != transaction.key
        )

    def has_later_nonce(self, transaction: Transaction, *, one_at_a_time: bool = False) -> bool:
        """Whether another one can be mined only after this one.

        `one_at_a_time`: servers take none with a later nonce before this one; so those that are
        just broadcast, or were refused too, do not count: they will all be removed.
        """
        return any(
            other.transaction.nonce > transaction.nonce
            for other in self.by_key.values()
            if not one_at_a_time
            or not (other.state is InFlightState.BROADCASTING or other.waits_for_turn)
        )

    def has_lasting_gap(self, asked: Collection[int], mined: int, pending: int) -> bool:
        """Whether for long no transaction is known that has the next nonce.

        Another program's transaction may have vanished from the mempools, and ours wait for its
        nonce. `asked` holds those of ours that were asked about, `mined` and `pending` are
        the nonces of an Observation.
        """
        own = {each.transaction.nonce for each in self.by_key.values()}
        if max(mined, pending) >= min(asked) or mined in own:
            self._gap_since = math.inf
            return False
        self._gap_since = min(self._gap_since, self._clock())
        return self._clock() - self._gap_since > self._limits.stuck

    def restart_gap_time(self) -> None:
        """Count the time of a gap from the next observation on."""
        self._gap_since = math.inf
