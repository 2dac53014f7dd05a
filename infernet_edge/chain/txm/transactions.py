"""The node's transactions: each is sent once, and followed until it is final.

A transaction is stored, signed and with its nonce, before any server sees it. Whatever happens
after that, be it a kill at any moment, the same bytes are sent again, or bytes with the same nonce,
of which the chain takes one at most. Another nonce is only used when nobody has the old bytes, or
when the chain shows that the nonce is used up by a transaction that is not among ours.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

import msgspec
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from infernet_edge.chain.rpc.client import Call, Rpc, RpcError, RpcUnavailable, quantity
from infernet_edge.chain.rpc.head_tracker import Block, Head
from infernet_edge.chain.txm.broadcast_errors import Answer
from infernet_edge.chain.txm.fees import (
    Conditions,
    Fees,
    PriceTooHigh,
    ask_conditions,
    choose_fees,
    raise_fees,
)
from infernet_edge.chain.txm.in_flight import Flight, Pace, tell
from infernet_edge.chain.txm.receipts import is_mined, receipt_question, why_reverted
from infernet_edge.chain.txm.signing import Verdict, broadcast, sign
from infernet_edge.chain.txm.store import (
    Ledger,
    Outcome,
    Signed,
    Subject,
    Transaction,
    contracts_of,
)
from infernet_edge.config.tree import Chain
from infernet_edge.errors import InfernetEdgeError, StorageError
from infernet_edge.jobs.store import milliseconds
from infernet_edge.logs import log_event

__all__ = ["MOST_IN_FLIGHT", "Outcome", "Pace", "SendError", "TransactionSender"]

logger = logging.getLogger(__name__)

MOST_IN_FLIGHT: Final = 64  # as many of one account as geth's mempool takes
_MOST_SIGNED = 10  # forms of one transaction; each raises the fees
_MOST_ASKED = 16  # transactions whose receipts are asked for at once, those with the least nonces
_MOST_TRIES = 5  # to introduce a transaction while another program uses the same key
_PROOFS = 3  # looks in a row that must agree before a nonce counts as used up by others
_DEEPEST_PROOF = 64  # blocks; servers forget the state of older ones
_LEAST_GAS = 21_000  # of a transaction that does nothing (Ethereum Yellow Paper, appendix G)
_REMEMBERED = 1000  # outcomes in memory


class SendError(InfernetEdgeError):
    """A transaction was surely not sent. `temporary`: it may be possible later."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


class _Refused(SendError):
    """The first server that saw a transaction did not take it; its nonce is still free."""


class _Asked(NamedTuple):
    flight: Flight
    hashes: list[str]


