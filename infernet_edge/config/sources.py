"""The sources of a configuration: a file, environment variables, systemd credentials."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from infernet_edge.config.decoding import EnvironmentText
from infernet_edge.config.errors import ConfigurationError, Problem
from infernet_edge.config.keys.types import field_types, table_of, unwrap
from infernet_edge.config.model import Config
from infernet_edge.config.paths import FILES, SYSTEM_FILES
from infernet_edge.config.recipes.recognition import command_for, is_recipe
from infernet_edge.config.secret_files import MAX_SECRET, read_secret
from infernet_edge.config.texts import printable
from infernet_edge.config.values.json_errors import json_error, place_after

PREFIX = "INFERNET_EDGE_"
CLIENT_VARIABLES = frozenset({"INFERNET_EDGE_URL", "INFERNET_EDGE_TOKEN"})
"""Variables of commands that ask a node, which are no settings of one."""

_MAX_FILE = 4 * 2**20  # bytes; a configuration is a few kilobytes
_NAMED_CREDENTIALS = (
    "chain.wallet.private_key",
    "chain.wallet.keystore_password",
    "docker.password",
)


def find_file(path: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The configuration file to read; None when there is none and the defaults apply.

    The order: `path` (from --config), $INFERNET_CONFIG_PATH, the current folder,
    /etc/infernet-edge; in a folder config.json, then config.toml.
    A named file is returned even if it does not exist, so that its absence is reported. So is one
    of /etc/infernet-edge whose folder this user may not read, so that it is not ignored.
    """
    if path is not None:
        return path
    if named := environment.get("INFERNET_CONFIG_PATH"):
        return Path(named)
    here = next((file for file in map(Path, FILES) if _is_file(file, if_hidden=False)), None)
    if here is not None:
        return here
    return next((file for file in SYSTEM_FILES if _is_file(file, if_hidden=True)), None)


def _is_file(file: Path, *, if_hidden: bool) -> bool:
    """Whether it is a file; `if_hidden` when this user may not read its folder."""
    try:
        return file.is_file()
    except PermissionError:
        return if_hidden


def read_file(file: Path, *, recipe: bool = False) -> dict[str, Any]:
    """Decode a JSON or TOML file; raises ConfigurationError when that is impossible.

    A `recipe` must be one; otherwise it is an error, since its inputs have no values yet.
    """

    def wrong(found: str, expected: str) -> ConfigurationError:
        return ConfigurationError(str(file), [Problem("", found, expected)])

    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE + 1)
    except OSError as error:
        raise wrong(f"no readable file ({error.strerror})", "a JSON or TOML file") from error
    if len(content) > _MAX_FILE:
        raise wrong(f"more than {_MAX_FILE} bytes", "a JSON or TOML file")
    kind = "TOML" if file.suffix == ".toml" else "JSON"
    try:
        text = content.decode("utf-8-sig")
        decoded = tomllib.loads(text) if file.suffix == ".toml" else msgspec.json.decode(text)
    except UnicodeDecodeError as error:
        place = place_after(content[: error.start].decode("utf-8-sig"))
        raise wrong(f"bytes that are not UTF-8 at {place}", f"a {kind} file in UTF-8") from error
    except (msgspec.DecodeError, ValueError) as error:  # TOMLDecodeError too, which has the place
        why = f"({error})" if kind == "TOML" else json_error(text, str(error))
        raise wrong(f"something that is not {kind} {why}", f"a {kind} file") from error
    except RecursionError as error:
        raise wrong("values nested too deeply", "a configuration") from error
    if not isinstance(decoded, dict):
        raise wrong("no object", "an object with the keys of the configuration")
    if is_recipe(decoded) != recipe:
        if recipe:
            raise wrong("no recipe", 'an object with the keys "config" and "inputs"')
        expected = f"a configuration: make one with {command_for(decoded, file)}"
        raise wrong("a recipe, whose inputs have no values yet", expected)
    return decoded


