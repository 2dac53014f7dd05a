"""Backups for tests: a small database, archives of it, and archives with any content."""

from __future__ import annotations

import io
import sqlite3
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from infernet_edge.backup.archive import FORMAT, PROGRAM, ArchiveWriter, Manifest, Tables
from infernet_edge.config.model import DATABASE
from infernet_edge.node import all_migrations
from infernet_edge.storage.migrations import migrate

MANIFEST = Manifest(
    format=FORMAT,
    program=PROGRAM,
    version="0.1.0",
    created="2026-11-27T10:00:00+00:00",
    host="pi",
    node="0123abcd",
    storage="/data",
    configuration=None,
    with_secrets=False,
    tables={"jobs": Tables(1, 0)},
    files=[],
)


def make_database(path: Path, rows: Sequence[int] = (), *, numbered: int = 0) -> Path:
    """A node's database, with a table `marks` of these rows, and in it `numbered` bytes more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    migrate(connection, path, all_migrations(chain=False))
    connection.execute("CREATE TABLE marks (n INTEGER PRIMARY KEY, text TEXT) STRICT")
    connection.executemany("INSERT INTO marks VALUES (?, ?)", [(n, "x" * numbered) for n in rows])
    connection.close()
    path.chmod(0o600)
    return path


def marks(path: Path) -> list[int]:
    """The rows of such a database; reads it as the node does, with its WAL."""
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT n FROM marks ORDER BY n")]
    finally:
        connection.close()


def make_archive(
    database: bytes, others: Mapping[str, bytes] | None = None, manifest: Manifest = MANIFEST
) -> bytes:
    """A whole archive."""
    output = io.BytesIO()
    writer = ArchiveWriter(output)
    for name, content in (others or {}).items():
        writer.add(name, len(content), [content])
    writer.add(DATABASE, len(database), [database])
    writer.finish(manifest)
    return output.getvalue()


def with_member(archive: bytes, member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    """An archive with one more member before all others, of any kind, header as it is."""
    header = member.tobuf(tarfile.GNU_FORMAT)
    return header + content + bytes(-len(content) % 512) + archive
