"""What is to be done, as a list of steps: the same list is shown by --dry-run and carried out."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from infernet_edge.installer.commands import CommandFailed, Runner, must


class Step(NamedTuple):
    """One thing to do. `needed` returns whether it is still to be done.

    It is done, too, whenever one of the steps was that it `follows`. `shown` is its detail for
    --dry-run.
    """

    title: str
    needed: Callable[[], bool]
    perform: Callable[[], object]
    shown: str = ""
    follows: tuple[Step, ...] = ()


def carry_out(steps: Iterable[Step], log: Callable[[str], None], *, dry_run: bool = False) -> int:
    """Do the steps that are needed, and log each; returns how many there were."""
    done: list[Step] = []
    for step in steps:
        follows = any(each is other for each in step.follows for other in done)
        if not follows and not _is_needed(step, dry_run=dry_run):
            continue
        log(step.title)
        if dry_run:
            for line in step.shown.splitlines():
                log(f"    {line}".rstrip())
        else:
            step.perform()
        done.append(step)
    return len(done)


def _is_needed(step: Step, *, dry_run: bool) -> bool:
    try:
        return step.needed()
    except CommandFailed:
        if dry_run:  # as on a machine without systemd, where it is only shown
            return True
        raise


def write_file(
    path: Path, text: str, mode: int = 0o644, owner: str = "", *, shown: str | None = None
) -> Step:
    """A file with this content, mode and owner ("": the present user).

    `shown` stands for a content that holds secrets.
    """

    def needed() -> bool:
        try:
            return path.read_text("utf-8") != text or _differs(path, mode, owner)
        except (FileNotFoundError, UnicodeDecodeError):
            return True

    return Step(
        f"Write {path} (mode {mode:04o})",
        needed,
        lambda: replace_file(path, text, mode, owner),
        text if shown is None else shown,
    )


def make_folder(path: Path, mode: int = 0o755, owner: str = "") -> Step:
    """A folder with this mode and owner."""

    def perform() -> None:
        path.mkdir(parents=True, exist_ok=True)
        _hand_over(path, mode, owner)

    return Step(
        f"Make the folder {path} (mode {mode:04o})",
        lambda: not path.is_dir() or _differs(path, mode, owner),
        perform,
    )


def set_rights(path: Path, mode: int, owner: str) -> Step:
    """Mode and owner of a file that is there."""
    return Step(
        f"Give {path} to {owner or 'root'} (mode {mode:04o})",
        lambda: _differs(path, mode, owner),
        lambda: _hand_over(path, mode, owner),
    )


def make_link(path: Path, target: Path) -> Step:
    """A symbolic link; it changes from one target to the next without a moment without one."""

    def perform() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f".{path.name}.{os.getpid()}")
        made.unlink(missing_ok=True)
        made.symlink_to(target)
        made.replace(path)
        sync_folder(path.parent)

    return Step(
        f"Link {path} to {target}",
        lambda: not path.is_symlink() or path.readlink() != target,
        perform,
    )


def remove(path: Path) -> Step:
    """Nothing at this path, whatever was there."""

    def perform() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    return Step(f"Remove {path}", lambda: path.is_symlink() or path.exists(), perform)


def run_command(
    run: Runner,
    arguments: Sequence[str],
    needed: Callable[[], bool],
    follows: Iterable[Step] = (),
    timeout: float = 60,
) -> Step:
    """A program that has to succeed within `timeout` seconds."""
    return Step(
        f"Run {' '.join(arguments)}",
        needed,
        lambda: must(run(arguments, timeout), arguments),
        follows=tuple(follows),
    )


def never() -> bool:
    """For steps that only follow others."""
    return False


def _differs(path: Path, mode: int, owner: str) -> bool:
    status = path.stat()
    if stat.S_IMODE(status.st_mode) != mode:
        return True
    try:
        return bool(owner) and status.st_uid != pwd.getpwnam(owner).pw_uid
    except KeyError:  # no such user yet
        return True


def replace_file(path: Path, text: str, mode: int, owner: str = "") -> None:
    """Write a file whole or not at all, with its permissions from the first moment on, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}")
    made.unlink(missing_ok=True)
    try:
        made.touch(mode=0o600, exist_ok=False)
        with made.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _hand_over(made, mode, owner)
        made.replace(path)
        sync_folder(path.parent)
    finally:
        made.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk: after a power cut they are what they are now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hand_over(path: Path, mode: int, owner: str) -> None:
    if owner:
        shutil.chown(path, owner, owner)
    path.chmod(mode)
