"""The tables of transactions: what was signed, before any server sees it, and its outcome."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct, field

from infernet_edge.clock import milliseconds
from infernet_edge.config.sections.chain import Chain
from infernet_edge.invariants import invariant
from infernet_edge.storage.checksums import checksum
from infernet_edge.storage.damage import checked_types
from infernet_edge.storage.database import Database

Status = Literal["mined", "reverted", "failed"]

MIGRATIONS: Final = (
    # `key` names what the transaction is for, so that it exists once. `status` is NULL until the
    # transaction is final. `target` and `sender` are checksummed addresses, prices are in wei.
    """CREATE TABLE transactions (
        number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
        chain_id INTEGER NOT NULL, sender TEXT NOT NULL, nonce INTEGER NOT NULL,
        target TEXT NOT NULL, data BLOB NOT NULL, gas INTEGER NOT NULL, max_gas_price INTEGER,
        status TEXT, hash TEXT NOT NULL, block INTEGER NOT NULL DEFAULT 0,
        gas_used INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
        created_at INTEGER NOT NULL, finished_at INTEGER
    ) STRICT""",
    "CREATE UNIQUE INDEX transactions_in_flight ON transactions (chain_id, sender, nonce)"
    " WHERE status IS NULL",
    # All that was ever signed for a transaction's nonce: any of them may be mined. `priority_fee`
    # is NULL for those with a plain gas price, which is `max_fee` then.
    """CREATE TABLE signed_transactions (
        transaction_number INTEGER NOT NULL, position INTEGER NOT NULL, hash TEXT NOT NULL,
        raw BLOB NOT NULL, max_fee INTEGER NOT NULL, priority_fee INTEGER,
        PRIMARY KEY (transaction_number, position)
    ) STRICT, WITHOUT ROWID""",
    # The chain on which the node works with these contracts.
    "CREATE TABLE chains (contracts TEXT PRIMARY KEY, chain_id INTEGER NOT NULL) STRICT",
    # What a delivery answers, where its id was known when it was sent.
    "ALTER TABLE transactions ADD COLUMN subscription INTEGER",
    "ALTER TABLE transactions ADD COLUMN interval INTEGER",
    # See checksums.py. The first is of what is signed again when the fees rise.
    "ALTER TABLE transactions ADD COLUMN content_sum INTEGER",
    "ALTER TABLE signed_transactions ADD COLUMN sum INTEGER",
    # What transactions have cost, by hours of the node's own time (see elapsed.py). As text: an
    # integer has room for nine coins only.
    "CREATE TABLE fees_paid (hour INTEGER PRIMARY KEY, wei TEXT NOT NULL) STRICT",
    # What this one has cost in wei; NULL until it is known.
    "ALTER TABLE transactions ADD COLUMN fee TEXT",
)

_MAX_INTEGER = 2**63 - 1  # what SQLite keeps as an integer
_COLUMNS = (
    "number, key, chain_id, sender, nonce, target, data, gas, max_gas_price, subscription, interval"
)


class Signed(Struct, frozen=True):
    """A signed transaction. `priority_fee` is None for one with a plain gas price (`max_fee`)."""

    hash: str
    raw: bytes
    max_fee: int
    priority_fee: int | None


class TransactionOutcome(Struct, frozen=True):
    """What became of a transaction; `reason` says why it was reverted or failed."""

    status: Status
    hash: str
    block: int = 0
    reason: str = ""
    gas_used: int = 0


class PaidFee(NamedTuple):
    """A fee in wei, and the hour of the node's own time in which it was paid.

    What was paid before `first_hour` is not needed any more.
    """

    fee: int
    hour: int
    first_hour: int


class Subject(Struct, frozen=True):
    """What a transaction is about, for the log: an interval of a subscription."""

    subscription: int | None = None
    interval: int | None = None


class Transaction(Struct):
    """A transaction that is not final. All of `signed` have its nonce; the newest is last.

    `damaged`: what is to be sent is not what was stored, or no signed form is.
    """

    number: int
    key: str
    chain_id: int
    sender: str
    nonce: int
    target: str
    data: bytes
    gas: int
    max_gas_price: int | None
    signed: list[Signed] = field(default_factory=list)
    subject: Subject = Subject()
    damaged: bool = False

    @property
    def hash(self) -> str:
        """That of the newest signed form, "" when there is none."""
        return self.signed[-1].hash if self.signed else ""


class TransactionStore:
    """Access to the tables. When a method returns, what it wrote is on the disk.

    All raise StorageError when the file cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def chain_id(self, contracts: str) -> int | None:
        """The chain that was remembered for these contracts."""
        return await self._database.read(read_chain_id, contracts)

    async def remember_chain(self, contracts: str, chain_id: int) -> None:
        """Remember the chain, unless one is remembered already."""
        await self._database.write(_remember_chain, contracts, chain_id)

    async def unfinished(self) -> list[Transaction]:
        """All transactions that are not final, oldest first."""
        return await self._database.read(_unfinished)

    async def outcomes(self, limit: int) -> dict[str, TransactionOutcome]:
        """What became of the newest final transactions, by their keys."""
        return await self._database.read(_outcomes, limit)

    async def outcome(self, key: str) -> TransactionOutcome | None:
        """What became of the transaction with this key; None while it is not final."""
        return await self._database.read(_outcome, key)

    async def find(self, key: str) -> str | None:
        """The hash of the transaction with this key, final or not."""
        return await self._database.read(_find, key)

    async def last_number(self) -> int:
        """The largest number of a delivery that a key of a transaction names."""
        return await self._database.read(_last_number)

    async def is_of_another(self, transaction: Transaction) -> bool:
        """Whether another key has the same bytes: the same call, with a nonce that was used."""
        return await self._database.read(_is_of_another, transaction.key, transaction.hash)

    async def add(self, transaction: Transaction) -> None:
        """Store a new transaction with what was signed, and give it its number."""
        transaction.number = await self._database.write(_add, transaction)

    async def replace(self, transaction: Transaction) -> None:
        """Store the nonce and all that is signed of a transaction."""
        await self._database.write(_replace, transaction)

    async def finish(
        self, transaction: Transaction, outcome: TransactionOutcome, payment: PaidFee | None = None
    ) -> None:
        """Store what became of a transaction, and what it has cost.

        Its signed forms are not needed any more.
        """
        await self._database.write(_finish, transaction.number, outcome, payment)

    async def fees_paid(self, first_hour: int) -> dict[int, int]:
        """What was paid from an hour on: wei by hour."""
        return await self._database.read(_fees_paid, first_hour)

    async def fees_of(self, deliveries: Sequence[int]) -> dict[int, int]:
        """What the transactions of deliveries have cost so far: wei by their numbers."""
        return await self._database.read(_fees_of, deliveries)

    async def last_gas(self) -> int | None:
        """The limit of gas of the newest delivery; None when there is none."""
        return await self._database.read(_last_gas)

    async def remove(self, transaction: Transaction) -> None:
        """Delete a transaction that surely no server has."""
        await self._database.write(_remove, transaction.number)

    async def prune(self, number: int) -> None:
        """Delete final transactions up to a number."""
        await self._database.write(_prune, number)