def apply_environment(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Override values of the file by variables such as `INFERNET_EDGE_SERVER__PORT=4001`.

    The keys of the configuration match in any case; keys that the user chooses, such as the names
    of a container's variables, are kept as they are written.
    """
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in CLIENT_VARIABLES:
            keys = _keys(name.removeprefix(PREFIX).split("__"))
            _put(document, keys, EnvironmentText(environment[name]))


def environment_keys(environment: Mapping[str, str]) -> list[str]:
    """The keys that variables set, as paths such as "containers[0].image"."""
    names = sorted(name for name in environment if name.startswith(PREFIX))
    found = []
    for name in names:
        path = ""
        for step in _keys(name.removeprefix(PREFIX).split("__")):
            path += f"[{step}]" if step.isdigit() else f".{step}" if path else step
        found.append(path)
    return found


def credential_keys(environment: Mapping[str, str]) -> list[str]:
    """The names of the systemd credentials that are here; those of containers have their ids."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    try:
        return [file.name for file in _credentials_in(Path(folder))] if folder else []
    except ConfigurationError:  # which the start reported
        return []


def _keys(steps: list[str]) -> list[str]:
    keys: list[str] = []
    hint: Any = Config
    for step in steps:
        base = unwrap(hint)[0]
        if (table := table_of(base)) is not None:
            keys.append(step.lower())
            hint = field_types(table).get(step.lower())
        else:
            keys.append(step)
            hint = get_args(base)[-1] if get_args(base) else None
    return keys


def apply_credentials(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Set secrets that the file does not set from systemd credentials.

    See LoadCredential in systemd.exec(5). The name of a credential is its key:
    `chain.wallet.private_key`, `chain.wallet.keystore_password`, `docker.password`,
    `server.tokens.<name>`, `containers.<id>.bearer`.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return
    for file in _credentials_in(Path(folder)):
        keys = file.name.split(".")
        if file.name in _NAMED_CREDENTIALS:
            _put(document, keys, _read_credential(file), replace=False)
        elif keys[:2] == ["server", "tokens"] and len(keys) > 2:
            _put_token(document, ".".join(keys[2:]), _read_credential(file))
        elif keys[0] == "containers" and keys[-1] == "bearer":
            identifier = ".".join(keys[1:-1])
            for container in document.get("containers") or []:
                if isinstance(container, dict) and container.get("id") == identifier:
                    container.setdefault("bearer", _read_credential(file))


def _put_token(document: dict[str, Any], name: str, text: str) -> None:
    """Set a token that the file does not set; the file may have its scope and its expiry."""
    path = ["server", "tokens", name]
    server = document.get("server")
    tokens = server.get("tokens") if isinstance(server, dict) else None
    present = tokens.get(name) if isinstance(tokens, dict) else None
    if isinstance(present, dict) and "file" not in present:
        path.append("token")
    _put(document, path, text, replace=False)


def _credentials_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        found = f"credentials that cannot be read ({error.strerror})"
        problem = Problem("", found, "a folder that the node's user can read")
        raise ConfigurationError(str(folder), [problem]) from error


def _read_credential(file: Path) -> str:
    try:
        return read_secret(file)[0]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        found = f"a credential that cannot be read ({reason})"
        expected = f"a readable text file of at most {MAX_SECRET} bytes"
        problem = Problem(printable(file.name), found, expected)
        raise ConfigurationError(str(file), [problem]) from None


def _put(document: dict[str, Any], keys: list[str], value: Any, *, replace: bool = True) -> None:
    """Set the value at a path of keys and list positions; creates objects that are missing."""
    parent: Any = document
    for key in keys[:-1]:
        if isinstance(parent, list):
            if not key.isdigit() or int(key) >= len(parent):
                return
            parent = parent[int(key)]
        elif isinstance(parent, dict):
            if parent.get(key) is None:
                parent[key] = {}
            parent = parent[key]
        else:
            return
    last = keys[-1]
    if isinstance(parent, dict):
        if replace or not parent.get(last):
            parent[last] = value
    elif isinstance(parent, list) and last.isdigit() and int(last) < len(parent):
        parent[int(last)] = value
