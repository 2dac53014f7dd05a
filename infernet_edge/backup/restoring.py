"""Reads a backup, checks all of it, and puts it into a storage folder."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from infernet_edge import __version__
from infernet_edge.backup.archive import (
    CONFIGURATIONS,
    STORED_FILES,
    ArchiveSource,
    Manifest,
    Tables,
    UnusableArchive,
    Verification,
    read_archive,
)
from infernet_edge.backup.database import give_to_owner, tables_of
from infernet_edge.config.model import DATABASE
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.storage.copying import check_database, check_room
from infernet_edge.storage.damage import is_corrupt


class CannotRestore(InfernetEdgeError):
    """A backup cannot be restored here; the text says why and what to do."""


class Checked(NamedTuple):
    """A backup that was read and checked: its manifest, and its files except the database."""

    manifest: Manifest
    small: Verification

    @property
    def configuration(self) -> tuple[str, bytes] | None:
        """The name and the text of the configuration in it; None for a node without one."""
        return _configuration(self.small)


def extract(source: ArchiveSource, folder: Path, known: Mapping[str, int]) -> Checked:
    """Write the database of a backup into `folder`, and check the whole backup.

    `known` has the number of migrations of this version by owner. Blocks; raises UnusableArchive,
    CannotRestore, StorageError when the disk has no room, OSError.
    """
    checked = Verification()
    for opened in read_archive(source):
        if opened.name != DATABASE:
            checked.copy(opened, None)
            continue
        check_room(folder, opened.size)
        with open(folder / DATABASE, "xb", opener=_private) as file:
            checked.copy(opened, file)
    manifest = checked.finish()
    check_versions(manifest.version, manifest.tables, known)
    try:
        tables = tables_of(folder / DATABASE)
        check_database(folder / DATABASE, thorough=True)
    except sqlite3.Error as error:
        if not is_corrupt(error):
            raise CannotRestore(f"The database in it cannot be read: {error}") from error
        raise UnusableArchive(f"The database in it is damaged: {error}") from error
    check_versions(manifest.version, tables, known)
    for name in STORED_FILES:
        if (content := checked.small(name)) is not None:
            with open(folder / name, "xb", opener=_private) as file:
                file.write(content)
    return Checked(manifest, checked)


def check_versions(version: str, tables: Mapping[str, Tables], known: Mapping[str, int]) -> None:
    """Raise CannotRestore when this version cannot work with the tables of another one."""
    unknown = [
        owner
        for owner, each in sorted(tables.items())
        if owner in known and each.readable_since > known[owner]
    ]
    if unknown:
        raise CannotRestore(
            f"It was made by infernet-edge {version}, and this version, {__version__}, cannot read"
            f" its database ({', '.join(unknown)}). Install version {version} or a later one"
        )


def configuration_in(source: ArchiveSource) -> tuple[str, bytes] | None:
    """The configuration in an archive, which is read up to its database and not checked.

    Raises UnusableArchive, OSError.
    """
    found = Verification()
    for opened in read_archive(source):
        if opened.name == DATABASE:
            break
        found.copy(opened, None)
    return _configuration(found)


def hand_over(folder: Path, owner: Path) -> None:
    """As root, give the files in a folder, and it, to the owner of another; raises OSError."""
    for path in (folder, *folder.iterdir()):
        give_to_owner(path, owner)


def secret_files(checked: Checked, below: Path) -> Iterator[tuple[Path, bytes, bool]]:
    """The secrets in a backup: where each belongs, its content, whether it is written.

    Only what belongs below the folder of the configuration is, and is not there yet: an archive
    must not decide about other places.
    """
    folder = Path(os.path.realpath(below))
    for name, text in checked.manifest.secret_files.items():
        content = checked.small.small(name)
        path = Path(text)
        if content is None or "\0" in text or not path.is_absolute():
            raise UnusableArchive(f"The list of its secrets names {text[:100]!r}")
        real = Path(os.path.realpath(path))
        inside = real.is_relative_to(folder) and ".." not in path.parts
        yield path, content, inside and not os.path.lexists(path)


@contextlib.contextmanager
def new_files(files: Mapping[Path, bytes], owner: Path) -> Iterator[None]:
    """Files that only their owner can read; removed again when the block fails.

    Raises FileExistsError where there is one, OSError.
    """
    made: list[Path] = []
    try:
        for path, content in files.items():
            missing = [each for each in (path.parent, *path.parents) if not each.exists()]
            for folder in reversed(list(dict.fromkeys(missing))):
                folder.mkdir(mode=0o700)
                made.append(folder)
                give_to_owner(folder, owner)
            with open(path, "xb", opener=_private) as file:
                made.append(path)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            give_to_owner(path, owner)
        yield
    except BaseException:
        for path in reversed(made):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        raise


def decoded(text: bytes, name: str) -> dict[str, Any]:
    """The document of a configuration in an archive; raises UnusableArchive."""
    import tomllib  # only here: most restores read no configuration

    try:
        made = tomllib.loads(text.decode()) if name.endswith(".toml") else msgspec.json.decode(text)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise UnusableArchive(f"{name} cannot be read: {error}") from error
    if not isinstance(made, dict):
        raise UnusableArchive(f"{name} is no configuration")
    return made


def _configuration(found: Verification) -> tuple[str, bytes] | None:
    for name in CONFIGURATIONS:
        if (text := found.small(name)) is not None:
            return name, text
    return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