def contracts_of(config: Chain) -> str:
    """The name under which the chain of the configured contracts is remembered."""
    return f"{config.registry_address} {config.coordinator_address}".lower()


def read_chain_id(connection: sqlite3.Connection, contracts: str) -> int | None:
    """The chain that is remembered for these contracts, for TransactionStore and the doctor."""
    row = connection.execute(
        "SELECT chain_id FROM chains WHERE contracts = ?", (contracts,)
    ).fetchone()
    return None if row is None else int(row[0])


def _remember_chain(connection: sqlite3.Connection, contracts: str, chain_id: int) -> None:
    connection.execute("INSERT OR IGNORE INTO chains VALUES (?, ?)", (contracts, chain_id))


def _unfinished(connection: sqlite3.Connection) -> list[Transaction]:
    rows = connection.execute(
        f"SELECT {_COLUMNS}, content_sum FROM transactions"  # noqa: S608 - our own text
        " WHERE status IS NULL ORDER BY number"
    )
    signed_rows = connection.execute(
        "SELECT transaction_number, sum, hash, raw, max_fee, priority_fee FROM signed_transactions"
        " ORDER BY transaction_number, position"
    )
    with checked_types():
        transactions = {row[0]: _from_row(row) for row in rows}
        for number, stored_sum, *fields in signed_rows:
            signed = Signed(*fields)
            if number in transactions and stored_sum in (None, _signed_sum(signed)):
                transactions[number].signed.append(signed)
    for transaction in transactions.values():
        transaction.damaged = transaction.damaged or not transaction.signed
    return list(transactions.values())


