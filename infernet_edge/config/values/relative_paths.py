"""Make the relative paths of a configuration absolute, so that each command means the same file.

A path in a file is relative to the folder of that file. What the installed service writes is below
its state folder, the only one that it may write. A path from the environment is relative to the
working directory, as is one of the document of no file.

Earlier versions resolved all of them from the working directory: what is found only there is still
used, with a note, so that no node loses its database by an upgrade.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from infernet_edge.config.model import DATABASE
from infernet_edge.config.paths import SYSTEM_FILES

Use = Literal["read", "volume", "log", "storage"]
"""What a path is for: a file that is read, a volume, a file or a folder that the node writes."""

RELATIVE_TO_FILE: Final = "Relative paths are relative to the configuration file"
_SERVICE_DIRECTORY = Path("/")  # in which services start, systemd.exec(5)


class Folders(NamedTuple):
    """From where the relative paths of a configuration are resolved.

    `file` is the folder of the configuration file, `state` that of the service's data, and
    `working` is where earlier versions resolved them; each is None where there is none.
    """

    file: Path | None
    state: Path | None
    working: Path | None

    @classmethod
    def of(cls, file: Path | None, environment: Mapping[str, str]) -> Folders:
        """Those of a configuration file. Blocks for a moment."""
        try:
            working: Path | None = Path.cwd()
        except OSError:  # it was removed
            working = None
        if file is None:
            return cls(None, None, working)
        state = environment.get("STATE_DIRECTORY", "").split(":")[0]
        if state and file in SYSTEM_FILES:
            working = _SERVICE_DIRECTORY
        # Without symbolic links, as the working directory: a node is known by its storage's path.
        folder = Path(os.path.realpath(file.parent))
        return cls(folder, Path(state) if state else None, working)

    def resolve(self, text: str, use: Use) -> tuple[str, str]:
        """A path of the file as an absolute one, and a note, "" for none. Reads the disk.

        Absolute paths, those that begin with ~, and names of volumes are returned unchanged.
        """
        if use == "volume":
            source, separator, rest = text.partition(":")
            if "/" not in source and source not in (".", ".."):
                return text, ""  # a volume that Podman makes
            path, note = self._resolve(source, "read")
            return f"{path}{separator}{rest}", note
        return self._resolve(text, use)

    def _resolve(self, text: str, use: Use) -> tuple[str, str]:
        if self.file is None or not text or text.startswith(("/", "~")) or "\0" in text:
            return text, ""
        writes = use in ("log", "storage")
        if writes and self.state is not None:
            # No ".." leads out of it.
            new = self.state / os.path.normpath(f"/{text}").lstrip("/")
        else:
            new = self.file / text
        old = None if self.working is None else self.working / text
        try:
            if use == "storage":
                others = [old, self.file / text if self.state is not None else None]
                return _chosen_storage(new, [each for each in others if each is not None])
            if old is None or _is_same(old, new):
                return str(new), ""
            return _chosen(new, old, use)
        except OSError:  # a name that is too long, a loop of links: an error of the new path
            return str(new), ""


NO_FOLDERS: Final = Folders(None, None, None)
"""For a document of no file: relative paths stay as they are."""


def _chosen(new: Path, old: Path, use: Use) -> tuple[str, str]:
    """The path to use of the two, and the note."""
    if use == "log":
        if _is_writable(new.parent) or not _is_writable(old.parent):
            return str(new), ""
        why = f"this user cannot write to {new.parent}"
    elif _exists(new) or not _exists(old):
        return str(new), ""
    else:
        why = f"{new} does not exist"
    return str(old), (
        f"{old} of the working directory is used. {RELATIVE_TO_FILE}, but {why}: write an absolute"
        " path"
    )


def _chosen_storage(new: Path, others: list[Path]) -> tuple[str, str]:
    """The folder to use, and the note. The first of the others is where it was before."""
    found = [each for each in others if not _is_same(each, new) and _exists(each / DATABASE)]
    if not found:
        return str(new), ""
    old = found[0]
    if _exists(new / DATABASE) or old != others[0]:
        return str(new), (
            f"{new} is used. There is another database in {old}: if it is the right one, stop the"
            " node, and move its files there or write its absolute path"
        )
    return str(old), (
        f"the database in {old} is used. {RELATIVE_TO_FILE} now, which is {new}:"
        f' write path = "{old}", so that each command finds it; or stop the node and move its files'
    )


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _exists(path: Path) -> bool:
    """Also False for what this user may not see."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _is_writable(folder: Path) -> bool:
    """Whether this user can write into the folder, or make it."""
    there = next((each for each in (folder, *folder.parents) if _exists(each)), folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
