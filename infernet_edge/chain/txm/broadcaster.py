"""The first half of the transaction manager: from an order to bytes that a server has.

What is promised, whenever the process is killed:

- No server sees a transaction before its nonce and its signed bytes are on the disk under its key.
  Killed before that, nothing has happened, and who ordered it orders it again.
- Killed after that, the next run finds it by its key and follows it as PENDING. Whether a server
  has the bytes or not, the same bytes are broadcast again; a server that has them says so.
- One key has one nonce at a time. It gets another one only when its bytes cannot be mined any more:
  the first server that saw them refused them, or the chain shows, deep enough, that the nonce is
  used by a transaction that is not among its signed forms (`Confirmer` checks that).
- One that is refused is removed, unless a later nonce is in flight, which could never be mined
  without it. Killed before the removal, it is broadcast again under the same key: it is still the
  only transaction of its order.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from infernet_edge.chain.rpc.client import RpcClient, RpcUnavailable
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.chain.txm.broadcast_errors import BroadcastAnswer
from infernet_edge.chain.txm.conditions import ConditionsReader, LearnedFloor
from infernet_edge.chain.txm.events import log_transaction
from infernet_edge.chain.txm.fees import Conditions, Fees, PriceTooHigh, choose_fees
from infernet_edge.chain.txm.funds import BudgetUsed, FeeBudget
from infernet_edge.chain.txm.in_flight import MAX_IN_FLIGHT, InFlight, InFlightSet, InFlightState
from infernet_edge.chain.txm.outcomes import Outcomes
from infernet_edge.chain.txm.signing import BroadcastResult, broadcast, sign
from infernet_edge.chain.txm.slots import TransactionSlots
from infernet_edge.chain.txm.store import (
    Subject,
    Transaction,
    TransactionOutcome,
    TransactionStore,
    contracts_of,
)
from infernet_edge.config.sections.chain import Chain
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

_MAX_TRIES = 5  # of nonces, while another program uses the same key
_MAX_BROADCASTS = 16  # of one transaction in a row, with other nonces and higher fees
_RECENT = 1.0  # seconds for which the server's word counts before something is refused


class SendError(InfernetEdgeError):
    """A transaction was surely not sent. `temporary`: it may be possible later."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


class BroadcastRefused(SendError):
    """The first server that saw a transaction did not take it; its nonce is still free."""


class OneAtATime(BroadcastRefused):
    """It was refused because another transaction of the account waits for a block."""


