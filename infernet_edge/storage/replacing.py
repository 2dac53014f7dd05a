"""Replaces files of the storage folder by prepared ones, all or none, also when the power is cut.

The new files are prepared in the folder `restoring` and synced. Renaming that to `restored-TIME`
decides: before, the folder is unchanged, after it, `finish` moves the present files to
`before-restore-TIME` and the new ones to their places. Each step of that can be repeated, and the
next start of the node does so if the power was cut. Nothing but the named files is touched, so it
works where the folder is the root of a disk, and for a user who may not write beside it.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Final

from infernet_edge.config.model import DATABASE

PREPARED: Final = "restoring"
"""The folder in which new files are prepared."""

_DECIDED = "restored-"
_KEPT = "before-restore-"
_OF_DATABASE = ("-wal", "-shm", ".damaged")


def prepare(folder: Path) -> Path:
    """An empty folder for the new files, in the storage folder. Blocks; raises OSError."""
    prepared = folder / PREPARED
    discard(folder)
    prepared.mkdir(mode=0o700)
    return prepared


def discard(folder: Path) -> None:
    """Remove what was prepared and not decided, if there is something. Blocks; raises OSError."""
    prepared = folder / PREPARED
    if prepared.is_symlink():
        prepared.unlink()
    elif prepared.exists():
        shutil.rmtree(prepared)


def replace(folder: Path) -> Path | None:
    """Put the prepared files into their places.

    Returns the folder with the previous ones, None when there were none. Only with the lock of the
    folder, while nothing has its files open. Blocks; raises OSError.
    """
    prepared = folder / PREPARED
    for path in prepared.iterdir():
        _sync(path)
    _sync(prepared)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name, number = moment, 1
    while (folder / f"{_KEPT}{name}").exists():
        number += 1
        name = f"{moment}-{number}"
    prepared.rename(folder / f"{_DECIDED}{name}")
    _sync(folder)
    finish(folder)
    kept = folder / f"{_KEPT}{name}"
    return kept if kept.exists() else None


def finish(folder: Path) -> None:
    """Finish what was decided, if a power cut interrupted it. Blocks; raises OSError."""
    for decided in sorted(folder.glob(f"{_DECIDED}*")):
        if decided.is_symlink() or not decided.is_dir():
            continue
        kept = folder / f"{_KEPT}{decided.name.removeprefix(_DECIDED)}"
        kept.mkdir(mode=0o700, exist_ok=True)
        owner = folder.stat()
        if os.geteuid() == 0:
            os.chown(kept, owner.st_uid, owner.st_gid)
        for new in sorted(decided.iterdir()):
            suffixes = ("", *_OF_DATABASE) if new.name == DATABASE else ("",)
            for suffix in suffixes:  # as long as the new one is not there, these are the old ones
                old = folder / f"{new.name}{suffix}"
                if old.exists():
                    old.rename(kept / old.name)
            _sync(kept)
            _sync(folder)
            new.rename(folder / new.name)
        _sync(folder)
        if not any(kept.iterdir()):
            kept.rmdir()
        decided.rmdir()
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
