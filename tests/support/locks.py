"""Locks between test processes, which end with the process that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Let one process after the other into the block; `path` is a file that is made for that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def own_number(name: str, below: int) -> Iterator[int]:
    """Give a number that no other process of this machine has under this name."""
    with contextlib.ExitStack() as stack:
        for number in range(below):
            path = Path(tempfile.gettempdir(), f"infernet-edge-tests-{name}-{number}.lock")
            try:
                file = stack.enter_context(path.open("w"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield number
            return
    raise RuntimeError(f"All {below} numbers for {name} are taken.")
