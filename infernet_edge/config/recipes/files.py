"""Write configurations and their secrets, each whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from msgspec import Struct

from infernet_edge.config.recipes.recipe import Keys, takes_file
from infernet_edge.config.secret_files import read_secret

FOLDER: Final = "secrets"
"""The folder beside a configuration that contains a file for each secret of a recipe."""

_MAX_NAMES = 1000


class SecretFile(NamedTuple):
    """A secret that is to be written; `keys` lead to it in the configuration."""

    path: Path
    text: str
    keys: Keys


def move_secrets(
    config: dict[str, Any],
    secrets: Sequence[Keys],
    root: type[Struct],
    configuration: Path,
    given: Mapping[Keys, Path],
) -> tuple[list[SecretFile], list[Keys]]:
    """Replace secrets in `config` by references to files; changes it in place.

    `root` is its Struct. The files will be beside `configuration`, but a secret that was `given` as
    a file stays there. Returns the files to write, and the keys whose secrets remain in the
    configuration, since it takes no file there. Blocks.
    """
    files: list[SecretFile] = []
    remaining: list[Keys] = []
    for keys in secrets:
        parent: Any = config
        for key in keys[:-1]:
            parent = parent[int(key)] if isinstance(parent, list) else parent[key]
        if not takes_file(keys, root) or not isinstance(parent, dict):
            remaining.append(keys)
            continue
        path = given.get(keys)
        if path is None:
            text = str(parent[keys[-1]])
            named = ("containers", str(config["id"]), *keys) if "id" in config else keys
            path = _path_for(configuration.parent / FOLDER, named, text)
            files.append(SecretFile(path, text, keys))
        parent[keys[-1]] = {"file": str(path.absolute())}
    return files, remaining


def _path_for(folder: Path, keys: Keys, text: str) -> Path:
    """A name that is free: another configuration's secret is never replaced."""
    name = quote(".".join(keys), safe="")
    for number in range(1, _MAX_NAMES):
        path = folder / (name if number == 1 else f"{name}.{number}")
        if not path.exists() or _contains(path, text):
            return path
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder / name))


def _contains(path: Path, text: str) -> bool:
    try:
        return read_secret(path)[0] == text.strip()
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def written(files: Sequence[SecretFile], owner: os.stat_result | None = None) -> Iterator[None]:
    """Write secrets; those that did not exist are removed again when the block fails.

    Only their owner can read them: this user, or as root that of the configuration's `owner`.
    Raises OSError. Blocks.
    """
    made: list[Path] = []
    try:
        for each in files:
            if not each.path.parent.exists():
                each.path.parent.mkdir(mode=0o700, parents=True)
                _give(each.path.parent, owner)
            if not each.path.exists():
                made.append(each.path)
            _replace(each.path, each.text + "\n", 0o600, owner)
        yield
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def change(configuration: Path, text: str, files: Sequence[SecretFile] = ()) -> None:
    """Replace a configuration, and keep the previous one with the suffix .bak.

    Both have its owner and permissions. Raises OSError. Blocks.
    """
    before = configuration.stat()
    mode = before.st_mode & 0o777
    with written(files, before):
        _replace(backup_of(configuration), configuration.read_bytes(), mode, before)
        _replace(configuration, text, mode, before)


def backup_of(configuration: Path) -> Path:
    """Where the previous content of a configuration is kept."""
    return configuration.with_name(f"{configuration.name}.bak")


def _replace(path: Path, content: str | bytes, mode: int, owner: os.stat_result | None) -> None:
    """Write a file whole or not at all, with its permissions from the first moment on, durably."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    made.unlink(missing_ok=True)
    try:
        made.touch(mode=0o600, exist_ok=False)
        with made.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        _give(made, owner)
        made.chmod(mode)
        made.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        made.unlink(missing_ok=True)


def _give(path: Path, owner: os.stat_result | None) -> None:
    """As root, give it to the owner of the configuration: the node's user must be able to read."""
    if owner is not None and os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
