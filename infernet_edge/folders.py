"""Temporary folders that other processes recognise as abandoned when their process was killed.

A process keeps a lock on its folder (flock(2)), which ends with the process. As long as the lock
is held, systemd-tmpfiles does not remove the folder, either (tmpfiles.d(5), "Age").
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

PREFIX = "infernet-edge-"
MARK = "temporary"  # a file in each folder that is useless without its process
_SOCKET = "podman.sock"
_ATTEMPTS = 5
# Versions without a mark: mkdtemp's name, and nothing in it except Podman's socket.
_UNMARKED = re.compile(rf"{PREFIX}[a-z0-9_]{{8}}")
_MAX_FOLDERS = 256  # folders that are checked in one call


class TemporaryFolder:
    """A new folder for this process only. Use it as a context manager, or call `remove()`.

    `parent` of None is the system's folder for temporary files. Does not wait; raises OSError.
    """

    def __init__(self, prefix: str = PREFIX, parent: str | None = None) -> None:
        self._lock: int | None = None
        for _ in range(_ATTEMPTS):
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            self._lock = _lock(self.path)
            if self._lock is not None:
                break
            # Another node took the lock first, to check whether the folder is abandoned, and may
            # remove it. So make another one.
            shutil.rmtree(self.path, ignore_errors=True)
        (self.path / MARK).touch()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove it with all that is in it. Blocks; may be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def abandoned_folders(others: Iterable[Path] = ()) -> list[Path]:
    """This user's folders whose processes were killed. Blocks.

    Searches where folders are made by default; `others` are further candidates.
    """
    found = []
    for path in _candidates(others):
        if (lock := _lock_if_abandoned(path)) is not None:
            os.close(lock)
            found.append(path)
    return found


def remove_abandoned_folders(others: Iterable[Path] = ()) -> list[Path]:
    """Remove the abandoned folders; returns those that were removed. Blocks."""
    removed = []
    for path in _candidates(others):
        lock = _lock_if_abandoned(path)
        if lock is None:
            continue
        try:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
        if not path.exists():
            removed.append(path)
    return removed


def runtime_folders() -> list[str]:
    """Folders in memory for this process or this user, the preferred one first (file-hierarchy(7)).

    Their paths are short, which sockets need.
    """
    environment = os.environ
    folders = [
        environment.get("RUNTIME_DIRECTORY", "").split(":")[0],
        environment.get("XDG_RUNTIME_DIR", ""),
    ]
    return [path for path in folders if path and os.access(path, os.W_OK | os.X_OK)]


def _candidates(others: Iterable[Path]) -> list[Path]:
    parents = dict.fromkeys([*runtime_folders(), tempfile.gettempdir()])
    found = [path for path in others if path.name.startswith(PREFIX)]
    for parent in parents:
        with contextlib.suppress(OSError):
            found += sorted(Path(parent).glob(f"{PREFIX}*"))[:_MAX_FOLDERS]
    return list(dict.fromkeys(found))


def _lock_if_abandoned(path: Path) -> int | None:
    """A lock on the folder, if it is this user's and no process holds it."""
    try:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return None
        if not _is_temporary(path):
            return None
        return _lock(path)
    except OSError:
        return None


def _is_temporary(path: Path) -> bool:
    names = {each.name for each in path.iterdir()}
    return MARK in names or (bool(_UNMARKED.fullmatch(path.name)) and names <= {_SOCKET})


def _lock(path: Path) -> int | None:
    """A descriptor with the lock; None when another process has it, or the folder is gone."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have removed the folder before the lock was taken.
        held = os.path.samestat(os.fstat(lock), path.lstat())
    except OSError:
        held = False
    if held:
        return lock
    os.close(lock)
    return None
