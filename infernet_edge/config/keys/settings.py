"""All settings in force, as a list: each with its source, and without secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import NODEFAULT, Struct

from infernet_edge.config.keys.changes import change_of
from infernet_edge.config.keys.old_names import old_name
from infernet_edge.config.keys.places import places
from infernet_edge.config.keys.types import unwrap
from infernet_edge.config.model import Config
from infernet_edge.config.rendering import Key, keys
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.sources import credential_keys, environment_keys
from infernet_edge.config.values.secret_texts import may_hold_secret

HIDDEN: Final = "hidden"
"""In place of a secret that is set."""

_MAX_DEPTH: Final = 5  # of lists and tables in a value


class Setting(Struct, frozen=True):
    """One key, such as "jobs.retention" or "containers[ID].image".

    `value` is "hidden" for a secret that is set.

    `source` is FILE:LINE, "environment", "credential" or "default"; `changes` says what puts
    another value in force: "reload" or "restart".
    """

    key: str
    value: Any
    default: Any
    source: str
    changes: str
    description: str


def settings(config: Config, file: Path | None, environment: Mapping[str, str]) -> list[Setting]:
    """The settings of a configuration; `file` is where it was read from. Blocks for a moment.

    The lines are those of the file as it is now; it may have been changed since.
    """
    source_of = _sources(file, environment)
    return list(_level(config, Config, "", source_of))


def _level(
    values: Struct,
    target: type[Struct],
    path: str,
    source_of: Callable[[str, str], str],
    shown: str = "",
) -> Iterator[Setting]:
    """The settings below a key: `path` is its place in the file, `shown` its name."""
    for key in keys(target):
        if not key.is_served:
            continue
        below = f"{path}.{key.name}" if path else key.name
        name = f"{shown}.{key.name}" if shown else key.name
        value = getattr(values, key.name)
        if key.table and value is not None:
            yield from _level(value, key.table, below, source_of, name)
        elif key.item_table and value:
            for number, item in enumerate(value):
                place, item_name = f"{below}[{number}]", f"{name}[{item.id}]"
                yield from _level(item, key.item_table, place, source_of, item_name)
        else:
            yield _setting(key, value, name, source_of(below, name))


def _setting(key: Key, value: Any, name: str, source: str) -> Setting:
    extra = unwrap(key.hint)[1]
    default = None if key.default is NODEFAULT else key.default
    return Setting(
        name,
        _shown(value, is_secret=bool(extra.get("secret"))),
        _shown(default, is_secret=False),
        source,
        change_of(name),
        key.description,
    )


def _shown(value: Any, *, is_secret: bool, depth: int = 0) -> Any:
    """A value without what is secret in it."""
    if isinstance(value, Secret) or (is_secret and not isinstance(value, dict)):
        return None if value is None or value == "" or value == [] else HIDDEN
    if isinstance(value, dict):
        if depth == _MAX_DEPTH:
            return HIDDEN
        return {
            str(name): _shown(
                each, is_secret=is_secret or may_hold_secret(str(name)), depth=depth + 1
            )
            for name, each in value.items()
        }
    if isinstance(value, list):
        if depth == _MAX_DEPTH:
            return HIDDEN
        return [_shown(each, is_secret=False, depth=depth + 1) for each in value]
    if isinstance(value, Struct):
        return {
            name: _shown(getattr(value, name), is_secret=False, depth=depth + 1)
            for name in value.__struct_fields__
        }
    if isinstance(value, str):
        return HIDDEN if may_hold_secret(value) else value
    return value


def _sources(file: Path | None, environment: Mapping[str, str]) -> Callable[[str, str], str]:
    lines: dict[str, int] = {}
    if file is not None:
        try:
            text = file.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError):  # it was readable at the start
            text = ""
        lines = places(text, toml=file.suffix == ".toml")
    from_environment = environment_keys(environment)
    credentials = credential_keys(environment)

    def source_of(path: str, name: str) -> str:
        if any(
            path == each or path.startswith((f"{each}.", f"{each}[")) for each in from_environment
        ):
            return "environment"
        line = lines.get(path) or lines.get(old_name(path))
        if line is not None:
            return f"{file}:{line}"
        credential = name.replace("[", ".").replace("]", "")
        if any(_is_in(each, credential) for each in credentials):
            return "credential"
        return "default"

    return source_of


def _is_in(path: str, table: str) -> bool:
    """Whether a key is this one, or below it."""
    return path == table or path.startswith((f"{table}.", f"{table}["))