class TransactionSender:
    """Sends the transactions of one account and follows them, as a watcher of the head.

    `on_outcome(key, outcome)` is called when a transaction is final: `chain.trail_head_blocks` deep
    in the chain, or sure never to be there.
    """

    def __init__(
        self,
        rpc: Rpc,
        account: LocalAccount,
        ledger: Ledger,
        config: Chain,
        head: Head,
        *,
        pace: Pace | None = None,
    ) -> None:
        self.address: str = account.address
        self.on_outcome: Callable[[str, Outcome], None] = lambda key, outcome: None
        self._rpc = rpc
        self._account = account
        self._ledger = ledger
        self._head = head
        self._pace = pace or Pace()
        self._trail = config.trail_head_blocks
        self._contracts = contracts_of(config)
        self._chain_remembered = False
        self._legacy = False
        self._lock = asyncio.Lock()
        self.flights: dict[str, Flight] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._sending: dict[str, asyncio.Task[str]] = {}
        self._asked: list[_Asked] = []
        self._gap_since = math.inf

    async def load(self) -> None:
        """Take up what an earlier run left. To be called once, before the head runs.

        Raises StorageError.
        """
        self._rpc.expected_chain_id = await self._ledger.chain_id(self._contracts)
        self._chain_remembered = self._rpc.expected_chain_id is not None
        self._outcomes = await self._ledger.outcomes(_REMEMBERED)
        await self._take_up()
        self._head.watch(self)

    async def stop(self) -> None:
        """Do nothing any more; the next run goes on. May be called twice."""
        self._head.unwatch(self)
        following = [flight.task for flight in self.flights.values() if flight.task is not None]
        tasks: list[asyncio.Task[Any]] = [*self._sending.values(), *following]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def outcome(self, key: str) -> Outcome | None:
        """What became of a transaction; None while it is not final, or long ago."""
        return self._outcomes.get(key)

    async def recall(self, key: str) -> Outcome | None:
        """The same, however long ago; None while it is not final. Raises StorageError."""
        return self._outcomes.get(key) or await self._ledger.outcome(key)

    async def last_number(self) -> int:
        """The largest number of a delivery that a transaction was for. Raises StorageError."""
        return await self._ledger.last_number()

    async def find(self, key: str) -> str | None:
        """The hash of the transaction with this key, if there is one. Raises StorageError."""
        if (flight := self.flights.get(key)) is not None:
            return flight.transaction.hash
        return await self._ledger.find(key)

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
        `subject` is told in the log. When this returns, the transaction is stored and will be sent,
        if it is not yet. To be cancelled in here does not stop it.

        Raises SendError when it was surely not sent, RpcUnavailable and StorageError when nothing
        was done and the same may be tried again.
        """
        task = self._sending.get(key)
        if task is None:
            work = self._send(key, to, data, gas, max_gas_price, subject or Subject())
            task = self._sending[key] = asyncio.create_task(work, name=f"send {key}")
            task.add_done_callback(lambda done: self._sent(key, done))
        return await asyncio.shield(task)

    def _sent(self, key: str, task: asyncio.Task[str]) -> None:
        del self._sending[key]
        if not task.cancelled():
            task.exception()  # its caller may be gone, and nobody else asks

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
            if key not in self.flights and key not in self._outcomes:
                await self._take_up()
            return known
        if len(self.flights) >= MOST_IN_FLIGHT:
            raise RpcUnavailable(f"{len(self.flights)} transactions wait to be mined")
        conditions = await ask_conditions(self._rpc, self.address)
        chain_id = await self._known_chain()
        target = to_checksum_address(to)
        transaction = Transaction(
            0, key, chain_id, self.address, 0, target, data, gas, max_gas_price, subject=subject
        )
        flight = Flight(transaction, self._pace, introduced=False)
        try:
            await self._introduce(flight, conditions)
        except SendError as error:
            await self._take_back(flight, error)
        except RpcUnavailable as error:
            if flight.transaction.number == 0:
                raise
            tell(logger, "waits", flight.transaction, logging.WARNING, reason=error)
        finally:
            flight.introduced = True
            self._head.hurry()
        return flight.transaction.hash

    async def _known_chain(self) -> int:
        """The chain, remembered before anything is signed for it."""
        chain_id = self._rpc.chain_id
        if chain_id is None:
            raise RpcUnavailable("It is not known yet which chain this is")
        if not self._chain_remembered:
            await self._ledger.remember_chain(self._contracts, chain_id)
            self._rpc.expected_chain_id = chain_id
            self._chain_remembered = True
        return chain_id

    async def _introduce(self, flight: Flight, conditions: Conditions) -> None:
        """Store and broadcast what no server has seen yet.

        Raises SendError when no server has it, RpcUnavailable in the middle.
        """
        least_nonce = 0
        for _ in range(_MOST_TRIES):
            await self._sign_new(flight, conditions, least_nonce)
            verdict = await broadcast(self._rpc, flight.transaction.signed[-1])
            match verdict.answer:
                case Answer.TAKEN | Answer.UNCLEAR:
                    if verdict.answer is Answer.TAKEN:
                        flight.note_broadcast()
                    self._tell_sent(flight.transaction, verdict)
                    return
                case Answer.NONCE_USED:
                    least_nonce = flight.transaction.nonce + 1
                case Answer.UNKNOWN_TYPE if not self._legacy:
                    self._legacy = True
                case _:
                    raise _Refused(
                        f"The transaction was refused: {verdict.words}",
                        temporary=verdict.answer is not Answer.REFUSED,
                    )
            conditions = await ask_conditions(self._rpc, self.address)
        raise SendError(
            f"No nonce of {self.address} stays free: another program uses the same key. Give this"
            " node a key of its own.",
            temporary=True,
        )

    async def _sign_new(self, flight: Flight, conditions: Conditions, least_nonce: int) -> None:
        """Give a transaction a nonce that is free and sign it, both durably.

        What was signed before must be known to nobody, or sure never to be mined.
        """
        transaction = flight.transaction
        try:
            fees = choose_fees(conditions, transaction.max_gas_price, legacy=self._legacy)
        except PriceTooHigh as error:
            raise SendError(f"{error}.", temporary=True) from None
        self._check_funds(transaction, fees, conditions)
        async with self._lock:
            taken = {
                other.transaction.nonce
                for other in self.flights.values()
                if other is not flight and other.transaction.chain_id == transaction.chain_id
            }
            nonce = max(conditions.next_nonce, least_nonce)
            while nonce in taken:
                nonce += 1
            changed = _copy(transaction, nonce=nonce, signed=[])
            changed.signed.append(await sign(self._account, changed, fees))
            if transaction.number:
                await self._ledger.replace(changed)
            else:
                await self._ledger.add(changed)
            flight.transaction = changed
            self.flights[changed.key] = flight

    def _check_funds(self, transaction: Transaction, fees: Fees, conditions: Conditions) -> None:
        needed = transaction.gas * fees.max_fee
        reserved = sum(
            other.transaction.gas * other.transaction.signed[-1].max_fee
            for other in self.flights.values()
            if other.transaction.key != transaction.key and not other.block
        )
        if needed + reserved <= conditions.balance:
            return
        others = f", of which {reserved} wei are reserved for others in flight" if reserved else ""
        raise SendError(
            f"Insufficient funds: the transaction may cost {needed} wei and {self.address} has"
            f" {conditions.balance} wei{others}. Send the account some coins.",
            temporary=True,
        )

    def _tell_sent(self, transaction: Transaction, verdict: Verdict) -> None:
        signed = transaction.signed[-1]
        taken = verdict.answer is Answer.TAKEN
        tell(
            logger,
            "sent" if taken else "unanswered",
            transaction,
            logging.INFO if taken else logging.WARNING,
            to=transaction.target,
            gas=transaction.gas,
            max_fee=signed.max_fee,
            priority_fee=signed.priority_fee,
            reason=verdict.words,
        )

    async def _take_back(self, flight: Flight, error: SendError) -> None:
        """Forget a transaction that no server has, and raise the error.

        Not when a later nonce is on its way, which without this one would wait for ever.
        """
        transaction = flight.transaction
        async with self._lock:
            if isinstance(error, _Refused) and self._is_awaited(transaction):
                tell(logger, "refused", transaction, logging.WARNING, reason=error)
                return
            if transaction.number:
                await self._ledger.remove(transaction)
                del self.flights[transaction.key]
        raise error

    def _is_awaited(self, transaction: Transaction) -> bool:
        nonces = (other.transaction.nonce for other in self.flights.values())
        return any(nonce > transaction.nonce for nonce in nonces)

    async def _take_up(self) -> None:
        """Follow what the ledger has and this run does not know yet."""
        for transaction in await self._ledger.unfinished():
            if transaction.key in self.flights:
                continue
            if transaction.damaged:
                # Those who sent it do so again. If the chain has it after all, it refuses that.
                reason = "It was damaged on the disk"
                await self._end(transaction, Outcome("failed", transaction.hash, reason=reason))
                continue
            if transaction.sender.lower() == self.address.lower():
                flight = Flight(transaction, self._pace, introduced=True)
                self.flights[transaction.key] = flight
                continue
            reason = f"It was signed by {transaction.sender}, which is not this node any more"
            await self._end(transaction, Outcome("failed", transaction.hash, reason=reason))

    # Following

    def questions(self) -> list[Call]:
        """The account's nonces, and receipts that there may be; nothing without transactions."""
        followed = [
            flight
            for flight in self.flights.values()
            if flight.introduced
            and flight.task is None
            and flight.transaction.chain_id == self._rpc.chain_id
        ]
        followed.sort(key=lambda flight: flight.transaction.nonce)
        self._asked = [
            _Asked(flight, [signed.hash for signed in flight.transaction.signed])
            for flight in followed[:_MOST_ASKED]
        ]
        if not self._asked:
            return []
        return [
            ("eth_getTransactionCount", [self.address, "latest"]),
            ("eth_getTransactionCount", [self.address, "pending"]),
            *(receipt_question(hash_) for asked in self._asked for hash_ in asked.hashes),
        ]

    def answers(self, block: Block, answers: list[Any]) -> None:
        """Look at each transaction, and begin what has to be done."""
        if not answers or isinstance(answers[0], RpcError):
            return
        mined = quantity(answers[0])
        pending = mined if isinstance(answers[1], RpcError) else quantity(answers[1])
        self._look_for_gap(mined, pending)
        receipts = iter(answers[2:])
        for flight, hashes in self._asked:
            own = [next(receipts) for _ in hashes]
            if flight.task is None and not any(isinstance(each, RpcError) for each in own):
                self._judge(flight, block, mined, pending, own)

    def _judge(
        self, flight: Flight, block: Block, mined: int, pending: int, receipts: list[Any]
    ) -> None:
        transaction = flight.transaction
        receipt = next((each for each in receipts if is_mined(each)), None)
        if receipt is not None:
            self._note_receipt(flight, block, receipt)
            return
        if flight.block:
            tell(logger, "reorganised", transaction, logging.WARNING, block=flight.block)
            flight.block = 0
        if mined > transaction.nonce:
            flight.used_up += 1
            if flight.used_up >= _PROOFS:
                flight.used_up = 0
                self._begin(flight, self._look_into(flight, block))
            return
        flight.used_up = 0
        if mined == transaction.nonce:
            flight.note_turn(block)
        if flight.is_stuck(block):
            flight.forget_turn()
            self._begin(flight, self._replace(flight))
        elif pending <= transaction.nonce and flight.may_be_broadcast():
            self._begin(flight, self._broadcast_again(flight))

    def _look_for_gap(self, mined: int, pending: int) -> None:
        """Another program's transaction may have vanished, and ours wait behind its nonce."""
        lowest = min((each.flight for each in self._asked), key=lambda each: each.transaction.nonce)
        own = {flight.transaction.nonce for flight in self.flights.values()}
        if max(mined, pending) >= lowest.transaction.nonce or mined in own:
            self._gap_since = math.inf
            return
        self._gap_since = min(self._gap_since, time.monotonic())
        if time.monotonic() - self._gap_since > self._pace.stuck and lowest.task is None:
            self._gap_since = math.inf
            self._begin(lowest, self._fill_gap(mined))

    async def _fill_gap(self, nonce: int) -> None:
        """Use up a nonce with a transaction that does nothing: the next free nonce is this one."""
        key = f"nothing:{nonce}:{milliseconds()}"
        try:
            await self.send(key, self.address, b"", gas=_LEAST_GAS)
        except SendError as error:
            log_event(logger, "transaction.gap", logging.WARNING, nonce=nonce, reason=error)

    def _begin(self, flight: Flight, work: Coroutine[Any, Any, None]) -> None:
        """Do something about a transaction; one thing at a time."""
        flight.task = asyncio.create_task(self._do(flight, work), name=flight.transaction.key)

    async def _do(self, flight: Flight, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (RpcUnavailable, StorageError) as error:
            # The next look finds the same and begins anew.
            tell(logger, "waits", flight.transaction, logging.WARNING, reason=error)
        except Exception:
            # A mistake of ours must not end in silence; the next look tries again.
            fields = {"key": flight.transaction.key}
            logger.exception("transaction.failure", extra={"fields": fields})
        finally:
            flight.task = None

    def _note_receipt(self, flight: Flight, block: Block, receipt: dict[str, Any]) -> None:
        number = quantity(receipt.get("blockNumber"))
        flight.block = number
        flight.used_up = 0
        if block.number - number >= self._trail:
            self._begin(flight, self._finish(flight, receipt))

    async def _finish(self, flight: Flight, receipt: dict[str, Any]) -> None:
        """A receipt is deep enough: the transaction is final."""
        transaction = flight.transaction
        outcome = Outcome(
            status="mined" if quantity(receipt.get("status", "0x1")) else "reverted",
            hash=str(receipt.get("transactionHash") or transaction.hash),
            block=flight.block,
            gas_used=quantity(receipt.get("gasUsed", "0x0")),
        )
        if outcome.status == "reverted":
            reason = await why_reverted(self._rpc, transaction, outcome)
            outcome = Outcome("reverted", outcome.hash, outcome.block, reason, outcome.gas_used)
        await self._end(transaction, outcome)

    async def _end(self, transaction: Transaction, outcome: Outcome) -> None:
        """Store what became of a transaction, then tell it."""
        await self._ledger.finish(transaction, outcome)
        self.flights.pop(transaction.key, None)
        self._outcomes[transaction.key] = outcome
        if len(self._outcomes) > 2 * _REMEMBERED:
            self._outcomes = dict(list(self._outcomes.items())[-_REMEMBERED:])
        tell(
            logger,
            outcome.status,
            transaction,
            logging.INFO if outcome.status == "mined" else logging.WARNING,
            hash=outcome.hash,
            block=outcome.block,
            gas_used=outcome.gas_used,
            reason=outcome.reason,
        )
        self.on_outcome(transaction.key, outcome)

    async def _broadcast_again(self, flight: Flight) -> None:
        """No server has it in its mempool: give it the same bytes again."""
        signed = flight.transaction.signed[-1]
        flight.note_broadcast()
        verdict = await broadcast(self._rpc, signed)
        level = logging.INFO if verdict.answer is Answer.TAKEN else logging.WARNING
        tell(logger, "rebroadcast", flight.transaction, level, reason=verdict.words)
        if verdict.answer is Answer.TOO_CHEAP:
            flight.note_too_cheap()

    async def _replace(self, flight: Flight) -> None:
        """Its turn came long ago: sign it again with the same nonce and higher fees."""
        transaction = flight.transaction
        before = transaction.signed[-1]
        if len(transaction.signed) >= _MOST_SIGNED:
            self._tell_stuck(flight, f"It was replaced {_MOST_SIGNED - 1} times already")
            return
        conditions = await ask_conditions(self._rpc, self.address)
        try:
            fees = raise_fees(
                Fees(before.max_fee, before.priority_fee), conditions, transaction.max_gas_price
            )
        except PriceTooHigh as error:
            self._tell_stuck(flight, str(error))
            return
        if transaction.gas * fees.max_fee > conditions.balance:
            self._tell_stuck(flight, f"{self.address} has too few coins for higher fees")
            return
        signed = await sign(self._account, transaction, fees)
        changed = _copy(transaction, signed=[*transaction.signed, signed])
        await self._ledger.replace(changed)
        flight.transaction = changed
        verdict = await broadcast(self._rpc, signed)
        tell(
            logger,
            "replaced",
            changed,
            before=before.hash,
            max_fee=signed.max_fee,
            priority_fee=signed.priority_fee,
            reason=verdict.words,
        )

    def _tell_stuck(self, flight: Flight, reason: str) -> None:
        if not flight.told_stuck:
            tell(logger, "stuck", flight.transaction, logging.WARNING, reason=reason)
        flight.told_stuck = True

    async def _look_into(self, flight: Flight, block: Block) -> None:
        """Its nonce seems used up by a transaction that is not ours: make sure, then use another.

        Servers behind one address may differ by some blocks, so that a count without a receipt says
        little; a count that is deep in the chain, again without any receipt, is proof.
        """
        transaction = flight.transaction
        deep = max(0, block.number - min(max(1, self._trail), _DEEPEST_PROOF))
        count, *receipts = await self._rpc.batch(
            [
                ("eth_getTransactionCount", [self.address, hex(deep)]),
                *(receipt_question(signed.hash) for signed in transaction.signed),
            ]
        )
        if isinstance(count, RpcError) or quantity(count) <= transaction.nonce:
            return
        if any(receipt is not None for receipt in receipts):
            return
        reason = "Another program sent a transaction with the key of this node"
        tell(logger, "nonce_used", transaction, logging.WARNING, reason=reason)
        conditions = await ask_conditions(self._rpc, self.address)
        flight.forget_turn()
        try:
            await self._introduce(flight, conditions)
        except SendError as error:
            now = flight.transaction
            if not (isinstance(error, _Refused) and self._is_awaited(now)):
                await self._end(now, Outcome("failed", now.hash, reason=str(error)))


def _copy(
    transaction: Transaction, *, signed: list[Signed], nonce: int | None = None
) -> Transaction:
    """A changed copy, which takes the original's place only when it is stored."""
    nonce = transaction.nonce if nonce is None else nonce
    return msgspec.structs.replace(transaction, nonce=nonce, signed=signed)
