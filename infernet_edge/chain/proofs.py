"""What verifiers say of this node's proofs: accepted and paid, or found wrong and slashed.

The coordinator tells nobody, but the node's wallet does: it logs that what was locked in it is free
again, and, when the proof was wrong, that it went to the consumer. Both come with the delivery's
own transaction when the verifier decides at once, or with another one later.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from msgspec import Struct

from infernet_edge.chain.contracts import (
    PROOF_REQUESTS,
    WALLET_ESCROW,
    WALLET_TRANSFER,
    UnexpectedReply,
    eth_call,
    response_key,
)
from infernet_edge.chain.deployment import Deployment, to_bytes
from infernet_edge.chain.rpc import Rpc, RpcError
from infernet_edge.chain.subscription import Payment
from infernet_edge.database import Database
from infernet_edge.jobs.store import milliseconds
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

Verdict = Literal["awaited", "accepted", "slashed", "decided"]

MIGRATIONS: Final = (
    # One row for each delivery whose proof a verifier judges. `amount` (wei, as text: it may have
    # 256 bits) of `token` is locked until then. "decided": it is not known how any more.
    """CREATE TABLE proofs (
        delivery INTEGER PRIMARY KEY, subscription INTEGER NOT NULL, interval INTEGER NOT NULL,
        amount TEXT NOT NULL, token TEXT NOT NULL, delivered_by TEXT NOT NULL,
        block INTEGER NOT NULL, verdict TEXT NOT NULL DEFAULT 'awaited',
        decided_by TEXT NOT NULL DEFAULT '', changed_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX awaited_proofs ON proofs (delivery) WHERE verdict = 'awaited'",
)

TOPICS: Final = (WALLET_ESCROW, WALLET_TRANSFER)
"""First topics of the wallet's logs that `Proofs.note` wants to see."""

_MOST_AWAITED = 200  # that are looked at, the oldest


class Proof(Struct):
    """A proof that a verifier judges.

    `delivered_by` and `decided_by` are transactions' hashes, `block` is that of the first.
    """

    delivery: int
    subscription: int
    interval: int
    payment: Payment
    delivered_by: str
    block: int
    verdict: Verdict = "awaited"
    decided_by: str = ""


class _Release(NamedTuple):
    """What was locked is free again; `slashed`: it went to the consumer."""

    transaction: str
    payment: Payment
    slashed: bool


class Proofs:
    """Follows the proofs of this node's deliveries. `wallet` is the one in which it is paid."""

    def __init__(
        self, rpc: Rpc, deployment: Deployment, database: Database, wallet: str, node: str
    ) -> None:
        self._rpc = rpc
        self._deployment = deployment
        self._database = database
        self._node = node
        self.wallet = wallet

    async def expect(self, proof: Proof) -> None:
        """Remember that a proof is on the chain, and tell what was said of it, if anything was.

        May be called again with the same. Raises RpcUnavailable, StorageError.
        """
        await self._database.write(_expect, proof)
        await self.look()

    async def verdicts(self, deliveries: Iterable[int]) -> dict[int, Verdict]:
        """What was said of the proofs of some deliveries. Raises StorageError."""
        return await self._database.read(_verdicts, tuple(deliveries))

    async def note(self, logs: Iterable[dict[str, Any]]) -> None:
        """Look at logs of the wallet, oldest first, and tell what was decided.

        Raises RpcUnavailable, StorageError; the same logs may come again then.
        """
        if releases := _releases(logs, self._node):
            await self._match(await self._decided(), releases)

    async def look(self) -> None:
        """Tell what was decided while nobody looked at the logs.

        Raises RpcUnavailable, StorageError.
        """
        decided = await self._decided()
        if not decided:
            return
        first = min(proof.block for proof in decided)
        question = {"address": self.wallet, "topics": [list(TOPICS)], "fromBlock": hex(first)}
        [logs] = await self._rpc.batch([("eth_getLogs", [question])])
        known = [] if isinstance(logs, RpcError) else logs
        await self._match(decided, _releases(known, self._node))
        for proof in decided:  # servers do not give old logs for ever
            proof.verdict = "decided"
            await self._decide(proof)

    async def _match(self, decided: list[Proof], releases: Iterable[_Release]) -> None:
        """Note what became of decided proofs; those of which nothing is said stay in the list."""
        for release in releases:
            proof = _belonging(decided, release)
            if proof is None:  # it was noted already, or another program has this key
                continue
            decided.remove(proof)
            proof.verdict = "slashed" if release.slashed else "accepted"
            proof.decided_by = release.transaction
            await self._decide(proof)

    async def _decided(self) -> list[Proof]:
        """The awaited proofs of which the coordinator says that they wait no longer."""
        awaited = await self._database.read(_awaited)
        if not awaited:
            return []
        coordinator = await self._deployment.coordinator("1.x")
        answers = await self._rpc.batch(
            [eth_call(coordinator, _question(proof, self._node)) for proof in awaited]
        )
        return [
            proof for proof, answer in zip(awaited, answers, strict=True) if _is_decided(answer)
        ]

    async def _decide(self, proof: Proof) -> None:
        await self._database.write(_decide, proof)
        wrong = proof.verdict == "slashed"
        log_event(
            logger,
            f"proof.{proof.verdict}",
            logging.WARNING if wrong else logging.INFO,
            subscription=proof.subscription,
            interval=proof.interval,
            number=proof.delivery,
            wallet=self.wallet,
            token=proof.payment.token,
            amount=proof.payment.amount,
            transaction=proof.decided_by,
        )

    async def prune(self, before: int) -> None:
        """Forget proofs that were judged before a time (milliseconds). Raises StorageError."""
        await self._database.write(_prune, before)


