"""The deliveries table: its columns, and the statements that read and write it.

The functions run in the database's threads, each in one transaction. There is one delivery for each
interval of a subscription, see Delivery for what names it. When one that failed is asked for again,
the newest with the same names counts.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from infernet_edge.chain.contracts.abi import UnexpectedReply
from infernet_edge.chain.contracts.delegation import parse_signed
from infernet_edge.chain.contracts.payload import Payload
from infernet_edge.chain.contracts.subscription import Subscription
from infernet_edge.chain.delivery import delegated_data
from infernet_edge.chain.delivery.record import UNFINISHED, Delivery, OpenDelivery, open_delivery
from infernet_edge.errors import BadRequest
from infernet_edge.jobs.contents import Buffer
from infernet_edge.storage.checksums import check, checksum
from infernet_edge.storage.damage import checked_types

_UNFINISHED = "state NOT IN ('delivered', 'failed', 'skipped')"

# Keys were "generation:anchor:owner:nonce" for a delegated request and
# "generation:anchor:id:owner:active_at" for a contract's subscription; "#interval" followed when
# one was made for a certain interval, "~number" when another delivery had taken its place. CAST
# reads the digits in front.
_NAME_FROM_KEY: Final = """UPDATE deliveries SET
    anchor = substr(key, instr(key, ':') + 1, instr(substr(key, instr(key, ':') + 1), ':') - 1),
    planned_interval = CASE WHEN instr(key, '#') > 0
        THEN CAST(substr(key, instr(key, '#') + 1) AS INTEGER) END,
    active_at = CASE WHEN delegated = 1 THEN 0
        ELSE CAST(
            substr(key, instr(key, ':' || lower(owner) || ':') + length(owner) + 2) AS INTEGER
        ) END
    WHERE anchor IS NULL"""

MIGRATIONS: Final = (
    # `key` named the subscription and the interval in one text, "generation:anchor:...". It is
    # written for older versions, see Delivery.legacy_key; this one reads the columns that follow.
    # `request` is the delegated request, without its data. With a `subscription_id` the interval is
    # one of the on-chain subscription that an earlier delivery of the request made.
    """CREATE TABLE deliveries (
        number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, generation TEXT NOT NULL,
        owner TEXT NOT NULL, nonce INTEGER NOT NULL, subscription_id INTEGER,
        interval INTEGER NOT NULL, containers TEXT NOT NULL, state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        verified INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
        client TEXT NOT NULL DEFAULT '', request BLOB NOT NULL,
        input BLOB, output BLOB, proof BLOB, transaction_hash TEXT NOT NULL DEFAULT '',
        created_at INTEGER NOT NULL, changed_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX unfinished_deliveries ON deliveries (number)"
    " WHERE state NOT IN ('delivered', 'failed')",
    # Without a delegated request `request` is the subscription as its coordinator gives it.
    "ALTER TABLE deliveries ADD COLUMN delegated INTEGER NOT NULL DEFAULT 1",
    "DROP INDEX unfinished_deliveries",
    f"CREATE INDEX unfinished_deliveries ON deliveries (number) WHERE {_UNFINISHED}",
    "CREATE INDEX delegated_owners ON deliveries (owner, nonce) WHERE delegated = 1",
    delegated_data.MIGRATION,
    "ALTER TABLE deliveries ADD COLUMN answer_sum INTEGER",  # of input, output, proof: checksums.py
    "ALTER TABLE deliveries ADD COLUMN request_sum INTEGER",
    # What was in the key alone. `anchor` is NULL in rows that an older version has written since.
    "ALTER TABLE deliveries ADD COLUMN anchor TEXT",
    "ALTER TABLE deliveries ADD COLUMN planned_interval INTEGER",
    "ALTER TABLE deliveries ADD COLUMN active_at INTEGER NOT NULL DEFAULT 0",
    _NAME_FROM_KEY,
    "CREATE INDEX unnamed_deliveries ON deliveries (number) WHERE anchor IS NULL",
    "DROP INDEX delegated_owners",
    "CREATE INDEX delegated_deliveries ON deliveries (owner, nonce, planned_interval)"
    " WHERE delegated = 1",
    "CREATE INDEX contract_deliveries ON deliveries (subscription_id, planned_interval)"
    " WHERE delegated = 0",
    "ALTER TABLE deliveries ADD COLUMN answered_by TEXT NOT NULL DEFAULT ''",
)