class Broadcaster:
    """Gives nonces to the transactions of one account, signs, stores and broadcasts them."""

    def __init__(
        self,
        rpc: RpcClient,
        account: LocalAccount,
        store: TransactionStore,
        config: Chain,
        head: HeadTracker,
        in_flight: InFlightSet,
        outcomes: Outcomes,
        slots: TransactionSlots,
        reader: ConditionsReader,
        floor: LearnedFloor,
        budget: FeeBudget,
    ) -> None:
        self.address: str = account.address
        self._rpc = rpc
        self._account = account
        self._store = store
        self._head = head
        self._in_flight = in_flight
        self._outcomes = outcomes
        self._slots = slots
        self._reader = reader
        self._floor = floor
        self._budget = budget
        self._contracts = contracts_of(config)
        self._chain_stored = False
        self._legacy = False  # the chain does not know EIP-1559
        # Held from the choice of a nonce until its transaction is stored, and while one is removed:
        # between two such steps no nonce is given twice, and none is left out.
        self._lock = asyncio.Lock()
        self._sending: dict[str, asyncio.Task[str]] = {}

    async def load(self) -> None:
        """Resume what an earlier run stored. To be called once. Raises StorageError."""
        self._rpc.expected_chain_id = await self._store.chain_id(self._contracts)
        self._chain_stored = self._rpc.expected_chain_id is not None
        await self._resume()

    async def stop(self) -> None:
        """Broadcast nothing any more; the next run resumes. May be called twice."""
        await cancel(*self._sending.values())

    async def find(self, key: str) -> str | None:
        """The hash of the transaction with this key, if there is one. Raises StorageError."""
        if (known := self._in_flight.by_key.get(key)) is not None:
            return known.transaction.hash
        return await self._store.find(key)

    async def send(
        self,
        key: str,
        to: str,
        data: bytes,
        *,
        gas: int,
        max_gas_price: int | None = None,
        subject: Subject | None = None,
    ) -> str:
        """Send a transaction and return its hash; the same key again gives the same transaction.

        `gas` is its limit, `max_gas_price` (wei) the most that it pays for each unit of it, the
        `subject` is for the log. When this returns, the transaction is stored and will be sent, if
        it is not yet. Cancelling the caller does not stop it.

        Raises SendError when it was surely not sent, RpcUnavailable and StorageError when nothing
        was done and the same may be tried again.
        """
        task = self._sending.get(key)
        if task is None:
            work = self._send(key, to, data, gas, max_gas_price, subject or Subject())
            task = self._sending[key] = asyncio.create_task(work, name=f"send {key}")
            task.add_done_callback(lambda done: self._on_sent(key, done))
        return await asyncio.shield(task)

    def _on_sent(self, key: str, task: asyncio.Task[str]) -> None:
        del self._sending[key]
        if not task.cancelled():
            task.exception()  # its caller may be gone: without this, asyncio logs the exception

    async def _send(
        self,
        key: str,
        to: str,
        data: bytes,
        gas: int,
        max_gas_price: int | None,
        subject: Subject,
    ) -> str:
        if (known := await self.find(key)) is not None:
            if key not in self._in_flight.by_key and self._outcomes.recent(key) is None:
                # Its write succeeded although it had raised StorageError: nothing follows it yet.
                await self._resume()
            return known
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            raise RpcUnavailable(f"{len(self._in_flight)} transactions wait to be final")
        conditions = await self._reader.now()
        chain_id = await self._stored_chain()
        target = to_checksum_address(to)
        transaction = Transaction(
            0, key, chain_id, self.address, 0, target, data, gas, max_gas_price, subject=subject
        )
        new = self._in_flight.new(transaction, InFlightState.BROADCASTING)
        try:
            await self.broadcast_new(new, conditions)
        except SendError as error:
            if isinstance(error, OneAtATime):
                new.note_one_at_a_time()
            await self._remove(new, error)
        except RpcUnavailable as error:
            if new.transaction.number == 0:
                raise
            log_transaction(logger, "deferred", new.transaction, logging.WARNING, reason=error)
        finally:
            new.state = InFlightState.PENDING
            self._head.poll_soon()
        return new.transaction.hash

    async def _stored_chain(self) -> int:
        """The chain's id, stored before anything is signed for it."""
        chain_id = self._rpc.chain_id
        if chain_id is None:
            raise RpcUnavailable("It is not known yet which chain this is")
        if not self._chain_stored:
            await self._store.remember_chain(self._contracts, chain_id)
            self._rpc.expected_chain_id = chain_id
            self._chain_stored = True
        return chain_id

    async def broadcast_new(self, new: InFlight, conditions: Conditions) -> None:
        """Sign, store and broadcast bytes that no server has seen yet.

        What was signed before must be known to no server, or sure never to be mined.
        Raises SendError when no server has the new bytes, RpcUnavailable in the middle.
        """
        min_nonce, used = 0, 0
        result: BroadcastResult | None = None
        for _ in range(_MAX_BROADCASTS):
            try:
                await self._sign_new(new, conditions, min_nonce)
            except SendError as error:
                if result is None or result.answer is BroadcastAnswer.NONCE_USED:
                    raise
                raise BroadcastRefused(str(error), temporary=error.temporary) from None
            result = await self._broadcast(new.transaction)
            match result.answer:
                case BroadcastAnswer.TAKEN | BroadcastAnswer.UNCLEAR:
                    self._note_sent(new, result)
                    return
                case BroadcastAnswer.NONCE_USED if used + 1 < _MAX_TRIES:
                    min_nonce = new.transaction.nonce + 1
                    used += 1
                    conditions = await self._reader.fresh()
                case BroadcastAnswer.UNKNOWN_TYPE if not self._legacy:
                    self._legacy = True
                case BroadcastAnswer.TOO_CHEAP if await self._learn(new.transaction, result):
                    conditions = await self._reader.now()
                case BroadcastAnswer.ONE_AT_A_TIME:
                    self._slots.note_one_at_a_time()
                    raise OneAtATime(
                        "The account is delegated (EIP-7702), and the server takes one transaction"
                        f" of it after the other: {result.message}",
                        temporary=True,
                    )
                case BroadcastAnswer.NONCE_USED:
                    raise SendError(
                        f"No nonce of {self.address} stays free: another program uses the same"
                        " key. Give this node a key of its own.",
                        temporary=True,
                    )
                case _:
                    break
        raise BroadcastRefused(
            f"The transaction was refused: {result.message if result else ''}",
            temporary=result is None or result.answer is not BroadcastAnswer.REFUSED,
        )

    async def _broadcast(self, transaction: Transaction) -> BroadcastResult:
        result = await broadcast(self._rpc, transaction.signed[-1])
        known = result.answer is BroadcastAnswer.TAKEN and result.message
        # The same call of another key may have had this nonce, as with two approvals.
        if known and await self._store.is_of_another(transaction):
            return BroadcastResult(BroadcastAnswer.NONCE_USED, result.message)
        return result

    async def _learn(self, transaction: Transaction, result: BroadcastResult) -> bool:
        """Raise the floor of all fees after a refusal; False when that would not help.

        Raises RpcUnavailable.
        """
        signed = transaction.signed[-1]
        refused = Fees(signed.max_fee, signed.priority_fee)
        learned = await self._floor.learn(result.message, refused, self._reader)
        if learned:
            log_event(
                logger,
                "fees.floor_learned",
                logging.INFO,
                tip=self._floor.now.tip,
                price=self._floor.now.price,
                reason=result.message,
            )
        return learned

    def _note_sent(self, sent: InFlight, result: BroadcastResult) -> None:
        if result.answer is BroadcastAnswer.TAKEN:
            sent.note_broadcast()
            self._slots.note_taken(sent.transaction.key)
        _log_sent(sent.transaction, result)

    async def _sign_new(self, new: InFlight, conditions: Conditions, min_nonce: int) -> None:
        """Give a transaction a nonce that is free and sign it, both durably."""
        try:
            await self._sign_and_store(new, conditions, min_nonce)
        except SendError:
            # Nothing is refused because of what was true in an earlier block or second.
            fresh = await self._reader.fresh(_RECENT)
            if fresh is conditions:
                raise
            await self._sign_and_store(new, fresh, min_nonce)

    async def _sign_and_store(self, new: InFlight, conditions: Conditions, min_nonce: int) -> None:
        transaction = new.transaction
        try:
            fees = choose_fees(
                conditions,
                transaction.max_gas_price,
                legacy=self._legacy,
                floor=self._floor.now,
            )
        except PriceTooHigh as error:
            raise SendError(f"{error}.", temporary=True) from None
        async with self._lock:
            self._check_funds(transaction, fees, conditions)
            taken = self._in_flight.nonces_besides(transaction)
            nonce = max(conditions.next_nonce, min_nonce)
            while nonce in taken:
                nonce += 1
            # A copy: the original keeps its place until the copy is stored.
            changed = msgspec.structs.replace(transaction, nonce=nonce, signed=[])
            changed.signed.append(await sign(self._account, changed, fees))
            if transaction.number:
                await self._store.replace(changed)
            else:
                await self._store.add(changed)
            new.transaction = changed
            self._in_flight.by_key[changed.key] = new

    def _check_funds(self, transaction: Transaction, fees: Fees, conditions: Conditions) -> None:
        needed = transaction.gas * fees.max_fee
        try:
            self._budget.check(needed, self._in_flight.most_besides(transaction))
        except BudgetUsed as error:
            raise SendError(f"{error}.", temporary=True) from None
        reserved = self._in_flight.reserved_besides(transaction)
        if needed + reserved <= conditions.balance:
            return
        others = f", of which {reserved} wei are reserved for others in flight" if reserved else ""
        raise SendError(
            f"Insufficient funds: the transaction may cost {needed} wei and {self.address} has"
            f" {conditions.balance} wei{others}. Send the account some coins.",
            temporary=True,
        )

    async def _remove(self, refused: InFlight, error: SendError) -> None:
        """Remove a transaction that no server has, and raise the error, unless it is needed."""
        transaction = refused.transaction
        async with self._lock:
            if self.is_needed(transaction, error):
                log_transaction(logger, "refused", transaction, logging.WARNING, reason=error)
                return
            if transaction.number:
                await self._store.remove(transaction)
                del self._in_flight.by_key[transaction.key]
        raise error

    def is_needed(self, transaction: Transaction, error: SendError) -> bool:
        """Whether one that was not sent has to stay, because a later nonce waits for its nonce."""
        if not isinstance(error, BroadcastRefused):
            return False
        one_at_a_time = isinstance(error, OneAtATime)
        return self._in_flight.has_later_nonce(transaction, one_at_a_time=one_at_a_time)

    async def _resume(self) -> None:
        """Follow what the store has and this run does not know yet."""
        for transaction in await self._store.unfinished():
            if transaction.key in self._in_flight.by_key:
                continue
            if transaction.damaged:
                # Who ordered it orders it again. If the chain has it after all, it refuses that.
                reason = "It was damaged on the disk"
            elif transaction.sender.lower() != self.address.lower():
                reason = f"It was signed by {transaction.sender}, which is not this node any more"
            else:
                pending = self._in_flight.new(transaction, InFlightState.PENDING)
                self._in_flight.by_key[transaction.key] = pending
                continue
            outcome = TransactionOutcome("failed", transaction.hash, reason=reason)
            await self._outcomes.finish(transaction, outcome)


def _log_sent(transaction: Transaction, result: BroadcastResult) -> None:
    signed = transaction.signed[-1]
    taken = result.answer is BroadcastAnswer.TAKEN
    fields: dict[str, Any] = {
        "to": transaction.target,
        "gas": transaction.gas,
        "max_fee": signed.max_fee,
        "priority_fee": signed.priority_fee,
        "reason": result.message,
    }
    if taken:
        log_transaction(logger, "sent", transaction, **fields)
    else:
        log_transaction(logger, "send_unanswered", transaction, logging.WARNING, **fields)
