"""The verdicts of verifiers on this node's proofs: accepted and paid, or wrong and slashed.

The coordinator logs no verdict, but the node's wallet does: it logs that what was locked in it is
free again, and, when the proof was wrong, that it went to the consumer. Both come with the
delivery's own transaction when the verifier decides at once, or with another one later.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from msgspec import Struct

from infernet_edge.chain.contracts.abi import (
    PROOF_REQUESTS,
    WALLET_ESCROW,
    WALLET_TRANSFER,
    UnexpectedReply,
    eth_call,
    response_key,
)
from infernet_edge.chain.contracts.registry import Deployment, to_bytes
from infernet_edge.chain.contracts.subscription import Payment
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.clock import milliseconds
from infernet_edge.logs import log_event
from infernet_edge.storage.database import Database

logger = logging.getLogger(__name__)

ProofVerdict = Literal["awaited", "accepted", "slashed", "decided"]

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
"""First topics of the wallet's logs that `Proofs.take_logs` wants to see."""

_MAX_AWAITED = 200  # that are checked, the newest: of old ones there may be no verdict ever
_MAX_BLOCKS = 500  # of which servers give the logs at once, where they do not give them all
_MAX_PAGES = 200  # of _MAX_BLOCKS each; older verdicts stay unknown


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
    verdict: ProofVerdict = "awaited"
    decided_by: str = ""


class _Release(NamedTuple):
    """What was locked is free again; `slashed`: it went to the consumer.

    `at_once`: it was locked in the same transaction, which is the delivery's own.
    """

    transaction: str
    block: int
    payment: Payment
    at_once: bool
    slashed: bool = False


class Proofs:
    """Follows the proofs of this node's deliveries. `wallet` is the one in which it is paid."""

    def __init__(
        self, rpc: RpcClient, deployment: Deployment, database: Database, wallet: str, node: str
    ) -> None:
        self._rpc = rpc
        self._deployment = deployment
        self._database = database
        self._node = node
        self._lock = asyncio.Lock()  # each release belongs to one proof
        self.wallet = wallet

    async def expect(self, proof: Proof) -> None:
        """Store that a proof is on the chain, and its verdict, if there is one already.

        May be called again with the same. Raises RpcUnavailable, StorageError.
        """
        async with self._lock:
            await self._database.write(_expect, proof)
            await self._check()

    async def verdicts(self, deliveries: Iterable[int]) -> dict[int, ProofVerdict]:
        """The verdicts on the proofs of some deliveries. Raises StorageError."""
        return await self._database.read(_verdicts, tuple(deliveries))

    async def take_logs(self, logs: Iterable[dict[str, Any]]) -> None:
        """Take logs of the wallet, oldest first, and store the verdicts in them.

        Raises RpcUnavailable, StorageError; the same logs may come again then.
        """
        if releases := _releases(logs, self._node):
            async with self._lock:
                await self._match(await self._decided(), releases)

    async def check(self) -> None:
        """Store the verdicts that came while no logs were read.

        Raises RpcUnavailable, StorageError.
        """
        async with self._lock:
            await self._check()

    async def _check(self) -> None:
        decided = await self._decided()
        if not decided:
            return
        logs = await self._logs(min(proof.block for proof in decided))
        await self._match(decided, _releases(logs, self._node))
        for proof in decided:  # servers do not keep old logs without limit
            proof.verdict = "decided"
            await self._decide(proof)

    async def _logs(self, first: int) -> list[dict[str, Any]]:
        """The wallet's logs from a block on, oldest first, as far as the server gives them."""
        whole, newest = await self._rpc.batch([self._logs_question(first), ("eth_blockNumber", [])])
        if isinstance(whole, list):
            return whole
        try:
            last = quantity(newest)
        except ValueError:
            raise RpcUnavailable("The server gives no number of the head") from None
        found: list[dict[str, Any]] = []
        for start in range(first, last + 1, _MAX_BLOCKS)[-_MAX_PAGES:]:
            end = min(last, start + _MAX_BLOCKS - 1)
            [page] = await self._rpc.batch([self._logs_question(start, hex(end))])
            if isinstance(page, RpcError) and page.is_transient:
                raise RpcUnavailable(f"The wallet's logs cannot be read: {page}")
            found += page if isinstance(page, list) else []
        return found

    def _logs_question(self, first: int, last: str = "latest") -> Call:
        asked = {"address": self.wallet, "topics": [list(TOPICS)]}
        return ("eth_getLogs", [asked | {"fromBlock": hex(first), "toBlock": last}])

    async def _match(self, decided: list[Proof], releases: Iterable[_Release]) -> None:
        """Store the verdicts on decided proofs; those without a release stay in the list."""
        for release in releases:
            proof = await self._proof_of(decided, release)
            if proof is None:  # it is stored already, or another program has this key
                continue
            decided.remove(proof)
            proof.verdict = "slashed" if release.slashed else "accepted"
            proof.decided_by = release.transaction
            await self._decide(proof)

    async def _proof_of(self, decided: list[Proof], release: _Release) -> Proof | None:
        """The proof that a release belongs to: the oldest that was decided in its block."""
        same = [proof for proof in decided if proof.payment == release.payment]
        if release.at_once:
            own = (proof for proof in same if proof.delivered_by == release.transaction)
            return next(own, None)
        same = [proof for proof in same if proof.block <= release.block]
        waiting = await self._answers(same, hex(release.block))
        # Of an old block a server may not know: then it is the oldest.
        found = (proof for proof, state in zip(same, waiting, strict=True) if state != "awaited")
        return next(found, None)

    async def _decided(self) -> list[Proof]:
        """The awaited proofs that are decided, by the coordinator."""
        awaited = await self._database.read(_awaited)
        if not awaited:
            return []
        answers = await self._answers(awaited, "latest")
        return [proof for proof, state in zip(awaited, answers, strict=True) if state == "decided"]

    async def _answers(self, proofs: list[Proof], block: str) -> list[str]:
        """The states of proofs as of a block: "awaited", "decided", "" when it is unknown."""
        if not proofs:
            return []
        coordinator = await self._deployment.coordinator("1.x")
        answers = await self._rpc.batch(
            [eth_call(coordinator, _question(proof, self._node), block=block) for proof in proofs]
        )
        return [_state(answer) for answer in answers]

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

    async def last_number(self) -> int:
        """The largest number of a delivery that there is a proof of. Raises StorageError."""
        return await self._database.read(_last_number)

    async def prune(self, number: int) -> None:
        """Delete decided proofs of deliveries up to a number. Raises StorageError."""
        await self._database.write(_prune, number)


