"""What is known about damage of a database file, in files beside it.

`*.sqlite.damaged` is a mark: damage was found while the file was open, so that the next start has
to make a new file. `*.sqlite.corrupt-<seconds since 1970>` is a damaged file that is kept. When
there is only such a file, the making of the new one was interrupted.
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
# Damage for which there is no code: text that is none, of which Python says so itself, and a number
# in the file's header.
_CORRUPT_WORDS = ("Could not decode to UTF-8", "unsupported file format")
_OF_SQLITE = ("-wal", "-shm")
# One bit of a record's header makes a text of bytes, or NULL of a number. SQLite finds that when it
# checks all, or when the row is written again.
_WRONG_TYPE = 3091  # SQLITE_CONSTRAINT_DATATYPE (https://sqlite.org/rescode.html)


def is_corrupt(error: BaseException | None) -> bool:
    """Whether SQLite says that its file is damaged, or is none of its files."""
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
    """Take it for damage when a value that was read is of another type than its column's.

    For code that works with rows in a thread of the database.
    """
    try:
        yield
    except (TypeError, AttributeError, ValueError) as error:
        raise corrupt(f"a value of another type than its column's ({error})") from error


def mark(path: Path, reason: str) -> None:
    """Have the next start make a new file of `path`. Blocks; raises OSError."""
    # What SQLite says may hold text that is none.
    with _mark_of(path).open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{reason}\n")
        file.flush()
        os.fsync(file.fileno())


def find(path: Path) -> Path | None:
    """The damaged file of which a new one has to be made now; None when there is none.

    One that is marked gets its other name, which stands for the mark from then on. Blocks; raises
    OSError.
    """
    kept = _find(path)
    _mark_of(path).unlink(missing_ok=True)
    return kept


def _find(path: Path) -> Path | None:
    if (unfinished := _unfinished(path)) is not None:
        for suffix in _OF_SQLITE:  # an interruption may have left them behind
            file = path.with_name(path.name + suffix)
            if file.exists():
                file.rename(unfinished.with_name(unfinished.name + suffix))
        return unfinished
    marked = _mark_of(path)
    if marked.exists() and path.exists():
        return set_aside(path, marked.read_text("utf-8", "replace").strip())
    return None


def set_aside(path: Path, reason: str) -> Path:
    """Rename a damaged file; returns its new name. Blocks; raises OSError."""
    number = int(time.time())
    while (kept := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for suffix in ("", *_OF_SQLITE):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(kept.with_name(kept.name + suffix))
    log_event(logger, "database.set_aside", logging.ERROR, reason=reason, kept=str(kept))
    return kept


def _mark_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")


def _unfinished(path: Path) -> Path | None:
    if path.exists():
        return None
    kept = path.parent.glob(f"{path.name}.corrupt-*")
    files = [file for file in kept if not file.name.endswith(_OF_SQLITE)]
    return max(files, key=lambda file: (file.stat().st_mtime, file.name), default=None)
