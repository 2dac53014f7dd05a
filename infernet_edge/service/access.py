"""What the unit has to be let at because the configuration names it: a drop-in of the unit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from infernet_edge.config import Config, load
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.service.paths import Paths

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_PATH = re.compile(r"/[A-Za-z0-9._/+-]*")


class CannotGrant(InfernetEdgeError):
    """A name that a unit file cannot hold; the text says which."""


def drop_in(paths: Paths) -> str:
    """The text of the drop-in; "" when the unit needs none.

    Every file in the folder of credentials becomes a credential of its name, and the node may write
    to the folders of `storage.path` and `log.path`. Raises ConfigurationError, CannotGrant.
    """
    lines = [*_credentials(paths), *_folders(paths)]
    if not lines:
        return ""
    return "\n".join(["# Written by `infernet-edge service install`.", "[Service]", *lines, ""])


def environment(paths: Paths) -> dict[str, str]:
    """What systemd tells the node that the configuration depends on."""
    return {
        "STATE_DIRECTORY": str(paths.state),
        "CREDENTIALS_DIRECTORY": str(paths.credentials),
    }


def configuration(paths: Paths) -> Config | None:
    """The service's configuration; None when there is none. Raises ConfigurationError."""
    file = paths.configuration()
    return None if file is None else load(file, environment(paths)).config


def _credentials(paths: Paths) -> Iterator[str]:
    if not paths.credentials.is_dir():
        return
    for file in sorted(paths.credentials.iterdir()):
        if not _NAME.fullmatch(file.name):
            raise CannotGrant(
                f"{file}: the name of a credential has letters, digits and . _ - only, as in"
                " chain.wallet.private_key or server.tokens.phone. Rename it."
            )
        yield f"LoadCredential={file.name}:{file}"


def _folders(paths: Paths) -> Iterator[str]:
    config = configuration(paths)
    if config is None:
        return
    folders = {config.storage_path}
    if config.log.path:
        folders.add(Path(config.log.path).expanduser().parent)
    for folder in sorted(folders):
        if folder.is_relative_to(paths.state):
            continue
        if not _PATH.fullmatch(str(folder)):
            raise CannotGrant(
                f"The service cannot write to {folder}: give storage.path and log.path as"
                " absolute paths of letters, digits and . _ + -"
            )
        yield f"ReadWritePaths=-{folder}"