_MAX_ENDED = 100_000  # deliveries that are kept after their end, some 50 MB
_CHECK_EVERY = 5_000  # new ones
NO_ROOM: Final = -1  # instead of the number of a delivery that is not stored
_MAX_NONCES = 200  # of one owner's delegated requests that are compared
_COLUMNS = (
    "number, generation, anchor, owner, nonce, subscription_id, interval, containers, state,"
    " reason, verified, attempts, client, request, input, output, proof, transaction_hash,"
    " created_at, changed_at, delegated, request_sum, planned_interval, active_at,"
    " answered_by"
)
_WITHOUT_ANSWER = _COLUMNS.replace("input, output, proof", "x'', NULL, x''")
_WITHOUT_CONTENT = _WITHOUT_ANSWER.replace("request,", "x'',").replace("request_sum", "NULL")


def convert(connection: sqlite3.Connection) -> None:
    """Bring what earlier versions wrote into the form that this one reads.

    The names of deliveries come out of their keys, the inputs of delegated requests out of these.
    """
    connection.execute(_NAME_FROM_KEY)
    numbers = connection.execute(
        f"SELECT number FROM deliveries WHERE {_UNFINISHED}"  # noqa: S608 - our own text
        " AND delegated = 1 AND length(request) > 4096"
    ).fetchall()
    for (number,) in numbers:
        stored = _from_row(
            connection.execute(
                f"SELECT {_WITHOUT_ANSWER} FROM deliveries WHERE number = ?",  # noqa: S608 - as above
                (number,),
            ).fetchone()
        )
        try:
            parsed = parse_signed(stored.request)
        except BadRequest:
            continue  # `unfinished` finds that it is damaged
        if parsed.data:
            delegated_data.write(connection, stored.request_key, parsed.data)
            connection.execute(
                "UPDATE deliveries SET request = ?, request_sum = ? WHERE number = ?",
                (parsed.signed, checksum(parsed.signed), number),
            )


def _from_row(row: tuple[Any, ...]) -> Delivery:
    number, generation, anchor, owner, nonce, subscription_id, interval, containers, *rest = row
    state, reason, verified, attempts, client, request, input_, output, proof, *last = rest
    (
        transaction_hash,
        created_at,
        changed_at,
        delegated,
        request_sum,
        planned,
        active_at,
        answered_by,
    ) = last
    with checked_types():
        return Delivery(
            number,
            generation,
            anchor,
            owner,
            nonce,
            subscription_id,
            interval,
            tuple(containers.split(",")),
            state,
            reason,
            bool(verified),
            attempts,
            client,
            request,
            input_ or b"",
            output,
            proof or b"",
            transaction_hash,
            created_at,
            changed_at,
            bool(delegated),
            request_sum is not None and request_sum != checksum(request),
            planned,
            active_at,
            answered_by,
        )


def unfinished(connection: sqlite3.Connection) -> list[OpenDelivery | Delivery]:
    """Those that have not ended, oldest first, without their answers.

    What cannot be parsed is given as a plain Delivery that is `damaged`.
    """
    rows = connection.execute(
        f"SELECT {_WITHOUT_ANSWER} FROM deliveries"  # noqa: S608 - the columns are our own text
        f" WHERE {_UNFINISHED} ORDER BY number"
    )
    return [_opened(_from_row(row)) for row in rows]


def _opened(stored: Delivery) -> OpenDelivery | Delivery:
    if not stored.damaged:
        try:
            return open_delivery(stored)
        except (BadRequest, UnexpectedReply):
            stored.damaged = True
    return stored


