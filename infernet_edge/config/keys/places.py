"""In which line of a configuration file each key stands: decoders of TOML and JSON do not say it.

The file was read and decoded before, so it is valid; of a text that is not, the rest is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_MAX_DEPTH: Final = 20  # of tables and lists in a JSON file; a configuration has five
_JSON: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|\n|[^\s{}\[\]:,"]+')
_TOML: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
    r"|#[^\n]*|[{}\[\]=,.]|\n|[^\s{}\[\]=,.\"'#]+",
    re.DOTALL,
)


def places(text: str, *, toml: bool) -> dict[str, int]:
    """The line of each key, from 1; keys are paths such as "server.port", "containers[0].id"."""
    found: dict[str, int] = {}
    for path, line in _toml(text) if toml else _json(text):
        found.setdefault(path, line)
    return found


class _Open:
    """An object or a list whose end has not come: its path, and the path of its next value."""

    def __init__(self, path: str, *, is_list: bool) -> None:
        self.path = path
        self.is_list = is_list
        self.count = 0  # of items before the next one
        self.key = ""

    @property
    def next(self) -> str:
        return f"{self.path}[{self.count}]" if self.is_list else _below(self.path, self.key)


def _json(text: str) -> Iterator[tuple[str, int]]:
    line, last = 1, ""
    opened: list[_Open] = []
    for match in _JSON.finditer(text):
        part = match[0]
        if part == "\n":
            line += 1
        elif part in ("{", "["):
            path = opened[-1].next if opened else ""
            if path.endswith("]"):
                yield path, line
            opened.append(_Open(path, is_list=part == "["))
        elif not opened:
            return
        elif part in ("}", "]"):
            opened.pop()
        elif part == ",":
            opened[-1].count += 1
        elif part == ":":
            opened[-1].key = _unquoted(last)
            yield opened[-1].next, line
        else:
            last = part
        if len(opened) > _MAX_DEPTH:
            return


def _toml(text: str) -> Iterator[tuple[str, int]]:
    line, depth, table, brackets = 1, 0, "", ""
    key: list[str] = []  # the parts of the key or the header that is being read
    in_value = False
    counts: dict[str, int] = {}
    for match in _TOML.finditer(text):
        part, begins = match[0], line
        line += part.count("\n")
        if part == "\n":
            if not depth:
                in_value, key, brackets = False, [], ""
        elif part.startswith("#"):
            continue
        elif in_value:
            depth += (part in "[{") - (part in "]}")
        elif part == "[" and not key:
            brackets += part
        elif part == "]" and brackets:
            if key:  # the first of the closing brackets
                table = _header(".".join(key), counts, is_item=brackets == "[[")
                yield table, begins
            key = []
        elif part == "=" and key and not brackets:
            in_value = True
            for end in range(1, len(key) + 1):  # a dotted key makes tables
                yield _below(table, ".".join(key[:end])), begins
        elif part != ".":
            key.append(_unquoted(part))


def _header(path: str, counts: dict[str, int], *, is_item: bool) -> str:
    """The table that a header begins, with positions in lists of tables."""
    path = _with_positions(path, counts)
    if not is_item:
        return path
    counts[path] = counts.get(path, -1) + 1
    return f"{path}[{counts[path]}]"


def _with_positions(path: str, counts: dict[str, int]) -> str:
    """A header below the newest item of a list of tables, such as [containers.env]."""
    for name, number in counts.items():
        if path.startswith(f"{name}."):
            return f"{name}[{number}].{path[len(name) + 1 :]}"
    return path


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _unquoted(token: str) -> str:
    return token[1:-1] if token[:1] in ("'", '"') and len(token) > 1 else token