def _from_row(row: tuple[Any, ...]) -> Transaction:
    number, key, chain_id, sender, nonce, target, data, gas, most, *subject, stored_sum = row
    transaction = Transaction(
        number, key, chain_id, sender, nonce, target, data, gas, most, subject=Subject(*subject)
    )
    transaction.damaged = stored_sum not in (None, _content_sum(transaction))
    return transaction


def _content_sum(transaction: Transaction) -> int:
    each = transaction
    price = -1 if each.max_gas_price is None else min(each.max_gas_price, _MAX_INTEGER)
    names = (each.key.encode(), each.sender.encode(), each.target.encode())
    return checksum(each.data, *names, each.chain_id, each.nonce, each.gas, price)


def _signed_sum(signed: Signed) -> int:
    priority = -1 if signed.priority_fee is None else signed.priority_fee
    return checksum(signed.raw, signed.hash.encode(), signed.max_fee, priority)


def _last_number(connection: sqlite3.Connection) -> int:
    # Keys are "delivery:<number>:..." and "approval:<number>:..."; the cast reads up to the colon.
    row = connection.execute(
        "SELECT max(CAST(substr(key, 10) AS INTEGER)) FROM transactions"
        " WHERE key GLOB 'delivery:*' OR key GLOB 'approval:*'"
    ).fetchone()
    return int(row[0] or 0)


def _outcome(connection: sqlite3.Connection, key: str) -> TransactionOutcome | None:
    row = connection.execute(
        "SELECT status, hash, block, reason, gas_used FROM transactions"
        " WHERE key = ? AND status IS NOT NULL",
        (key,),
    ).fetchone()
    return None if row is None else TransactionOutcome(*row)


def _outcomes(connection: sqlite3.Connection, limit: int) -> dict[str, TransactionOutcome]:
    rows = connection.execute(
        "SELECT key, status, hash, block, reason, gas_used FROM transactions"
        " WHERE status IS NOT NULL ORDER BY finished_at DESC LIMIT ?",
        (limit,),
    )
    return {key: TransactionOutcome(*rest) for key, *rest in rows}


def _find(connection: sqlite3.Connection, key: str) -> str | None:
    row = connection.execute("SELECT hash FROM transactions WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _is_of_another(connection: sqlite3.Connection, key: str, hash_: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM transactions WHERE hash = ? AND key != ?", (hash_, key)
    )
    return found.fetchone() is not None


def _add(connection: sqlite3.Connection, transaction: Transaction) -> int:
    cap = transaction.max_gas_price
    cursor = connection.execute(
        "INSERT INTO transactions (key, chain_id, sender, nonce, target, data, gas, max_gas_price,"
        " hash, created_at, subscription, interval, content_sum)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            transaction.key,
            transaction.chain_id,
            transaction.sender,
            transaction.nonce,
            transaction.target,
            transaction.data,
            transaction.gas,
            cap if cap is None else min(cap, _MAX_INTEGER),
            transaction.hash,
            milliseconds(),
            transaction.subject.subscription,
            transaction.subject.interval,
            _content_sum(transaction),
        ),
    )
    number = int(cursor.lastrowid or 0)
    _write_signed(connection, number, transaction.signed)
    return number


