"""The database in a backup: what its tables are, and how it is read while no node runs."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from infernet_edge.backup.archive import Tables
from infernet_edge.backup.contents import CannotBackUp
from infernet_edge.errors import StorageError
from infernet_edge.storage.copying import check_database, open_copy
from infernet_edge.storage.damage import is_corrupt
from infernet_edge.storage.lock import FolderLock

_AT_ONCE = 256 * 2**10  # bytes
_START = "Start the node, which saves what can be read, and repeat this"


def tables_of(copy: Path) -> dict[str, Tables]:
    """The steps that ran on the tables of a copy, by owner; raises sqlite3.Error. Blocks."""
    connection = open_copy(copy)
    try:
        rows = connection.execute("SELECT owner, version, readable_since FROM schema_versions")
        return {owner: Tables(version, since) for owner, version, since in rows}
    finally:
        connection.close()


@contextlib.contextmanager
def offline_database(path: Path) -> Iterator[dict[str, Tables]]:
    """Within the block no node can start, and the file `path` has all that was committed.

    Gives its tables. Raises StartupError when a node has it, CannotBackUp. Blocks.
    """
    with _explained(path):
        if not path.exists():
            raise CannotBackUp(
                f"There is no database {path}, so there is nothing to back up. Name the"
                " configuration of the node with --config"
            )
    lock = FolderLock(path.parent)
    try:
        with _explained(path):
            with owned_like_folder(path.parent, "lock"):
                lock.acquire()
            if path.with_name(f"{path.name}.damaged").exists():
                raise CannotBackUp(f"{path} is damaged. {_START}")
            _finish_wal(path)
            check_database(path)
            tables = tables_of(path)
        yield tables
    finally:
        lock.release()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if is_corrupt(error):
            raise CannotBackUp(f"{path} is damaged ({error}). {_START}") from error
        raise CannotBackUp(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise CannotBackUp(
            f"{path} cannot be used ({error.strerror}). Run this as the node's user, or with sudo"
        ) from error


@contextlib.contextmanager
def owned_like_folder(folder: Path, *names: str) -> Iterator[None]:
    """Files that root makes there within the block belong to the owner of the folder.

    So the node can use them, which runs as another user. Raises OSError.
    """
    before = {name for name in names if (folder / name).exists()}
    yield
    for name in names:
        if name not in before:
            give_to_owner(folder / name, folder)


def give_to_owner(path: Path, folder: Path) -> None:
    """Let root's new file belong to whom a folder belongs to; raises OSError."""
    if os.geteuid() == 0 and path.exists():
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def content_of(path: Path) -> Iterator[bytes]:
    """The bytes of a file, in parts. Raises OSError."""
    with path.open("rb") as file:
        while part := file.read(_AT_ONCE):
            yield part


def _finish_wal(path: Path) -> None:
    """Copy what a killed node left in its WAL into the main file."""
    wal = path.with_name(f"{path.name}-wal")
    if not wal.exists() or not wal.stat().st_size:
        return
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    if busy:
        raise StorageError(f"Another program has {path} open; end it, and repeat this")
