"""The node as a standalone executable, made by PyInstaller with pyinstaller.spec.

It has two forms. The unpacked form is a folder: the program `infernet-edge`, and beside it the
libraries and data that it needs. The one-file form is that folder, packed: it unpacks it below
TMPDIR and starts the program there. So the running program is always in an unpacked folder, which
`unpack` copies to a permanent location.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

PROGRAM = "infernet-edge"
"""The name of the program in its folder."""

MARK = ".infernet-edge"
"""The name of a file in its folder: the first that the one-file form unpacks."""

FOLDER_PREFIX = "_MEI"
"""The names of folders into which the one-file form unpacks itself begin with it."""

# Variables that PyInstaller's bootloader passes to itself; another PyInstaller program that
# inherits them would behave as a part of this one.
_BOOTLOADER = "_PYI_"


def is_frozen() -> bool:
    """Whether this is the executable, and not the package run by a Python interpreter."""
    return bool(getattr(sys, "frozen", False))


def restore_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Undo what the bootloader did to the environment, so that child processes start without it.

    It points LD_LIBRARY_PATH into the bundle, whose libraries may not fit other programs, and saves
    the original in LD_LIBRARY_PATH_ORIG (PyInstaller manual, "Launching External Programs from the
    Frozen Application"). This process still finds its libraries: the loader has read the
    variable already. Only for the executable.
    """
    original = environment.pop("LD_LIBRARY_PATH_ORIG", None)
    environment.pop("LD_LIBRARY_PATH", None)
    if original is not None:
        environment["LD_LIBRARY_PATH"] = original
    for name in [name for name in environment if name.startswith(_BOOTLOADER)]:
        del environment[name]


def lock_folder() -> None:
    """Lock the folder's mark as long as this process lives, when the one-file form unpacked it.

    So the cleanup in unpacked.py detects that the folder is in use. The lock is shared: processes
    that the program starts from its own executable hold it, too.
    """
    folder = Path(sys.executable).parent
    if not is_frozen() or not folder.name.startswith(FOLDER_PREFIX):
        return
    import fcntl

    # A file system without locks is no risk: the cleanup then gets no lock and removes nothing.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder / MARK, os.O_RDONLY | os.O_CLOEXEC)  # never closed
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def unpack(folder: Path) -> Path:
    """Copy the unpacked form to `folder`; returns the path of the program in it.

    Works from both forms, for each user with permission to write to the parent folder; all users
    may read and run the result. The folder must not exist; it appears complete and on the disk, or
    not at all.
    Raises OSError: FileExistsError when there is such a folder, RuntimeError outside an executable.
    """
    if not is_frozen():
        raise RuntimeError("Only the executable can unpack itself, not the Python package.")
    # Not at the top: every start of the node imports this module, and needs neither.
    import shutil
    import tempfile

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        shutil.copytree(Path(sys.executable).parent, made, copy_function=shutil.copyfile)
        for path in [made, *made.rglob("*")]:
            runs = path.is_dir() or path.name == PROGRAM
            path.chmod(0o755 if runs else 0o644)
            _sync(path)
        if folder.exists():
            raise FileExistsError(f"{folder} exists already.")
        made.rename(folder)
    _sync(folder.parent)
    return folder / PROGRAM


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
