"""What proofs lock in the node's wallet: approved before a delivery, if need be."""

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
from infernet_edge.chain.delivery.errors import ActionNeeded, TransientFailure
from infernet_edge.chain.delivery.gas import estimate_gas
from infernet_edge.chain.rpc.client import RpcClient, RpcError
from infernet_edge.chain.txm.broadcaster import SendError
from infernet_edge.chain.txm.manager import TransactionManager
from infernet_edge.chain.txm.store import Subject
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_GAS_MARGIN = 5, 4  # of the estimate
_MAX_AMOUNT = 2**256 - 1  # amount that an allowance can be
_MAX_APPROVALS = 4  # for one delivery, those of an earlier run included


class Escrow:
    """Approves what the coordinator locks for the deliveries in flight.

    `approve` sets an allowance, it does not add to it: so there is one approval at a time, and
    each is for all deliveries in flight.
    """

    def __init__(self, rpc: RpcClient, transactions: TransactionManager, wallet: str) -> None:
        self._rpc = rpc
        self._transactions = transactions
        self._node = transactions.address
        self._wallet = wallet
        self._reserved: defaultdict[str, dict[int, int]] = defaultdict(dict)  # by token, number
        self._lock = asyncio.Lock()  # held from reading the allowance to the end of its approval

    def reserve(self, number: int, payment: Payment) -> None:
        """Count a delivery among those in flight, whose transaction may be sent already."""
        self._reserved[payment.token][number] = payment.amount

    def release(self, number: int) -> None:
        """A delivery has ended: the coordinator has locked its part, or never will."""
        for amounts in self._reserved.values():
            amounts.pop(number, None)

    async def secure(self, number: int, payment: Payment, subject: Subject) -> None:
        """Return when the coordinator may lock what this delivery needs.

        Raises TransientFailure or ActionNeeded when it may not, RpcUnavailable, StorageError.
        """
        self.reserve(number, payment)
        try:
            async with self._lock:
                await self._secure(number, payment, subject)
        except BaseException:
            self.release(number)  # it does not count against others until it is retried
            raise

    async def _secure(self, number: int, payment: Payment, subject: Subject) -> None:
        reason = ""
        for attempt in range(_MAX_APPROVALS):
            needed = min(_MAX_AMOUNT, sum(self._reserved[payment.token].values()))
            allowance = await self._allowance(payment.token)
            if allowance >= needed:
                return
            key = f"approval:{number}:{needed}:{attempt}"
            if await self._transactions.find(key) is None:
                await self._approve(key, payment.token, needed, allowance, subject)
            outcome = await self._transactions.outcomes.wait(key)
            reason = outcome.reason if outcome else "its transaction is no longer stored"
        raise TransientFailure(f"The approvals for {self._wallet} have no effect: {reason}")

    async def _allowance(self, token: str) -> int:
        asked = WALLET_ALLOWANCE.encode(self._node, token)
        try:
            return int(WALLET_ALLOWANCE.decode(await ask(self._rpc, eth_call(self._wallet, asked))))
        except (RpcError, UnexpectedReply) as error:
            raise TransientFailure(
                f"The node's wallet {self._wallet} gives no allowance: {error}"
            ) from None

    async def _approve(
        self, key: str, token: str, needed: int, allowance: int, subject: Subject
    ) -> None:
        data = WALLET_APPROVE.encode(self._node, token, needed)
        gas = await self._estimate(data, needed)
        try:
            hash_ = await self._transactions.send(key, self._wallet, data, gas=gas, subject=subject)
        except SendError as error:
            raise (ActionNeeded if error.temporary else TransientFailure)(
                f"The approval: {error}"
            ) from None
        log_event(
            logger,
            "escrow.approval_sent",
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
            raise TransientFailure(
                f"InsufficientAllowance: {needed} have to be approved for {self._node} in"
                f" the wallet {self._wallet}, which refuses that from the node: {reason}"
            ) from None
        return estimate * _GAS_MARGIN[0] // _GAS_MARGIN[1]
