"""What proofs lock in the node's wallet: approved before a delivery, if need be."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable
from typing import TypeVar

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
# More is used when a delivery has taken the whole allowance before this is mined: writing what was
# zero costs 20,000, and what was not 2,900 (EIP-2200, EIP-2929).
_NEW_STORAGE_GAS = 17_100
_MAX_AMOUNT = 2**256 - 1  # amount that an allowance can be
_MAX_WAIT = 30.0  # seconds for an approval; then the delivery checks whether it still makes sense
_MAX_APPROVALS = 4  # for one delivery, those of an earlier run included

_T = TypeVar("_T")


class Escrow:
    """Approves what the coordinator locks for the deliveries in flight.

    `approve` sets an allowance, it does not add to it: so there is one approval at a time for each
    token, and each is for all deliveries that wait or are in flight. A delivery for which the
    allowance suffices waits for no approval.
    """

    def __init__(self, rpc: RpcClient, transactions: TransactionManager, wallet: str) -> None:
        self._rpc = rpc
        self._transactions = transactions
        self._node = transactions.address
        self._wallet = wallet
        # Amounts by token and number: of deliveries in flight, and of those that wait.
        self._reserved: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._waiting: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._pending: dict[str, str] = {}  # the key of the approval in flight, by token
        # Held from reading the allowance to the end of its approval, for each token.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

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
        self.release(number)  # it does not count against others until it is secured
        waiting, lock = self._waiting[payment.token], self._locks[payment.token]
        waiting[number] = payment.amount  # at once: the next approval is for it too
        try:
            if await self._suffices(number, payment):
                return
            await self._in_time(lock.acquire())
            try:
                await self._secure(number, payment, subject)
            finally:
                lock.release()
        finally:
            waiting.pop(number, None)

    async def _in_time(self, waiting: Awaitable[_T]) -> _T:
        """Wait for an approval, or raise ActionNeeded."""
        try:
            async with asyncio.timeout(_MAX_WAIT):
                return await waiting
        except TimeoutError:
            raise ActionNeeded(
                f"An approval for the node's wallet {self._wallet} waits for a block"
            ) from None

    async def _suffices(self, number: int, payment: Payment) -> bool:
        """Reserve the delivery's part of the allowance, if there is enough left."""
        allowance = await self._allowance(payment.token)
        reserved = self._reserved[payment.token]
        if allowance < min(_MAX_AMOUNT, sum(reserved.values()) + payment.amount):
            return False
        reserved[number] = payment.amount
        self._waiting[payment.token].pop(number, None)
        return True

    async def _secure(self, number: int, payment: Payment, subject: Subject) -> None:
        token, reason = payment.token, ""
        for attempt in range(_MAX_APPROVALS + 1):
            if (pending := self._pending.get(token)) is not None:
                outcome = await self._in_time(self._transactions.outcomes.wait(pending))
                self._pending.pop(token)
                reason = outcome.reason if outcome else "its transaction is no longer stored"
            if await self._suffices(number, payment):
                return
            if attempt == _MAX_APPROVALS:
                break
            amounts = [*self._reserved[token].values(), *self._waiting[token].values()]
            needed = min(_MAX_AMOUNT, sum(amounts))  # each is in one of the two
            key = f"approval:{number}:{needed}:{attempt}"
            if await self._transactions.find(key) is None:
                await self._approve(key, token, needed, subject)
            self._pending[token] = key
        raise TransientFailure(f"The approvals for {self._wallet} have no effect: {reason}")

    async def _allowance(self, token: str) -> int:
        asked = WALLET_ALLOWANCE.encode(self._node, token)
        try:
            return int(WALLET_ALLOWANCE.decode(await ask(self._rpc, eth_call(self._wallet, asked))))
        except (RpcError, UnexpectedReply) as error:
            raise TransientFailure(
                f"The node's wallet {self._wallet} gives no allowance: {error}"
            ) from None

    async def _approve(self, key: str, token: str, needed: int, subject: Subject) -> None:
        before = await self._allowance(token)
        data = WALLET_APPROVE.encode(self._node, token, needed)
        gas = await self._estimate(data, needed)
        send = self._transactions.send
        try:
            async with self._transactions.slots.slot(key, first=True):
                hash_ = await send(key, self._wallet, data, gas=gas, subject=subject)
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
            before=before,
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
        return estimate * _GAS_MARGIN[0] // _GAS_MARGIN[1] + _NEW_STORAGE_GAS
