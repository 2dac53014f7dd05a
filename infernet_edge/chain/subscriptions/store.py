"""The subscriptions table: what contracts have asked of this node, and what became of each.

What the node serves is kept as long as it is served. Of the others, and of what has ended, only the
newest stay, so that the operator sees why something is not answered.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from infernet_edge.chain.contracts.abi import decode_subscription_v1, encode_subscription
from infernet_edge.chain.contracts.subscription import SubscriptionV1
from infernet_edge.clock import milliseconds
from infernet_edge.storage.database import Database

SubscriptionState = Literal[
    "active", "ignored", "completed", "cancelled", "expired", "removed", "failed"
]

MIGRATIONS: Final = (
    # `deployment` is the address of the registry. `content` is the subscription as its coordinator
    # gives it.
    """CREATE TABLE subscriptions (
        deployment TEXT NOT NULL, id INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
        content BLOB NOT NULL, containers TEXT NOT NULL, changed_at INTEGER NOT NULL,
        PRIMARY KEY (deployment, id)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX subscriptions_by_state ON subscriptions (deployment, state, id)",
    # How far the listener of a deployment is, the rules by which it has chosen, and the newest
    # block at that time.
    """CREATE TABLE listeners (
        deployment TEXT PRIMARY KEY, next_id INTEGER NOT NULL, rules TEXT NOT NULL,
        block INTEGER, hash TEXT
    ) STRICT, WITHOUT ROWID""",
)

LAST_ID: Final = 2**63 - 1
"""Greater than the id of each subscription that is stored."""

_KEPT: Final = 1000  # ignored ones, and as many that ended
_COLUMNS = "id, state, reason, content, containers, changed_at"


class KnownSubscription(Struct):
    """A subscription on the chain, as the node sees it; `changed_at` in milliseconds since 1970."""

    id: int
    subscription: SubscriptionV1
    containers: tuple[str, ...] = ()
    state: SubscriptionState = "active"
    reason: str = ""
    changed_at: int = 0


class SubscriptionStore:
    """Keeps the subscriptions of one deployment. All methods raise StorageError."""

    def __init__(self, database: Database, deployment: str) -> None:
        self._database = database
        self._deployment = deployment.lower()
        self.on_stored: Callable[[Sequence[KnownSubscription]], None] = lambda found: None
        """Called with subscriptions whose states were stored."""

    async def begin(self, first_id: int, rules: str) -> tuple[int, list[KnownSubscription]]:
        """The next id to read and the active subscriptions, oldest first.

        What other rules than these have chosen is deleted, and all is read again.
        """
        return await self._database.write(_begin, self._deployment, first_id, rules)

    async def mark(self) -> tuple[int, str] | None:
        """Number and hash of the head when something was read last."""
        return await self._database.read(_mark, self._deployment)

    async def save(
        self,
        found: Sequence[KnownSubscription],
        next_id: int | None = None,
        mark: tuple[int, str] | None = None,
    ) -> None:
        """Store the state of some subscriptions, together with the next id to read.

        `mark` is the head, by number and hash.
        """
        for each in found:
            each.changed_at = milliseconds()
        await self._database.write(_save, self._deployment, tuple(found), next_id, mark)
        self.on_stored(found)

    async def newest(
        self, limit: int, *, ignored: bool | None = False, before: int = LAST_ID
    ) -> list[KnownSubscription]:
        """The newest subscriptions, newest first: those that were or are served, or the others.

        `ignored` None: all of them. `before`: only smaller ids.
        """
        return await self._database.read(_newest, self._deployment, limit, ignored, before)


def _begin(
    connection: sqlite3.Connection, deployment: str, first_id: int, rules: str
) -> tuple[int, list[KnownSubscription]]:
    row = connection.execute(
        "SELECT next_id, rules FROM listeners WHERE deployment = ?", (deployment,)
    ).fetchone()
    if row is None or row[1] != rules:
        connection.execute("DELETE FROM subscriptions WHERE deployment = ?", (deployment,))
        connection.execute(
            "INSERT OR REPLACE INTO listeners (deployment, next_id, rules) VALUES (?, ?, ?)",
            (deployment, first_id, rules),
        )
        return first_id, []
    active = connection.execute(
        f"SELECT {_COLUMNS} FROM subscriptions"  # noqa: S608 - the columns are our own text
        " WHERE deployment = ? AND state = 'active' ORDER BY id",
        (deployment,),
    )
    return int(row[0]), [_from_row(each) for each in active]


def _mark(connection: sqlite3.Connection, deployment: str) -> tuple[int, str] | None:
    row = connection.execute(
        "SELECT block, hash FROM listeners WHERE deployment = ? AND block IS NOT NULL",
        (deployment,),
    ).fetchone()
    return None if row is None else (int(row[0]), str(row[1]))


def _from_row(row: tuple[Any, ...]) -> KnownSubscription:
    identifier, state, reason, content, containers, changed_at = row
    subscription = decode_subscription_v1(content)
    chain = tuple(containers.split(",")) if containers else ()
    return KnownSubscription(identifier, subscription, chain, state, reason, changed_at)


def _save(
    connection: sqlite3.Connection,
    deployment: str,
    found: tuple[KnownSubscription, ...],
    next_id: int | None,
    mark: tuple[int, str] | None,
) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO subscriptions"
        " (deployment, id, state, reason, content, containers, changed_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                deployment,
                each.id,
                each.state,
                each.reason,
                encode_subscription(each.subscription),
                ",".join(each.containers),
                each.changed_at,
            )
            for each in found
        ],
    )
    for states in ("state = 'ignored'", "state NOT IN ('active', 'ignored')"):
        connection.execute(
            f"DELETE FROM subscriptions WHERE deployment = ? AND {states}"  # noqa: S608 - our own
            f" AND id < (SELECT id FROM subscriptions WHERE deployment = ? AND {states}"
            " ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (deployment, deployment, _KEPT - 1),
        )
    if next_id is not None:
        connection.execute(
            "UPDATE listeners SET next_id = ?, block = ?, hash = ? WHERE deployment = ?",
            (next_id, *(mark or (None, None)), deployment),
        )


def _newest(
    connection: sqlite3.Connection, deployment: str, limit: int, ignored: bool | None, before: int
) -> list[KnownSubscription]:
    wanted = {True: "state = 'ignored'", False: "state != 'ignored'", None: "true"}[ignored]
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM subscriptions"  # noqa: S608 - our own text
        f" WHERE deployment = ? AND id < ? AND {wanted} ORDER BY id DESC LIMIT ?",
        (deployment, before, limit),
    )
    return [_from_row(each) for each in rows]
