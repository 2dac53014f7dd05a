"""Write a configuration file: the chosen keys, and every other key as a comment.

Names, descriptions and defaults come from the model itself, so that none can be missing.
"""

from __future__ import annotations

import itertools
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from infernet_edge.config.keys.types import field_types, item_struct_of, struct_of, unwrap
from infernet_edge.config.model import Config
from infernet_edge.config.secret_files import Secret

_WIDTH = 80
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_INTRODUCTION = """\
The configuration of an infernet-edge node.

A line such as "#port = 4000" shows a key and its default \
(none, where nothing follows the "="). To change it, remove the "#" and \
write another value. Sizes are in bytes, times in seconds, money in wei."""


class Key(NamedTuple):
    """One key of the tree. `default` is NODEFAULT when a value is required."""

    name: str
    hint: Any
    default: Any
    description: str

    @property
    def table(self) -> type[Struct] | None:
        """The Struct that this key holds, if it holds one."""
        return struct_of(self.hint)

    @property
    def item_table(self) -> type[Struct] | None:
        """The Struct of the items, if this key holds a list of Structs."""
        return item_struct_of(self.hint)

    @property
    def is_served(self) -> bool:
        """Whether the key has an effect; keys without one are read from files that have them."""
        return bool(unwrap(self.hint)[1].get("served", True))


def keys(target: type[Struct]) -> list[Key]:
    """The keys of one level of the tree; those with further levels last, as TOML requires."""
    hints = field_types(target)
    found = []
    for field in msgspec.structs.fields(target):
        default = field.default
        if field.default_factory is not NODEFAULT:
            default = field.default_factory()
        found.append(Key(field.name, hints[field.name], default, _description(hints[field.name])))
    return sorted(found, key=lambda key: bool(key.table or key.item_table))


def to_toml(chosen: Mapping[str, Any]) -> str:
    """A TOML file with the `chosen` keys, and all others as comments."""
    lines = [*_comment(_INTRODUCTION), "", *_level(Config, chosen, "", live=True)]
    return "\n".join(lines).rstrip() + "\n"


def to_json(chosen: Mapping[str, Any]) -> str:
    """A JSON file with the `chosen` keys; JSON has no comments for the others."""
    return json.dumps(chosen, indent=2, ensure_ascii=False) + "\n"


def toml_value(value: Any) -> str:
    """One value of a configuration in TOML (toml.io, v1.0.0), on one line."""
    if isinstance(value, Mapping):
        pairs = (f"{_toml_key(str(name))} = {toml_value(item)}" for name, item in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    # Numbers, booleans and text are written as in JSON, except for the one control character that
    # JSON does not escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else toml_value(name)


def _level(target: type[Struct], chosen: Mapping[str, Any], path: str, *, live: bool) -> list[str]:
    lines: list[str] = []
    for key in keys(target):
        value = chosen.get(key.name)
        if value is None and not key.is_served:
            continue
        below = f"{path}.{key.name}" if path else key.name
        if key.table:
            lines += _table(key, key.table, value, below)
        elif key.item_table:
            lines += _list_of_tables(key, key.item_table, value or [], below)
        else:
            lines += [*_leaf(key, value, live=live), ""]
    return lines


def _table(key: Key, target: type[Struct], value: Any, path: str) -> Iterator[str]:
    # The header of an optional table would make its required keys mandatory.
    live = value is not None or key.default is not None
    yield from _comment(key.description)
    yield f"{'' if live else '#'}[{path}]"
    yield from _level(target, value or {}, path, live=live)


def _list_of_tables(key: Key, target: type[Struct], values: Any, path: str) -> Iterator[str]:
    yield from _comment(key.description)
    for value in values or [None]:
        yield f"{'' if value else '#'}[[{path}]]"
        yield from _level(target, value or {}, path, live=bool(value))


def _leaf(key: Key, value: Any, *, live: bool) -> list[str]:
    notes = [key.description]
    if key.default is NODEFAULT:
        notes.append("(required)")
    elif value is not None and key.default not in (None, "", [], {}):
        notes.append(f"(default: {toml_value(key.default)})")
    notes += _alternatives(key.hint)
    shown = toml_value(value) if value is not None else _placeholder(key)
    mark = "" if live and value is not None else "#"
    return [*_comment(" ".join(notes)), f"{mark}{key.name} = {shown}".rstrip()]


def _placeholder(key: Key) -> str:
    """The value shown for a key that was not chosen: its default, or an example."""
    if unwrap(key.hint)[0] is Secret:
        return '{ file = "/path/of/a/file" }'
    if key.default is NODEFAULT:
        return '""'
    return "" if key.default is None else toml_value(key.default)


def _alternatives(hint: Any) -> Iterator[str]:
    """The written form of list items that may be a Struct or a simpler value."""
    base = unwrap(hint)[0]
    items = get_args(base) if get_origin(base) is list else ()
    for choice in itertools.chain.from_iterable(get_args(item) for item in items):
        if isinstance(choice, type) and issubclass(choice, Struct):
            form = {key.name: key.default for key in keys(choice)}
            yield f"({choice.__name__}: {toml_value(form)})"


def _description(hint: Any) -> str:
    """The outermost description, which is the one closest to the key."""
    if get_origin(hint) is not Annotated:
        return ""
    notes = [note for note in get_args(hint)[1:] if isinstance(note, Meta)]
    return next((note.description for note in reversed(notes) if note.description), "")


def _comment(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.splitlines():
        wrapped = textwrap.wrap(
            paragraph, _WIDTH - 2, break_long_words=False, break_on_hyphens=False
        )
        lines += [f"# {line}" for line in wrapped] or ["#"]
    return lines