def _question(proof: Proof, node: str) -> bytes:
    return PROOF_REQUESTS.encode(response_key(proof.subscription, proof.interval, node))


def _state(answer: Any) -> str:
    if isinstance(answer, RpcError):
        return ""
    try:
        expiry, _, _ = PROOF_REQUESTS.decode(to_bytes(answer))
    except UnexpectedReply:
        return ""
    return "awaited" if expiry else "decided"


def _releases(logs: Iterable[dict[str, Any]], node: str) -> list[_Release]:
    """The releases of amounts that were locked for a node, by the wallet's logs, oldest first."""
    releases: list[_Release] = []
    locked: set[tuple[str, Payment]] = set()
    spender = node.lower().removeprefix("0x").rjust(64, "0")
    for log in logs:
        topics, transaction = log.get("topics") or [], str(log.get("transactionHash"))
        if len(topics) < 2 or topics[0] not in TOPICS:
            continue
        if str(topics[1]).lower().removeprefix("0x") != spender:
            continue
        is_escrow = topics[0] == WALLET_ESCROW
        kinds = ["address", "uint256", "bool"] if is_escrow else ["address", "uint256"]
        try:
            token, amount, *locks = decode(kinds, to_bytes(log.get("data")))
            block = quantity(log.get("blockNumber"))
        except (DecodingError, UnexpectedReply, ValueError):
            continue  # of a wallet of another kind
        payment = Payment(amount, to_checksum_address(token))
        each = (transaction, payment)
        if locks == [True]:
            locked.add(each)
        elif is_escrow:
            releases.append(_Release(transaction, block, payment, at_once=each in locked))
        elif releases and (releases[-1].transaction, releases[-1].payment) == each:
            releases[-1] = releases[-1]._replace(slashed=True)  # the transfer follows the release
    return releases


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
        " WHERE verdict = 'awaited' ORDER BY delivery DESC LIMIT ?",
        (_MAX_AWAITED,),
    )
    newest_first = [
        Proof(delivery, subscription, interval, Payment(int(amount), token), *rest)
        for delivery, subscription, interval, amount, token, *rest in rows
    ]
    return newest_first[::-1]


def _verdicts(
    connection: sqlite3.Connection, deliveries: tuple[int, ...]
) -> dict[int, ProofVerdict]:
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


def _last_number(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT max(delivery) FROM proofs").fetchone()[0] or 0)


def _prune(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("DELETE FROM proofs WHERE verdict != 'awaited' AND delivery <= ?", (number,))
