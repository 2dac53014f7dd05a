"""The file of a backup: it gets its name when it is complete, and only its owner can read it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from infernet_edge.backup.contents import CannotBackUp

_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def check_name(path: Path, *, replace: bool) -> None:
    """Check that a new file can have this name; raises CannotBackUp."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise CannotBackUp(f"There is no folder {path.parent}; make it first") from None
        return
    except OSError as error:
        raise CannotBackUp(f"{path} cannot be used: {error.strerror}") from error
    if stat.S_ISDIR(found.st_mode):
        raise CannotBackUp(f"{path} is a folder; name a file in it, such as {path / 'edge.tar'}")
    if not stat.S_ISREG(found.st_mode):
        raise CannotBackUp(f"{path} is no regular file, so it is not replaced; choose another name")
    if not replace:
        raise CannotBackUp(f"{path} exists. Choose another name, or replace it with --force")


@contextlib.contextmanager
def new_file(path: Path, *, replace: bool = False) -> Iterator[BinaryIO]:
    """A file that is written within the block, and gets the name `path` at its end.

    Until then it is `.NAME.partial` beside it, which is removed when the block fails, and when a
    killed process left it. Raises CannotBackUp, OSError.
    """
    check_name(path, replace=replace)
    partial = path.with_name(f".{path.name}.partial")
    # From the moment when the file exists, an interrupt must find the block that removes it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        descriptor = _open_alone(partial)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _name(partial, path, replace=replace)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def explain(path: Path, error: OSError) -> str:
    """Why a file could not be written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk of {path} is full: {error.strerror}. Free space there"
    if error.errno == errno.EFBIG:
        return f"{path} cannot be that large on its disk (FAT32 allows 4 GiB): use another one"
    return f"{path} cannot be written: {error.strerror or error}"


def _open_alone(partial: Path) -> int:
    """A new file with this name, which only this process writes."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    for _ in range(2):
        descriptor = os.open(partial, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_size == 0 and _is_at(descriptor, partial):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise CannotBackUp(f"Another backup is being written to {partial}") from None
        except BaseException:
            os.close(descriptor)
            raise
        partial.unlink(missing_ok=True)  # a killed process left it
        os.close(descriptor)
    raise CannotBackUp(f"{partial} is in the way; remove it")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _name(partial: Path, path: Path, *, replace: bool) -> None:
    if replace:
        partial.replace(path)
        return
    try:
        os.link(partial, path)  # fails where a file was made meanwhile
    except FileExistsError:
        check_name(path, replace=False)
        raise
    except OSError:  # a file system without hard links, as on USB sticks
        check_name(path, replace=False)
        partial.rename(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot
            raise
    finally:
        os.close(descriptor)
