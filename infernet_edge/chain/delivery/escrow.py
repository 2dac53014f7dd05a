"""What proofs lock in the node's wallet: approved before a delivery, and only when it is short."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from infernet_edge.chain.contracts.abi import (
    WALLET_ALLOWANCE,
    WALLET_APPROVE,
    UnexpectedReply,
    eth_call,
)
from infernet_edge.chain.contracts.registry import ask
from infernet_edge.chain.contracts.reverts import revert_reason
from infernet_edge.chain.contracts.subscription import Payment
from infernet_edge.chain.delivery.errors import NotNow, Waiting
from infernet_edge.chain.delivery.gas import estimate_gas
from infernet_edge.chain.rpc.client import Rpc, RpcError
from infernet_edge.chain.txm.broadcaster import SendError
from infernet_edge.chain.txm.manager import TransactionManager
from infernet_edge.chain.txm.store import Subject
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_GAS_MARGIN = 5, 4  # of the estimate
_LARGEST = 2**256 - 1  # amount that an allowance can be
_MOST_APPROVALS = 4  # for one delivery; those of an earlier run are among them


class Escrow:
    """Sees to it that the coordinator may lock what the deliveries on their way need.

    `approve` sets an allowance, it does not add to it: so there is one approval at a time, and
    each is for all deliveries that are on their way.
    """

    def __init__(self, rpc: Rpc, transactions: TransactionManager, wallet: str) -> None:
        self._rpc = rpc
        self._transactions = transactions
        self._node = transactions.address
        self._wallet = wallet
        self._reserved: defaultdict[str, dict[int, int]] = defaultdict(dict)  # by token, number
        self._lock = asyncio.Lock()

    def reserve(self, number: int, payment: Payment) -> None:
        """Count a delivery among those on their way, whose transaction may be there already."""
        self._reserved[payment.token][number] = payment.amount

    def release(self, number: int) -> None:
        """A delivery is over: the coordinator has locked its part, or never will."""
        for amounts in self._reserved.values():
            amounts.pop(number, None)

    async def secure(self, number: int, payment: Payment, subject: Subject) -> None:
        """Return when the coordinator may lock what this delivery needs.

        Raises NotNow or Waiting when it may not, RpcUnavailable, StorageError.
        """
        self.reserve(number, payment)
        try:
            async with self._lock:
                await self._secure(number, payment, subject)
        except BaseException:
            self.release(number)  # it does not count against others until it is tried again
            raise

    async def _secure(self, number: int, payment: Payment, subject: Subject) -> None:
        reason = ""
        for attempt in range(_MOST_APPROVALS):
            needed = min(_LARGEST, sum(self._reserved[payment.token].values()))
            allowance = await self._allowance(payment.token)
            if allowance >= needed:
                return
            key = f"approval:{number}:{needed}:{attempt}"
            if await self._transactions.find(key) is None:
                await self._approve(key, payment.token, needed, allowance, subject)
            outcome = await self._transactions.outcomes.wait(key)
            reason = outcome.reason if outcome else "its transaction is forgotten"
        raise NotNow(f"The approvals for {self._wallet} have no effect: {reason}")

    async def _allowance(self, token: str) -> int:
        asked = WALLET_ALLOWANCE.encode(self._node, token)
        try:
            return int(WALLET_ALLOWANCE.decode(await ask(self._rpc, eth_call(self._wallet, asked))))
        except (RpcError, UnexpectedReply) as error:
            raise NotNow(f"The node's wallet {self._wallet} says no allowance: {error}") from None

    async def _approve(
        self, key: str, token: str, needed: int, allowance: int, subject: Subject
    ) -> None:
        data = WALLET_APPROVE.encode(self._node, token, needed)
        gas = await self._estimate(data, needed)
        try:
            hash_ = await self._transactions.send(key, self._wallet, data, gas=gas, subject=subject)
        except SendError as error:
            raise (Waiting if error.temporary else NotNow)(f"The approval: {error}") from None
        log_event(
            logger,
            "escrow.approving",
            subscription=subject.subscription,
            interval=subject.interval,
            wallet=self._wallet,
            token=token,
            amount=needed,
            before=allowance,
            transaction=hash_,
        )

    async def _estimate(self, data: bytes, needed: int) -> int:
        transaction = {
            "from": self._node,
            "to": self._wallet,
            "data": "0x" + data.hex(),
        }
        try:
            estimate = await estimate_gas(self._rpc, transaction)
        except RpcError as error:
            reason = revert_reason(error.data)
            raise NotNow(
                f"InsufficientAllowance: {needed} have to be approved for {self._node} in"
                f" the wallet {self._wallet}, which refuses that from the node: {reason}"
            ) from None
        return estimate * _GAS_MARGIN[0] // _GAS_MARGIN[1]
