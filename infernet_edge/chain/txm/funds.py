"""What may be spent: the daily budget for fees, and whether the account has enough for them.

The budget counts what blocks have charged in the last 24 hours, and what the transactions in flight
may cost at most: it is never exceeded. Hours are those of the node's own time, see elapsed.py, so
that setting the wall clock frees nothing; they are stored with the outcomes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from infernet_edge.chain.rpc.client import Call, RpcError, quantity
from infernet_edge.chain.rpc.head_tracker import BlockHeader
from infernet_edge.chain.txm.store import PaidFee, TransactionStore
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_HOUR = 3_600_000  # milliseconds
_HOURS: Final = 24
_LOW: Final = 10  # deliveries; with less the operator is warned
_CHECK_PERIOD = 60.0  # seconds between two checks of the balance
_TYPICAL_GAS = 300_000  # of a delivery, while none is known

Elapsed = Callable[[], int]
"""The node's own time, in milliseconds that never become less."""


class BudgetUsed(InfernetEdgeError):
    """The daily budget does not allow a transaction now."""


class FeeBudget:
    """The budget of chain.max_fee_wei_per_day, `limit`; None: all is allowed."""

    def __init__(self, limit: int | None, store: TransactionStore, elapsed: Elapsed) -> None:
        self._limit = limit
        self._store = store
        self._elapsed = elapsed
        self._paid: dict[int, int] = {}  # wei, by hour; one more than a day at most
        self.paid_since_start = 0  # wei
        self._needed = 0  # by the last transaction that was asked about

    async def load(self) -> None:
        """Read what earlier runs have paid. To be called once; raises StorageError."""
        self._paid = await self._store.fees_paid(self._first_hour)

    @property
    def _first_hour(self) -> int:
        """The first hour that counts: a full day ago, and the hour in which that began."""
        return self._elapsed() // _HOUR - _HOURS

    @property
    def paid(self) -> int:
        """Wei that transactions have cost in the last day."""
        return sum(wei for hour, wei in self._paid.items() if hour >= self._first_hour)

    def payment(self, fee: int) -> PaidFee:
        """What is to be stored for a fee that is paid now."""
        return PaidFee(fee, self._elapsed() // _HOUR, self._first_hour)

    def note_paid(self, payment: PaidFee) -> None:
        """Count what has been stored."""
        self.paid_since_start += payment.fee
        self._paid = {hour: wei for hour, wei in self._paid.items() if hour >= payment.first_hour}
        self._paid[payment.hour] = self._paid.get(payment.hour, 0) + payment.fee

    def check(self, needed: int, reserved: int) -> None:
        """Raise BudgetUsed unless a transaction may cost so much; `reserved`: what others may."""
        self._needed = needed
        if self._limit is not None and self.paid + reserved + needed > self._limit:
            raise BudgetUsed(self.problem or self._reason("are paid, or reserved in flight"))

    @property
    def problem(self) -> str:
        """Why transactions wait for the budget; "" when they do not."""
        if self._limit is None or self.paid + self._needed <= self._limit:
            return ""
        if self._needed > self._limit:
            return (
                "One transaction alone may cost more than chain.max_fee_wei_per_day allows"
                f" ({self._limit} wei): raise that setting"
            )
        return self._reason("are paid")

    def _reason(self, state: str) -> str:
        return (
            f"The fees that chain.max_fee_wei_per_day allows in 24 hours ({self._limit} wei)"
            f" {state}: transactions wait until a day has passed; raise that setting to send more"
        )


class BalanceWatch:
    """Warns when the account has too little for ten deliveries, as a watcher of the head."""

    def __init__(self, address: str, store: TransactionStore) -> None:
        self._address = address
        self._store = store
        self._gas = _TYPICAL_GAS
        self._asked_at: float | None = None
        self.balance: int | None = None  # in wei; None while it is not known
        self.problem = ""

    async def load(self) -> None:
        """Read what the last delivery has needed. To be called once; raises StorageError."""
        self._gas = await self._store.last_gas() or _TYPICAL_GAS

    def note_gas(self, gas: int) -> None:
        """A delivery is sent with this limit of gas."""
        self._gas = gas

    def questions(self) -> list[Call]:
        """The balance and the price of gas, once in a while."""
        now = time.monotonic()
        if self._asked_at is not None and now - self._asked_at < _CHECK_PERIOD:
            return []
        self._asked_at = now
        return [("eth_getBalance", [self._address, "latest"]), ("eth_gasPrice", [])]

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        """Compare the balance with what ten deliveries cost."""
        if not answers or any(isinstance(answer, RpcError) for answer in answers):
            return
        balance, price = map(quantity, answers)
        self.balance = balance
        problem = ""
        if balance < _LOW * self._gas * price:
            problem = (
                f"The account {self._address} has {balance} wei, which suffices for fewer than"
                f" {_LOW} deliveries at the present price of gas ({price} wei): send it some coins"
            )
        fields: dict[str, Any] = {"address": self._address, "balance": balance, "gas_price": price}
        if problem and not self.problem:
            log_event(logger, "balance.low", logging.WARNING, **fields)
        if self.problem and not problem:
            log_event(logger, "balance.recovered", **fields)
        self.problem = problem
