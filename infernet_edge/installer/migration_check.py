"""Whether a version can work with the database of another, and the copy for when it cannot."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import msgspec

from infernet_edge.errors import InfernetEdgeError
from infernet_edge.installer.commands import CommandFailed, Runner, must
from infernet_edge.installer.steps import sync_folder
from infernet_edge.installer.versions import Program
from infernet_edge.storage.migrations import unreadable

_TIMEOUT = 60.0  # seconds for a program to say its steps
_NO_SUCH_COMMAND = 2  # the exit code of wrong usage
_SPARE = 64 * 2**20  # bytes that have to stay free beside a copy
# What a node writes without having accepted anything.
_OWN_TABLES = ("schema_versions", "elapsed", "age_marks", "salvages", "chains")


class CannotCopy(InfernetEdgeError):
    """There is no room for a copy of the database; the text names how much is missing."""


class Steps(msgspec.Struct, frozen=True):
    """The steps that a version knows of one owner's tables, and how many have to be known."""

    steps: int
    readable_since: int


def steps_of(program: Program, run: Runner) -> dict[str, Steps]:
    """What a version reports of its migrations, by owner; empty for one that has no such command.

    Raises CommandFailed when it cannot say it: an upgrade without that could lose jobs.
    """
    command = [str(program.executable), "service", "migrations"]
    output = run(command, _TIMEOUT)
    if output.code == _NO_SUCH_COMMAND:
        return {}
    try:
        return msgspec.json.decode(must(output, command), type=dict[str, Steps])
    except msgspec.MsgspecError as error:
        raise CommandFailed(f"{' '.join(command)} printed something else: {error}") from None


def is_breaking(old: Mapping[str, Steps], new: Mapping[str, Steps]) -> bool:
    """Whether `old` cannot work with a database that `new` has migrated."""
    return any(new[owner].readable_since > old[owner].steps for owner in old.keys() & new.keys())


def unreadable_for(path: Path, known: Mapping[str, Steps]) -> list[str]:
    """The owners whose tables in this file a version cannot work with; blocks.

    A file that is not there, or cannot be read, has none: the node will say so.
    """
    # The node may have it open: nothing is to be written, the files beside it neither.
    how = "mode=ro" if len(_files(path)) > 1 else "immutable=1"
    address = f"{path.absolute().as_uri()}?{how}"
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(address, uri=True)) as connection,
    ):
        return unreadable(connection, {owner: each.steps for owner, each in known.items()})
    return []


def check_room(path: Path) -> None:
    """Raise CannotCopy when there is no room for a copy of the file beside it."""
    size = sum(file.stat().st_size for file in _files(path))
    missing = size + _SPARE - shutil.disk_usage(path.parent).free
    if missing > 0:
        raise CannotCopy(
            f"This version changes the database so that the present one could not read it, and"
            f" {path.parent} has no room for a copy ({missing // 2**20 + 1} MiB are missing)."
            " Nothing was changed. Make room and try again."
        )


def copy_for(path: Path, version: str) -> Path:
    """Where the copy of a database is that is made before a version migrates it."""
    return path.with_name(f"{path.name}.before-{version}")


def original_of(copy: Path) -> Path:
    """The database of which this is a copy, whatever the configuration has become."""
    return copy.with_name(copy.name.partition(".before-")[0])


def make_copy(path: Path, copy: Path) -> None:
    """Copy the file of a node that is stopped; the copy is whole and on the disk, or not there.

    Blocks. Raises OSError, sqlite3.Error.
    """
    part = copy.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(_of_stopped_node(path)) as source,
            contextlib.closing(sqlite3.connect(part)) as target,
        ):
            source.backup(target)
    except sqlite3.Error:
        part.unlink(missing_ok=True)
        raise
    status = path.stat()
    os.chown(part, status.st_uid, status.st_gid)
    part.chmod(0o600)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(copy)
    sync_folder(copy.parent)


def accepted_since(path: Path, copy: Path) -> int:
    """How many rows the file has, in tables of both, that its copy does not have; blocks.

    Raises sqlite3.Error.
    """
    count = 0
    with contextlib.closing(_of_stopped_node(path)) as connection:
        connection.execute("ATTACH ? AS copied", (str(copy),))
        for (table,) in connection.execute(
            "SELECT name FROM copied.sqlite_master WHERE type = 'table'"
            " AND name NOT LIKE 'sqlite_%' AND name IN (SELECT name FROM main.sqlite_master)"
        ).fetchall():
            if table in _OWN_TABLES:
                continue
            columns = connection.execute(f"PRAGMA copied.table_info({table})").fetchall()
            keys = ",".join(str(row[1]) for row in columns if row[5]) or "rowid"
            count += connection.execute(
                f"SELECT count(*) FROM (SELECT {keys} FROM main.{table}"  # noqa: S608 - its schema
                f" EXCEPT SELECT {keys} FROM copied.{table})"
            ).fetchone()[0]
    return count


def put_back(path: Path, copy: Path) -> None:
    """Put the copy in the place of the file of a node that is stopped. Blocks; raises OSError."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    copy.replace(path)
    sync_folder(path.parent)


def _of_stopped_node(path: Path) -> sqlite3.Connection:
    # What a node that was killed left in the WAL is read only by a connection that may write.
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=10)


def _files(path: Path) -> list[Path]:
    files = (path.with_name(path.name + suffix) for suffix in ("", "-wal"))
    return [file for file in files if file.exists()]