def _replace(connection: sqlite3.Connection, transaction: Transaction) -> None:
    changed = connection.execute(
        "UPDATE transactions SET nonce = ?, hash = ?, content_sum = ?"
        " WHERE number = ? AND status IS NULL",
        (transaction.nonce, transaction.hash, _content_sum(transaction), transaction.number),
    ).rowcount
    invariant(changed == 1, f"transaction {transaction.number} is final and must not change")
    _write_signed(connection, transaction.number, transaction.signed)


def _write_signed(connection: sqlite3.Connection, number: int, signed: list[Signed]) -> None:
    _delete_signed(connection, number)
    rows: list[tuple[Any, ...]] = [
        (number, position, each.hash, each.raw, each.max_fee, each.priority_fee, _signed_sum(each))
        for position, each in enumerate(signed)
    ]
    connection.executemany(
        "INSERT INTO signed_transactions"
        " (transaction_number, position, hash, raw, max_fee, priority_fee, sum)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def _delete_signed(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("DELETE FROM signed_transactions WHERE transaction_number = ?", (number,))


def _finish(
    connection: sqlite3.Connection,
    number: int,
    outcome: TransactionOutcome,
    payment: PaidFee | None,
) -> None:
    changed = connection.execute(
        "UPDATE transactions SET status = ?, hash = ?, block = ?, reason = ?, gas_used = ?,"
        " data = x'', finished_at = ?, fee = ? WHERE number = ? AND status IS NULL",
        (
            outcome.status,
            outcome.hash,
            outcome.block,
            outcome.reason,
            outcome.gas_used,
            milliseconds(),
            None if payment is None else str(payment.fee),
            number,
        ),
    ).rowcount
    if not changed:  # a commit that seemed to fail is repeated
        known = connection.execute(
            "SELECT status, hash FROM transactions WHERE number = ?", (number,)
        ).fetchone()
        same = known == (outcome.status, outcome.hash)
        invariant(same, f"transaction {number} must not end twice, or is not stored")
        return
    if payment is not None:
        before = _fees_paid(connection, payment.hour).get(payment.hour, 0)
        connection.execute("DELETE FROM fees_paid WHERE hour < ?", (payment.first_hour,))
        connection.execute(
            "INSERT OR REPLACE INTO fees_paid VALUES (?, ?)",
            (payment.hour, str(before + payment.fee)),
        )
    _delete_signed(connection, number)


def _fees_paid(connection: sqlite3.Connection, first_hour: int) -> dict[int, int]:
    rows = connection.execute("SELECT hour, wei FROM fees_paid WHERE hour >= ?", (first_hour,))
    with checked_types():
        return {hour: int(wei) for hour, wei in rows}


def _fees_of(connection: sqlite3.Connection, deliveries: Sequence[int]) -> dict[int, int]:
    fees: dict[int, int] = {}
    for number in deliveries:
        for kind in ("delivery", "approval"):  # the keys between these two begin with the first
            rows = connection.execute(
                "SELECT fee FROM transactions WHERE key > ? AND key < ? AND fee IS NOT NULL",
                (f"{kind}:{number}:", f"{kind}:{number};"),
            )
            with checked_types():
                for (fee,) in rows:
                    fees[number] = fees.get(number, 0) + int(fee)
    return fees


def _last_gas(connection: sqlite3.Connection) -> int | None:
    row = connection.execute(
        "SELECT gas FROM transactions WHERE key GLOB 'delivery:*' ORDER BY number DESC LIMIT 1"
    ).fetchone()
    return None if row is None else int(row[0])


def _remove(connection: sqlite3.Connection, number: int) -> None:
    _delete_signed(connection, number)
    connection.execute("DELETE FROM transactions WHERE number = ? AND status IS NULL", (number,))


def _prune(connection: sqlite3.Connection, number: int) -> None:
    # The newest stays: SQLite would give its number again.
    connection.execute(
        "DELETE FROM transactions WHERE finished_at IS NOT NULL AND number <= ?"
        " AND number < (SELECT max(number) FROM transactions)",
        (number,),
    )
