"""A configuration without its secrets, as a backup contains it.

What is kept are the settings that this version knows and that hold no secret; all else is left out.
A secret is replaced by `MARKER`, with which the node does not start: it would be worse if a node
without its tokens served everybody. What names a file of a secret stays, as it holds none.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args, get_origin

from msgspec import Struct

from infernet_edge.config.keys.old_names import move_old_names
from infernet_edge.config.keys.types import field_types, item_struct_of, struct_of, unwrap
from infernet_edge.config.model import Config
from infernet_edge.config.recipes.recipe import sounds_secret, texts_of
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.values.secret_texts import may_hold_secret

MARKER: Final = {"file": "left-out-of-the-backup"}
"""Stands in the place of a secret; the error that it causes names the setting."""

_LOGIN_IN_URL = re.compile(r"://[^/\s@]*@")  # RFC 3986, 3.2.1
_QUERY_IN_URL = re.compile(r"://[^\s?#]*\?[^\s#]")  # 3.4; services take their keys there


class Redacted(NamedTuple):
    """A document without secrets; the settings whose values were left out; files with secrets."""

    document: dict[str, Any]
    left_out: list[str]
    files: dict[str, str]
    """By its setting the path of each file that the configuration names, as it is written there."""


def redact(document: dict[str, Any]) -> Redacted:
    """Remove the secrets from the decoded document of a configuration file."""
    document = copy.deepcopy(document)
    for _ in move_old_names(document):
        pass  # its notes are for who starts a node
    found = Redacted({}, [], {})
    found.document.update(_struct(document, Config, "", found))
    return found


def _struct(value: dict[str, Any], target: type[Struct], path: str, found: Redacted) -> Any:
    kept = {}
    for name, hint in field_types(target).items():
        item = value.get(name)
        base, extra = unwrap(hint)
        if item is None or not extra.get("served", True):
            continue
        below = f"{path}.{name}" if path else name
        table, item_table = struct_of(hint), item_struct_of(hint)
        if table is not None:
            if isinstance(item, dict):
                kept[name] = _struct(item, table, below, found)
        elif item_table is not None:
            kept[name] = [
                _struct(each, item_table, f"{below}[{number}]", found)
                for number, each in enumerate(item if isinstance(item, list) else [])
                if isinstance(each, dict)
            ]
        elif get_origin(base) is dict and _is_secret(get_args(base)[1], extra):
            pairs = item.items() if isinstance(item, dict) else ()
            kept[name] = {key: _secret(each, f"{below}.{key}", found) for key, each in pairs}
        elif _is_secret(hint, extra) or _mentions_secret(name, item):
            kept[name] = _secret(item, below, found)
        else:
            if extra.get("path") == "read" and isinstance(item, str):
                found.files[below] = item
            kept[name] = item
    return kept


def _is_secret(hint: Any, extra: dict[str, Any]) -> bool:
    base = unwrap(hint)[0]
    return bool(extra.get("secret")) or base is Secret or Secret in get_args(base)


def _secret(value: Any, path: str, found: Redacted) -> Any:
    if isinstance(value, dict) and set(value) == {"file"} and isinstance(value["file"], str):
        found.files[path] = value["file"]
        return value
    found.left_out.append(path)
    return dict(MARKER)


def _mentions_secret(name: str, value: Any) -> bool:
    """Whether a text has a login or a query in a URL, or a command an option such as --api-key."""
    return any(
        _LOGIN_IN_URL.search(text)
        or (name != "description" and _QUERY_IN_URL.search(text))
        or (name == "command" and _holds_secret(text))
        for text in texts_of(value)
    )


def _holds_secret(command: str) -> bool:
    return may_hold_secret(command) or any(map(_is_secret_option, command.split()))


def _is_secret_option(word: str) -> bool:
    name, separator, _ = word.partition("=")
    return (word.startswith("-") or bool(separator)) and sounds_secret(name.strip("-"))


def configuration_name(source: Path) -> str:
    """The name that the configuration has in an archive."""
    return f"configuration{'.toml' if source.suffix == '.toml' else '.json'}"


def same_kind(name: str, file: Path) -> bool:
    """Whether the configuration with this name in an archive can become this file."""
    return (Path(name).suffix == ".toml") == (file.suffix == ".toml")