def newest(
    connection: sqlite3.Connection, limit: int, skipped: bool, before: int
) -> list[Delivery]:
    """See DeliveryStore.newest."""
    wanted = "state = 'skipped'" if skipped else "true"
    rows = connection.execute(
        f"SELECT {_WITHOUT_CONTENT} FROM deliveries"  # noqa: S608 - as above
        f" WHERE {wanted} AND number < ? ORDER BY number DESC LIMIT ?",
        (before, limit),
    )
    return [_from_row(row) for row in rows]


def delegated_by(
    connection: sqlite3.Connection, owner: str
) -> list[tuple[int, Subscription | None]]:
    """See DeliveryStore.delegated_by."""
    rows = connection.execute(
        # Its intervals have the same request, or none any more.
        "SELECT nonce, max(request), max(request_sum) FROM deliveries"
        " WHERE delegated = 1 AND owner = ? AND generation = '1.x'"
        " GROUP BY nonce ORDER BY max(number) DESC LIMIT ?",
        (owner, _MAX_NONCES),
    )
    with checked_types():
        return [
            (nonce, _subscription_in(request) if stored in (None, checksum(request)) else None)
            for nonce, request, stored in rows
        ]


def _subscription_in(request: bytes) -> Subscription | None:
    """The subscription in a stored request; None when it is kept no longer, or is damaged."""
    try:
        return parse_signed(request).subscription if request else None
    except BadRequest:
        return None


def answer(connection: sqlite3.Connection, number: int) -> Payload:
    """The stored answer of a delivery. Raises Damaged."""
    row = connection.execute(
        "SELECT input, output, proof, answer_sum FROM deliveries WHERE number = ?", (number,)
    ).fetchone()
    input_, output, proof, stored_sum = row or (None, None, None, None)
    check(stored_sum, output, input_ or b"", proof or b"", what="The answer of a delivery")
    return Payload(input_ or b"", output or b"", proof or b"")


def insert(
    connection: sqlite3.Connection,
    delivery: Delivery,
    data: Buffer | None,
    max_data: int,
    first_number: int,
) -> tuple[int, Delivery | None]:
    """Store a new delivery: its number, or the known one that has its names, or NO_ROOM."""
    known = _newest_of_name(connection, delivery)
    if known is not None and not _may_be_repeated(connection, known):
        return 0, known
    if data and len(data) + delegated_data.total(connection) > max_data:
        return NO_ROOM, None
    (last,) = connection.execute("SELECT max(number) FROM deliveries").fetchone()
    number = max(first_number, (last or 0) + 1)
    connection.execute(
        "INSERT INTO deliveries (number, key, generation, anchor, owner, nonce, subscription_id,"
        " interval, containers, state, reason, verified, attempts, client, request, created_at,"
        " changed_at, delegated, request_sum, planned_interval, active_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            delivery.legacy_key,
            delivery.generation,
            delivery.anchor,
            delivery.owner,
            delivery.nonce,
            delivery.subscription_id,
            delivery.interval,
            ",".join(delivery.containers),
            delivery.state,
            delivery.reason,
            delivery.verified,
            delivery.attempts,
            delivery.client,
            delivery.request,
            delivery.created_at,
            delivery.changed_at,
            delivery.delegated,
            checksum(delivery.request),
            delivery.planned_interval,
            delivery.active_at,
        ),
    )
    if data is not None:
        delegated_data.write(connection, delivery.request_key, data)
    if number % _CHECK_EVERY == 0:
        _delete_excess(connection)
    return number, None


def _newest_of_name(connection: sqlite3.Connection, delivery: Delivery) -> Delivery | None:
    """The newest delivery that has the names of this one."""
    if delivery.delegated:
        where = "delegated = 1 AND owner = ? AND nonce = ?"
        names: tuple[Any, ...] = (delivery.owner, delivery.nonce)
    else:
        where = "delegated = 0 AND subscription_id = ? AND owner = ? AND active_at = ?"
        names = (delivery.subscription_id, delivery.owner, delivery.active_at)
    row = connection.execute(
        f"SELECT {_WITHOUT_ANSWER} FROM deliveries"  # noqa: S608 - our own text
        f" WHERE {where} AND planned_interval IS ? AND generation = ? AND anchor = ?"
        " ORDER BY number DESC LIMIT 1",
        (*names, delivery.planned_interval, delivery.generation, delivery.anchor),
    ).fetchone()
    return None if row is None else _from_row(row)


