"""The steps that bring the tables of a database to this version.

A step that only adds (a table, an index, a column with a default or NULL) keeps the file readable
for earlier versions, so that an upgrade can be rolled back. Any other is `Breaking`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from infernet_edge.errors import StartupError


class Breaking(str):
    """A step after which versions that do not know it cannot work with the tables."""

    __slots__ = ()


Migrations = Mapping[str, Sequence[str]]
"""For each owner of tables its steps, in order."""


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    migrations: Migrations,
    *,
    up_to: Mapping[str, int] | None = None,
) -> None:
    """Run the steps that have not yet run on a file, in one transaction.

    `up_to` limits the number of steps of some owners. Raises StartupError when a newer version
    wrote the file, and this one cannot work with it.
    """
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_versions"
        " (owner TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT"
    )
    columns = [row[1] for row in connection.execute("PRAGMA table_info(schema_versions)")]
    if "readable_since" not in columns:
        connection.execute(
            "ALTER TABLE schema_versions ADD COLUMN readable_since INTEGER NOT NULL DEFAULT 0"
        )
        connection.execute("UPDATE schema_versions SET readable_since = version")
    known = {
        owner: (version, since)
        for owner, version, since in connection.execute(
            "SELECT owner, version, readable_since FROM schema_versions"
        )
    }
    for owner, all_steps in migrations.items():
        steps = all_steps[: (up_to or {}).get(owner)]
        version, since = known.get(owner, (0, 0))
        if since > len(all_steps):
            connection.execute("ROLLBACK")
            raise StartupError(
                f"The database {path} was written by a newer infernet-edge. Install that version"
                " again, or set storage.path to another folder."
            )
        for step in steps[version:]:
            connection.execute(step)
        if version < len(steps):
            since = readable_since(steps)
            connection.execute(
                "INSERT OR REPLACE INTO schema_versions VALUES (?, ?, ?)",
                (owner, len(steps), since),
            )
    connection.execute("COMMIT")


def readable_since(steps: Sequence[str]) -> int:
    """The minimum number of steps that a version must have to work with all of these."""
    breaking = [number for number, step in enumerate(steps, 1) if isinstance(step, Breaking)]
    return max(breaking, default=0)


def unreadable(connection: sqlite3.Connection, known: Mapping[str, int]) -> list[str]:
    """The owners whose tables a version with these numbers of steps cannot work with.

    Raises sqlite3.Error.
    """
    rows = connection.execute("SELECT owner, readable_since FROM schema_versions ORDER BY owner")
    return [owner for owner, since in rows if owner in known and since > known[owner]]


def versions_of(connection: sqlite3.Connection) -> dict[str, int]:
    """How many steps of each owner have run on a file; raises sqlite3.Error."""
    return dict(connection.execute("SELECT owner, version FROM schema_versions"))
