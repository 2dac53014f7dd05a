"""Disks and files that cannot be written, really made; each skips where that is not permitted."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def as_root(*command: str | Path) -> None:
    """Run a command that needs rights which root in a container may lack, too."""
    if os.geteuid() != 0:
        pytest.skip(f"{command[0]} needs root")
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        pytest.skip(f"{command[0]} is not permitted here: {done.stderr.strip()}")


def _undo(*command: str | Path) -> None:
    subprocess.run(command, capture_output=True, timeout=30, check=True)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A disk of `size` bytes, mounted at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    as_root("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield
    finally:
        _undo("umount", "--lazy", folder)


@contextlib.contextmanager
def read_only_mount(folder: Path) -> Iterator[None]:
    """What is in `folder`, on a disk that is mounted for reading only."""
    as_root("mount", "--bind", "-o", "ro", folder, folder)
    try:
        yield
    finally:
        _undo("umount", "--lazy", folder)


@contextlib.contextmanager
def immutable(*files: Path) -> Iterator[None]:
    """Files that even a program which has them open cannot write any more."""
    as_root("chattr", "+i", *files)
    try:
        yield
    finally:
        _undo("chattr", "-i", *files)


@contextlib.contextmanager
def no_more_than(pid: int, size: int) -> Iterator[None]:
    """Let no write of a process go beyond `size` bytes in a file: to it, the disk is full there."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
