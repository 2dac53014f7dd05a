"""The second half of the transaction manager: from bytes that a server may have to an outcome.

What is promised, whenever the process is killed:

- The outcome of a transaction is on the disk before anything acts on it. Killed before that, the
  next run finds the same receipt; killed after it, `Outcomes.wait` finds the stored outcome.
- A replacement is stored before it is broadcast and has the nonce of what it replaces. Receipts are
  looked for of every signed form, so it does not matter which of them is mined: only one can be.
- A transaction is final when `chain.trail_head_blocks` blocks follow its block, and never before
  that. Until then a reorg makes it pending again.
- Another nonce is used only when the account's count, deep in the chain, is past the old one and no
  signed form has a receipt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, NamedTuple

import msgspec
from eth_account.signers.local import LocalAccount

from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.chain.rpc.head_tracker import BlockHeader, HeadTracker
from infernet_edge.chain.txm.broadcast_errors import BroadcastAnswer
from infernet_edge.chain.txm.broadcaster import Broadcaster, SendError
from infernet_edge.chain.txm.conditions import ConditionsReader, LearnedFloor
from infernet_edge.chain.txm.events import log_transaction
from infernet_edge.chain.txm.fees import Conditions, Fees, PriceTooHigh, raise_fees
from infernet_edge.chain.txm.funds import BudgetUsed, FeeBudget
from infernet_edge.chain.txm.in_flight import (
    InFlight,
    InFlightSet,
    InFlightState,
    NextStep,
    Observation,
)
from infernet_edge.chain.txm.outcomes import Outcomes
from infernet_edge.chain.txm.receipts import fee_of, is_mined, receipt_question, why_reverted
from infernet_edge.chain.txm.signing import BroadcastResult, broadcast_again, sign
from infernet_edge.chain.txm.slots import TransactionSlots
from infernet_edge.chain.txm.store import Transaction, TransactionOutcome, TransactionStore
from infernet_edge.clock import milliseconds
from infernet_edge.errors import StorageError
from infernet_edge.logs import ConditionLog, log_event, log_exception
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

_MAX_SIGNED = 10  # forms of one transaction; each raises the fees
_MAX_RECEIPTS = 64  # asked for at once, those with the least nonces first
_MAX_GUESSED = 4  # transactions whose receipts are asked for although their nonces were not used
_MAX_REBROADCASTS = 16  # at once, those with the least nonces: later ones may be queued behind them
_MAX_NONCE_DEPTH = 64  # blocks; servers forget the state of older ones
_MIN_GAS = 21_000  # of a transaction that does nothing (Ethereum Yellow Paper, appendix G)


class _Asked(NamedTuple):
    """A transaction that is followed, and of which of its signed forms receipts are asked for."""

    pending: InFlight
    hashes: list[str]


class Confirmer:
    """Follows the transactions in flight until they are final, as a watcher of the head.

    `depth` is `chain.trail_head_blocks`. `tasks` holds what is being done, by the transactions'
    keys: one thing at a time for each.
    """

    def __init__(
        self,
        rpc: RpcClient,
        account: LocalAccount,
        store: TransactionStore,
        head: HeadTracker,
        in_flight: InFlightSet,
        outcomes: Outcomes,
        broadcaster: Broadcaster,
        slots: TransactionSlots,
        reader: ConditionsReader,
        floor: LearnedFloor,
        budget: FeeBudget,
        depth: int,
    ) -> None:
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._conditions = ConditionLog()  # of transactions, by key, and of gaps, by nonce
        self._rpc = rpc
        self._account = account
        self._address: str = account.address
        self._store = store
        self._head = head
        self._in_flight = in_flight
        self._outcomes = outcomes
        self._broadcaster = broadcaster
        self._slots = slots
        self._reader = reader
        self._floor = floor
        self._budget = budget
        self._depth = depth
        self._followed: list[_Asked] = []
        self._rebroadcasts_left = 0  # for the answers to the present poll
        self._mined = 0  # the account's next nonce after all that is mined, as was last seen
        self._pending = 0  # the same after all that waits to be mined
        # Held while a replacement is made: the lowest nonce gets the funds first.
        self._replacing = asyncio.Lock()

    async def stop(self) -> None:
        """Do nothing any more; the next run resumes. May be called twice."""
        await cancel(*self.tasks.values())

    def questions(self) -> list[Call]:
        """The account's nonces, and receipts that there may be; nothing without transactions."""
        followed = [
            each
            for key, each in self._in_flight.by_key.items()
            if each.state is not InFlightState.BROADCASTING
            and key not in self.tasks
            and each.transaction.chain_id == self._rpc.chain_id
        ]
        followed.sort(key=lambda each: each.transaction.nonce)
        room, guesses = _MAX_RECEIPTS, _MAX_GUESSED
        self._followed = []
        for each in followed:
            asked = self._may_have_receipt(each)
            if not asked and each.state is InFlightState.PENDING and guesses > 0:
                asked, guesses = True, guesses - 1
            hashes = [signed.hash for signed in each.transaction.signed] if asked else []
            if len(hashes) > room:
                hashes = []  # the next poll asks for them
            room -= len(hashes)
            self._followed.append(_Asked(each, hashes))
        if not self._followed:
            return []
        return [
            ("eth_getTransactionCount", [self._address, "latest"]),
            ("eth_getTransactionCount", [self._address, "pending"]),
            *(receipt_question(hash_) for each in self._followed for hash_ in each.hashes),
        ]

    def _may_have_receipt(self, each: InFlight) -> bool:
        """Whether a receipt is expected, or needed to know that one in a block is final."""
        if each.state is InFlightState.PENDING:
            return each.transaction.nonce < self._mined
        latest = self._head.latest
        return latest is None or latest.number + 1 - each.block >= self._depth

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        """Note what the server says of each transaction, and begin what has to be done."""
        if not answers or isinstance(answers[0], RpcError):
            return
        mined = self._mined = quantity(answers[0])
        # Some servers know no "pending".
        pending = mined if isinstance(answers[1], RpcError) else quantity(answers[1])
        # The count of the poll before: a block may have come between the two answers of this one.
        if self._pending - mined > 1:
            self._slots.note_several()
        self._pending = pending
        self._check_gap(mined, pending)
        receipts = iter(answers[2:])
        incomplete = False
        self._rebroadcasts_left = _MAX_REBROADCASTS
        for each, hashes in self._followed:
            own = [next(receipts) for _ in hashes]
            if each.transaction.key in self.tasks or any(isinstance(a, RpcError) for a in own):
                continue
            if not hashes and mined > each.transaction.nonce:
                # It is in a block now, or was before: the next poll asks for its receipt.
                incomplete = incomplete or self._may_have_receipt(each)
                continue
            receipt = next((answer for answer in own if is_mined(answer)), None)
            self._follow(each, block, mined, pending, receipt)
            incomplete = incomplete or each.is_doubted
        if incomplete:
            self._head.poll_soon()
        self._slots.grant()

    def _follow(
        self,
        each: InFlight,
        head: BlockHeader,
        mined: int,
        pending: int,
        receipt: dict[str, Any] | None,
    ) -> None:
        included_in = each.block
        receipt_block = None if receipt is None else quantity(receipt.get("blockNumber"))
        step = each.observe(Observation(head, mined, pending, receipt_block), self._depth)
        if included_in and not each.block:
            transaction = each.transaction
            log_transaction(logger, "reorged", transaction, logging.WARNING, block=included_in)
        if step is NextStep.FINISH and receipt is not None:
            self._begin(each, self._finish(each, receipt))
        elif step is NextStep.CHECK_NONCE:
            self._begin(each, self._check_nonce(each, head))
        elif step is NextStep.REPLACE:
            self._begin(each, self._replace(each))
        elif step is NextStep.REBROADCAST and self._rebroadcasts_left > 0:
            self._rebroadcasts_left -= 1
            self._begin(each, self._rebroadcast(each))

    def _begin(self, each: InFlight, work: Coroutine[Any, Any, None]) -> None:
        """Do something about a transaction; one thing at a time."""
        key = each.transaction.key
        self.tasks[key] = asyncio.create_task(self._do(each, work), name=key)

    async def _do(self, each: InFlight, work: Coroutine[Any, Any, None]) -> None:
        key = each.transaction.key
        try:
            await work
        except (RpcUnavailable, StorageError) as error:
            # The next observation finds the same and tries again.
            if self._conditions.is_new(key, str(error)):
                log_transaction(logger, "deferred", each.transaction, logging.WARNING, reason=error)
        except Exception as error:  # noqa: BLE001 - any defect is logged
            # The next observation tries again.
            log_exception(logger, "transaction.crashed", error, key=key)
        finally:
            del self.tasks[key]
            self._slots.grant()

    async def _finish(self, each: InFlight, receipt: dict[str, Any]) -> None:
        """A receipt is deep enough: the transaction is final."""
        transaction = each.transaction
        outcome = TransactionOutcome(
            status="mined" if quantity(receipt.get("status", "0x1")) else "reverted",
            hash=str(receipt.get("transactionHash") or transaction.hash),
            block=each.block,
            gas_used=quantity(receipt.get("gasUsed", "0x0")),
        )
        if outcome.status == "reverted":
            reason = await why_reverted(self._rpc, transaction, outcome)
            outcome = msgspec.structs.replace(outcome, reason=reason)
        fee = fee_of(receipt, transaction.gas, transaction.signed[-1].max_fee)
        self._conditions.end(transaction.key)
        await self._outcomes.finish(transaction, outcome, fee)

    async def _rebroadcast(self, each: InFlight) -> None:
        """No mempool has it: give a server the same bytes again."""
        signed = each.transaction.signed[-1]
        each.note_broadcast()
        result = await broadcast_again(self._rpc, signed)
        taken = result.answer is BroadcastAnswer.TAKEN
        level = logging.INFO if taken else logging.WARNING
        if taken or self._conditions.is_new(each.transaction.key, result.message):
            log_transaction(logger, "rebroadcast", each.transaction, level, reason=result.message)
        await self._note_answer(each, result)

    async def _note_answer(self, each: InFlight, result: BroadcastResult) -> None:
        """Note what a server's answer to bytes of a transaction that was stored before means."""
        match result.answer:
            case BroadcastAnswer.TAKEN:
                self._slots.note_taken(each.transaction.key)
            case BroadcastAnswer.ONE_AT_A_TIME:
                each.note_one_at_a_time()
                self._slots.note_one_at_a_time()
            case BroadcastAnswer.TOO_CHEAP:
                signed = each.transaction.signed[-1]
                refused = Fees(signed.max_fee, signed.priority_fee)
                await self._floor.learn(result.message, refused, self._reader)
                each.note_too_cheap()

    async def _replace(self, each: InFlight) -> None:
        """It is stuck: sign it again with the same nonce and higher fees."""
        transaction = each.transaction
        before = transaction.signed[-1]
        if len(transaction.signed) >= _MAX_SIGNED:
            _log_stuck(each, f"It was replaced {_MAX_SIGNED - 1} times already")
            return
        async with self._replacing:
            conditions = await self._reader.now()
            try:
                fees = self._higher_fees(transaction, conditions)
            except (PriceTooHigh, BudgetUsed) as error:
                _log_stuck(each, str(error))
                return
            signed = await sign(self._account, transaction, fees)
            changed = msgspec.structs.replace(transaction, signed=[*transaction.signed, signed])
            await self._store.replace(changed)  # first: any form that a server has must be known
            each.transaction = changed
        result = await broadcast_again(self._rpc, signed)
        log_transaction(
            logger,
            "replaced",
            changed,
            before=before.hash,
            max_fee=signed.max_fee,
            priority_fee=signed.priority_fee,
            reason=result.message,
        )
        if result.answer is BroadcastAnswer.NONCE_USED:
            each.note_too_cheap()  # the raise was too small for this server, or it is mined now
        await self._note_answer(each, result)

    def _higher_fees(self, transaction: Transaction, conditions: Conditions) -> Fees:
        """The fees of a replacement: good for long, or just enough where funds are short.

        Raises PriceTooHigh, BudgetUsed.
        """
        newest = transaction.signed[-1]
        before = Fees(newest.max_fee, newest.priority_fee)
        funds = conditions.balance - self._in_flight.reserved_besides(transaction)
        affordable = max(0, funds) // transaction.gas
        cap = transaction.max_gas_price
        least = affordable if cap is None else min(cap, affordable)
        try:
            fees = raise_fees(before, conditions, least, self._floor.now)
        except PriceTooHigh:
            raise_fees(before, conditions, cap, self._floor.now)  # raises when that is the reason
            raise PriceTooHigh(f"{self._address} has too few coins for higher fees") from None
        most = self._in_flight.most_besides(transaction)
        self._budget.check(transaction.gas * fees.max_fee, most)
        return fees

    async def _check_nonce(self, each: InFlight, head: BlockHeader) -> None:
        """Its nonce seems to be used by a transaction that is not ours: make sure, use another.

        A count that is deep in the chain, again without any receipt, is proof.
        """
        transaction = each.transaction
        deep = max(0, head.number - min(max(1, self._depth), _MAX_NONCE_DEPTH))
        count, *receipts = await self._rpc.batch(
            [
                ("eth_getTransactionCount", [self._address, hex(deep)]),
                *(receipt_question(signed.hash) for signed in transaction.signed),
            ]
        )
        if isinstance(count, RpcError) or quantity(count) <= transaction.nonce:
            return
        if any(receipt is not None for receipt in receipts):
            return
        reason = "Another program sent a transaction with the key of this node"
        log_transaction(logger, "nonce_used", transaction, logging.WARNING, reason=reason)
        conditions = await self._reader.fresh()
        each.restart_stuck_time()
        try:
            await self._broadcaster.broadcast_new(each, conditions)
        except SendError as error:
            now = each.transaction
            if not self._broadcaster.is_needed(now, error):
                await self._outcomes.finish(
                    now, TransactionOutcome("failed", now.hash, reason=str(error))
                )

    def _check_gap(self, mined: int, pending: int) -> None:
        """Fill a gap below the lowest of our nonces, which nothing else may ever fill."""
        nonces = [each.pending.transaction.nonce for each in self._followed]
        if not self._in_flight.has_lasting_gap(nonces, mined, pending):
            return
        lowest = min((each.pending for each in self._followed), key=lambda e: e.transaction.nonce)
        if lowest.transaction.key not in self.tasks:
            self._in_flight.restart_gap_time()
            self._begin(lowest, self._fill_gap(mined))

    async def _fill_gap(self, nonce: int) -> None:
        """Use a nonce for a transaction that does nothing: the next free nonce is this one."""
        key = f"nothing:{nonce}:{milliseconds()}"
        try:
            await self._broadcaster.send(key, self._address, b"", gas=_MIN_GAS)
        except SendError as error:
            if self._conditions.is_new(nonce, str(error)):
                log_event(
                    logger,
                    "transaction.gap_fill_failed",
                    logging.WARNING,
                    nonce=nonce,
                    reason=error,
                )


def _log_stuck(each: InFlight, reason: str) -> None:
    """Log once why a stuck transaction is not replaced."""
    if not each.stuck_logged:
        log_transaction(logger, "stuck", each.transaction, logging.WARNING, reason=reason)
    each.stuck_logged = True
