"""What is in a backup besides the database: the configuration, stored files, secrets on request."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from infernet_edge import __version__
from infernet_edge.backup.archive import (
    FORMAT,
    MAX_FILES,
    MAX_SMALL,
    PROGRAM,
    STORED_FILES,
    Manifest,
    Tables,
)
from infernet_edge.backup.redaction import configuration_name, redact
from infernet_edge.config.model import Config
from infernet_edge.config.paths import CREDENTIALS, LOADED_CREDENTIALS
from infernet_edge.config.rendering import to_json, to_toml
from infernet_edge.config.sources import read_file
from infernet_edge.config.values.relative_paths import Folders
from infernet_edge.errors import InfernetEdgeError

_MACHINE_ID = Path("/etc/machine-id")  # machine-id(5)


class CannotBackUp(InfernetEdgeError):
    """A backup is not possible; the text says why and what to do."""


class Contents(NamedTuple):
    """The files of an archive besides its database, and their manifest, without the tables.

    `places` is where the node has the files that belong into a backup, also those left out.
    """

    files: dict[str, bytes]
    manifest: Manifest
    places: frozenset[Path]

    def with_tables(self, tables: Mapping[str, Tables]) -> Manifest:
        """The manifest of an archive whose database has these tables."""
        return msgspec.structs.replace(self.manifest, tables=dict(tables))


def gather(
    config: Config,
    source: Path | None,
    environment: Mapping[str, str],
    *,
    with_secrets: bool = False,
) -> Contents:
    """Read what belongs into a backup; `source` is the configuration file, if there is one.

    With secrets the file is taken as it is, with all files that it names and the credentials.
    Blocks. Raises CannotBackUp, and ConfigurationError when the file cannot be read.
    """
    files: dict[str, bytes] = {}
    left_out: list[str] = []
    secrets: dict[str, str] = {}
    places = {config.storage_path / name for name in STORED_FILES}
    if source is not None:
        document, found, named = redact(read_file(source))
        if with_secrets:
            text = _read(source)
        else:
            render = to_toml if source.suffix == ".toml" else to_json
            text = render(document).encode()
            left_out += found
        files[configuration_name(source)] = text
        places.add(source)
        paths = [*_resolved(named, source, environment), *_credentials(environment)]
        places.update(paths)
        for path in dict.fromkeys(paths):
            if with_secrets:
                name = f"secrets/{len(secrets)}"
                files[name], secrets[name] = _read(path), str(_stored_at(path))
            else:
                left_out.append(str(_stored_at(path)))
    for name in STORED_FILES:
        path = config.storage_path / name
        if _exists(path):
            files[name] = _read(path)
    if len(files) > MAX_FILES - 3:
        raise CannotBackUp(f"There are more than {MAX_FILES - 3} files of secrets")
    manifest = Manifest(
        format=FORMAT,
        program=PROGRAM,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        host=socket.gethostname(),
        node=node_id(config.storage_path),
        storage=str(config.storage_path),
        configuration=None if source is None else str(source.absolute()),
        with_secrets=with_secrets,
        tables={},
        files=[],
        secret_files=secrets,
        left_out=left_out,
    )
    return Contents(files, manifest, frozenset(places))


def node_id(storage: Path) -> str:
    """Eight hex digits for the node of a machine with this storage folder.

    The id of the machine is confidential (machine-id(5)), so it is hashed.
    """
    try:
        machine = _MACHINE_ID.read_text("ascii", "replace").strip()
    except OSError:
        machine = socket.gethostname()
    return hashlib.sha256(f"{PROGRAM} {machine} {storage}".encode()).hexdigest()[:8]


def _resolved(named: Mapping[str, str], source: Path, environment: Mapping[str, str]) -> list[Path]:
    folders = Folders.of(source, environment)
    return [Path(folders.resolve(text, "read")[0]).expanduser() for text in named.values()]


def _credentials(environment: Mapping[str, str]) -> list[Path]:
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return []
    try:
        return sorted(path for path in Path(folder).iterdir() if path.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CannotBackUp(f"{folder} cannot be read ({error.strerror}): use sudo") from error


def _stored_at(path: Path) -> Path:
    """Where a secret is kept: systemd shows the running service copies of its credentials."""
    if path.parent == Path("/", LOADED_CREDENTIALS):
        return Path("/", CREDENTIALS, path.name)
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> CannotBackUp:
    return CannotBackUp(
        f"{path} cannot be read ({error.strerror}), and belongs into the backup. Run this as the"
        " node's user or with sudo, or correct the configuration"
    )


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CannotBackUp(f"{path} is no file, so it cannot be in a backup")
            content = file.read(MAX_SMALL + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > MAX_SMALL:
        raise CannotBackUp(f"{path} is larger than {MAX_SMALL} bytes; a backup does not contain it")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
