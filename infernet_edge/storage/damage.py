"""Records damage of a database file in files beside it.

`*.sqlite.damaged` is a mark: damage was found while the file was open, and the next start has to
rebuild it. `*.sqlite.corrupt-<seconds since 1970>` is a damaged file in quarantine. When there is
only such a file, an earlier rebuild was interrupted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Damage without an error code of its own: text that is not UTF-8, which Python reports itself, and
# a wrong number in the file's header.
_CORRUPT_WORDS = ("Could not decode to UTF-8", "unsupported file format")
_OF_SQLITE = ("-wal", "-shm")
# One wrong bit in a record's header turns bytes into text, or a number into NULL. SQLite finds that
# in a check of the whole file, or when the row is written again.
_WRONG_TYPE = 3091  # SQLITE_CONSTRAINT_DATATYPE (https://sqlite.org/rescode.html)


def is_corrupt(error: BaseException | None) -> bool:
    """Whether an error of SQLite means that the file is damaged, or is not a database."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in _CORRUPT or code == _WRONG_TYPE:  # the low byte is the primary code
        return True
    return any(text in str(error) for text in _CORRUPT_WORDS)


def corrupt(reason: str) -> sqlite3.DatabaseError:
    """An error for which `is_corrupt` is true."""
    error = sqlite3.DatabaseError(f"malformed: {reason}")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


@contextlib.contextmanager
def checked_types() -> Iterator[None]:
    """Report damage when a value that was read has another type than its column.

    For code that works with rows in a thread of the database. Raises the error of `corrupt`.
    """
    try:
        yield
    except (TypeError, AttributeError, ValueError) as error:
        raise corrupt(f"a value of another type than its column's ({error})") from error


def mark(path: Path, reason: str) -> None:
    """Mark the file `path` as damaged: the next start rebuilds it. Blocks; raises OSError."""
    # SQLite quotes what it read, and that may be bytes that are not text.
    with _mark_of(path).open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{reason}\n")
        file.flush()
        os.fsync(file.fileno())


def find(path: Path) -> Path | None:
    """The damaged file that has to be rebuilt now; None when there is none.

    A file that is marked is renamed to its name in quarantine, which replaces the mark. Blocks;
    raises OSError.
    """
    kept = _find(path)
    # Only now: after a crash in between, the mark is still there and the search is repeated.
    _mark_of(path).unlink(missing_ok=True)
    return kept


def _find(path: Path) -> Path | None:
    if (unfinished := _unfinished(path)) is not None:
        for suffix in _OF_SQLITE:  # an interrupted rename may have left them
            file = path.with_name(path.name + suffix)
            if file.exists():
                file.rename(unfinished.with_name(unfinished.name + suffix))
        return unfinished
    marked = _mark_of(path)
    if marked.exists() and path.exists():
        return quarantine(path, marked.read_text("utf-8", "replace").strip())
    return None


def quarantine(path: Path, reason: str) -> Path:
    """Rename a damaged file and keep it; returns its new name. Blocks; raises OSError."""
    number = int(time.time())
    while (kept := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for suffix in ("", *_OF_SQLITE):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(kept.with_name(kept.name + suffix))
    log_event(logger, "database.quarantined", logging.ERROR, reason=reason, kept=str(kept))
    return kept


def _mark_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")


def _unfinished(path: Path) -> Path | None:
    if path.exists():
        return None
    kept = path.parent.glob(f"{path.name}.corrupt-*")
    files = [file for file in kept if not file.name.endswith(_OF_SQLITE)]
    return max(files, key=lambda file: (file.stat().st_mtime, file.name), default=None)