def _may_be_repeated(connection: sqlite3.Connection, delivery: Delivery) -> bool:
    """Whether a delivery is over without success; if so, its key is free afterwards.

    All its transactions are final then, and none of them delivered.
    """
    if delivery.state not in ("failed", "skipped") or delivery.planned_interval is not None:
        return False
    if _has_unfinished(connection, delivery):
        return False
    connection.execute(
        "UPDATE deliveries SET key = key || '~' || number WHERE number = ?", (delivery.number,)
    )
    return True


def update(connection: sqlite3.Connection, delivery: Delivery) -> bool:
    """Store the state of a delivery; returns whether it was unfinished before."""
    before = connection.execute(
        "SELECT state FROM deliveries WHERE number = ?", (delivery.number,)
    ).fetchone()
    connection.execute(
        "UPDATE deliveries SET subscription_id = ?, interval = ?, state = ?, reason = ?,"
        " verified = ?, attempts = ?, transaction_hash = ?, changed_at = ?, answered_by = ?"
        " WHERE number = ?",
        (
            delivery.subscription_id,
            delivery.interval,
            delivery.state,
            delivery.reason,
            delivery.verified,
            delivery.attempts,
            delivery.transaction_hash,
            delivery.changed_at,
            delivery.answered_by,
            delivery.number,
        ),
    )
    if delivery.state not in UNFINISHED:
        _end(connection, delivery)
    elif delivery.output is not None:
        connection.execute(
            "UPDATE deliveries SET input = ?, output = ?, proof = ?, answer_sum = ?"
            " WHERE number = ?",
            (
                delivery.input,
                delivery.output,
                delivery.proof,
                checksum(delivery.output, delivery.input, delivery.proof),
                delivery.number,
            ),
        )
    return before is not None and before[0] in UNFINISHED


def _end(connection: sqlite3.Connection, delivery: Delivery) -> None:
    """Delete what is not needed after the end of a delivery."""
    connection.execute(
        "UPDATE deliveries SET input = NULL, output = NULL, proof = NULL WHERE number = ?",
        (delivery.number,),
    )
    if delivery.planned_interval is not None:  # else the same request may come again
        connection.execute(
            "UPDATE deliveries SET request = x'', request_sum = NULL WHERE number = ?",
            (delivery.number,),
        )
    if delivery.delegated and not _has_unfinished(connection, delivery, "subscription_id IS NULL"):
        delegated_data.delete(connection, delivery.request_key)


def _has_unfinished(
    connection: sqlite3.Connection, delivery: Delivery, which: str = "true"
) -> bool:
    """Whether an interval of the same request is in work, of those that are asked for.

    Those of a subscription that is on the chain need no input: they ask their owner.
    """
    row = connection.execute(
        f"SELECT 1 FROM deliveries WHERE {_UNFINISHED} AND {which}"  # noqa: S608 - as above
        " AND delegated = 1 AND owner = ? AND nonce = ? AND generation = ? AND anchor = ?",
        (delivery.owner, delivery.nonce, delivery.generation, delivery.anchor),
    ).fetchone()
    return row is not None


def _delete_excess(connection: sqlite3.Connection) -> None:
    """Keep the newest of those that ended: clients could fill the disk within hours."""
    connection.execute(
        f"DELETE FROM deliveries WHERE NOT ({_UNFINISHED}) AND number <="  # noqa: S608 - as above
        f" (SELECT number FROM deliveries WHERE NOT ({_UNFINISHED})"
        " ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (_MAX_ENDED,),
    )


def prune(connection: sqlite3.Connection, number: int) -> None:
    """Delete deliveries that ended, up to a number."""
    # The newest stays: SQLite would give its number again, which names transactions.
    connection.execute(
        f"DELETE FROM deliveries WHERE NOT ({_UNFINISHED})"  # noqa: S608 - as above
        " AND number <= ?"
        " AND number < (SELECT max(number) FROM deliveries)",
        (number,),
    )
    _delete_excess(connection)
