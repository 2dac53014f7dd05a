"""The lock of a storage folder, which one node holds: a second one would run the same jobs again.

The file `lock` is locked with flock(2), and names its owner: a process id, and the URL of its API
as soon as it has one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from infernet_edge.errors import StartupError

_NAME = "lock"
_MAX_OWNER = 1024  # bytes of the owner's text that are read


class FolderLock:
    """The lock of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._file is not None

    def acquire(self) -> None:
        """Lock the folder, which is created where it is missing; does nothing when it is held.

        Raises StartupError when another process holds it, OSError when the folder cannot be used.
        """
        if self._file is not None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(file)
            os.close(file)
            raise StartupError(
                f"This node runs already ({owner}its data is in {self._folder}). Look at it with:"
                " infernet-edge status. A second node needs another storage.path and server.port."
            ) from None
        self._file = file
        folder = self._folder.stat()
        if os.geteuid() == 0 and folder.st_uid != 0:  # a command as root: the node must open it too
            os.fchown(file, folder.st_uid, folder.st_gid)
        self.name_owner()

    def name_owner(self, url: str = "") -> None:
        """Write this process, and the URL of its API, into the file."""
        if self._file is None:
            return
        # Only for the error of a second node: a full disk does not matter.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()} {url}\n".encode(), 0)

    def release(self) -> None:
        """Unlock the folder; may be called twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_in_use(folder: Path) -> bool:
    """Whether a node has locked the folder. Does not wait; raises OSError."""
    try:
        lock = os.open(folder / _NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _owner(file: int) -> str:
    """The process and the URL that a locked file names, for an error; "" for an earlier version."""
    process, _, url = os.pread(file, _MAX_OWNER, 0).decode("utf-8", "replace").partition(" ")
    if not process.isdigit():
        return ""
    return f"process {process}, {url.strip()}; " if url.strip() else f"process {process}; "