def _question(proof: Proof, node: str) -> bytes:
    return PROOF_REQUESTS.encode(response_key(proof.subscription, proof.interval, node))


def _is_decided(answer: Any) -> bool:
    if isinstance(answer, RpcError):
        return False
    try:
        expiry, _, _ = PROOF_REQUESTS.decode(to_bytes(answer))
    except UnexpectedReply:
        return False
    return not expiry


def _belonging(decided: list[Proof], release: _Release) -> Proof | None:
    """The proof that a release belongs to: that of the same transaction, else the oldest."""
    same = [proof for proof in decided if proof.payment == release.payment]
    own = (proof for proof in same if proof.delivered_by == release.transaction)
    return next(own, next(iter(same), None))


def _releases(logs: Iterable[dict[str, Any]], node: str) -> list[_Release]:
    """What the wallet's logs say about amounts that were locked for a node, oldest first."""
    unlocked: list[tuple[str, Payment]] = []
    taken: set[tuple[str, Payment]] = set()
    spender = node.lower().removeprefix("0x").rjust(64, "0")
    for log in logs:
        topics, transaction = log.get("topics") or [], str(log.get("transactionHash"))
        if len(topics) < 2 or str(topics[1]).lower().removeprefix("0x") != spender:
            continue
        try:
            data = to_bytes(log.get("data"))
            if topics[0] == WALLET_ESCROW:
                token, amount, locked = decode(["address", "uint256", "bool"], data)
                if not locked:
                    unlocked.append((transaction, Payment(amount, to_checksum_address(token))))
            elif topics[0] == WALLET_TRANSFER:
                token, amount = decode(["address", "uint256"], data)
                taken.add((transaction, Payment(amount, to_checksum_address(token))))
        except (DecodingError, UnexpectedReply):
            continue  # of a wallet of another kind
    return [_Release(*each, slashed=each in taken) for each in unlocked]


def _expect(connection: sqlite3.Connection, proof: Proof) -> None:
    amount, token = proof.payment
    connection.execute(
        "INSERT OR IGNORE INTO proofs (delivery, subscription, interval, amount, token,"
        " delivered_by, block, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            proof.delivery,
            proof.subscription,
            proof.interval,
            str(amount),
            token,
            proof.delivered_by,
            proof.block,
            milliseconds(),
        ),
    )


def _awaited(connection: sqlite3.Connection) -> list[Proof]:
    rows = connection.execute(
        "SELECT delivery, subscription, interval, amount, token, delivered_by, block FROM proofs"
        " WHERE verdict = 'awaited' ORDER BY delivery LIMIT ?",
        (_MOST_AWAITED,),
    )
    return [
        Proof(delivery, subscription, interval, Payment(int(amount), token), *rest)
        for delivery, subscription, interval, amount, token, *rest in rows
    ]


def _verdicts(connection: sqlite3.Connection, deliveries: tuple[int, ...]) -> dict[int, Verdict]:
    marks = ",".join("?" * len(deliveries))
    return dict(
        connection.execute(
            f"SELECT delivery, verdict FROM proofs WHERE delivery IN ({marks})",  # noqa: S608 - marks
            deliveries,
        )
    )


def _decide(connection: sqlite3.Connection, proof: Proof) -> None:
    connection.execute(
        "UPDATE proofs SET verdict = ?, decided_by = ?, changed_at = ? WHERE delivery = ?",
        (proof.verdict, proof.decided_by, milliseconds(), proof.delivery),
    )


def _prune(connection: sqlite3.Connection, before: int) -> None:
    connection.execute(
        "DELETE FROM proofs WHERE verdict != 'awaited' AND changed_at < ?", (before,)
    )
