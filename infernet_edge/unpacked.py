"""The folders below TMPDIR into which the one-file form of the executable unpacked itself.

The bootloader removes its folder when the program has ended. When both are killed, the folder and
its 28 MB stay; so does a partial one when there is no space for all of it. The next start of the
node removes it and the doctor reports it, but only when it certainly belongs to this program and
user, and is not in use:

- The bootloader's process id is in the folder's name. While that process lives, it unpacks, or the
  program runs.
- The program continues when only the bootloader is killed. It locks a file, see executable.py.
- Between the two the program is being started: its environment names the folder.

Found in PyInstaller 6.22: pyi_utils_posix.c (folders, name) and pyi_main.c (environment).
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from infernet_edge.executable import FOLDER_PREFIX, MARK, is_frozen

_NAME = re.compile(FOLDER_PREFIX + r"([0-9a-f]{8})[A-Za-z0-9]{6}")
_NAME_ANYWHERE = re.compile(FOLDER_PREFIX + r"[0-9a-f]{8}[A-Za-z0-9]{6}")
_VARIABLES = ("TMPDIR", "TEMP", "TMP")
_FOLDERS = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - where the bootloader unpacks
_MAX_ENTRIES = 100_000  # of a folder for temporary files that are checked
_MAX_ENVIRONMENT = 4 * 2**20  # bytes of a process's environment
_PAUSE = 0.1  # seconds; a process that was just started has no environment for a moment


def abandoned(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> list[Path]:
    """The folders that killed programs of this user left. Blocks."""
    return _visit(environment, root, remove=False)


def remove_abandoned(
    environment: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> list[Path]:
    """Remove these folders; returns those removed. Blocks, 0.1 s longer if there are any."""
    return _visit(environment, root, remove=True)


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder. Blocks."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(file.stat().st_size for file in itertools.islice(files, _MAX_ENTRIES))


def _parents(environment: Mapping[str, str], root: Path) -> set[Path]:
    """The folders in which the bootloader creates its folders."""
    named = [Path(environment[name]) for name in _VARIABLES if environment.get(name)]
    standard = [root / folder.lstrip("/") for folder in _FOLDERS]
    own = [Path(sys.executable).parent.parent] if is_frozen() else []
    found = set()
    for parent in (*named, *standard, *own):
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError of a loop of links
            found.add(parent.resolve(strict=True))
    return found


def _visit(environment: Mapping[str, str], root: Path, *, remove: bool) -> list[Path]:
    paths = sorted(path for parent in _parents(environment, root) for path in _candidates(parent))
    if not paths:
        return []
    used = _names_in_use()
    time.sleep(_PAUSE)
    used |= _names_in_use()
    done = []
    for path in paths:
        if path.name not in used:
            with contextlib.suppress(OSError):  # it is locked, gone, or another user's
                if _is_abandoned(path, remove=remove):
                    done.append(path)
    return done


def _candidates(parent: Path) -> Iterator[Path]:
    """The folders, of any user, whose bootloader has ended."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in itertools.islice(entries, _MAX_ENTRIES):
            if (named := _NAME.fullmatch(entry.name)) and not _is_alive(int(named[1], 16)):
                yield parent / entry.name


def _is_abandoned(path: Path, *, remove: bool) -> bool:
    """Whether no process needs the folder any more; removes it when `remove` is set."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC  # a link is never followed
    with contextlib.ExitStack() as stack:
        parent = _open(stack, path.parent, flags | os.O_DIRECTORY)
        folder = _open(stack, Path(path.name), flags | os.O_DIRECTORY, parent)
        if not _is_private(folder):
            return False
        mark = _open(stack, Path(MARK), flags | os.O_NONBLOCK, folder)
        if not stat.S_ISREG(os.fstat(mark).st_mode):
            return False
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError: a program holds it
        if remove:
            shutil.rmtree(path.name, dir_fd=parent)
        return True


def _open(stack: contextlib.ExitStack, path: Path, flags: int, parent: int | None = None) -> int:
    descriptor = os.open(path, flags, dir_fd=parent)
    stack.callback(os.close, descriptor)
    return descriptor


def _is_private(folder: int) -> bool:
    """Whether it is this user's with permissions for this user only, as mkdtemp(3) makes it."""
    status = os.fstat(folder)
    return status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == stat.S_IRWXU


def _is_alive(number: int) -> bool:
    """Whether a bootloader of this user may still run; its number may be another process's now."""
    process = Path(f"/proc/{number}")
    try:
        state = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        # A zombie (Z) or dead process (X) has ended, proc_pid_stat(5).
        return state not in "ZX" and process.stat().st_uid == os.geteuid()
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self").exists()  # without /proc, assume that it runs


def _names_in_use() -> set[str]:
    """The names of folders from which processes of this user run, or are being started."""
    names: set[str] = set()
    for process in Path("/proc").iterdir():
        # Processes end meanwhile; one that cannot be read holds the lock, if it is this program.
        with contextlib.suppress(OSError):
            if process.name.isdigit() and process.stat().st_uid == os.geteuid():
                names.update(_NAME_ANYWHERE.findall(str((process / "exe").readlink())))
                with (process / "environ").open("rb") as environment:
                    text = environment.read(_MAX_ENVIRONMENT).decode("utf-8", "replace")
                names.update(_NAME_ANYWHERE.findall(text))
    return names
