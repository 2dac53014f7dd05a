"""Add a container to the text of a configuration file, or remove one; the rest stays as it is.

TOML is edited as text, so that comments, order and form are kept. Each result is decoded again and
compared with what is meant: what cannot be edited is refused, and nothing is written.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from infernet_edge.config.rendering import toml_value
from infernet_edge.errors import InfernetEdgeError

ADDED: Final = "# Added by infernet-edge add-service"
"""The beginning of the comment before a container that was added."""

_PART = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{},\n]"
    r"|[ \t\r]+"
    r"|[^\"'\#\[\]{},\n \t\r]+",
    re.DOTALL,
)


class EditFailed(InfernetEdgeError):
    """The file cannot be changed by this program; the text says why."""


class _Statement(NamedTuple):
    """A header or a key with its value; `start` and `end` are positions in the text."""

    start: int
    end: int
    is_header: bool
    decoded: dict[str, Any]


def add_container(text: str, suffix: str, container: Mapping[str, Any], comment: str = "") -> str:
    """The text of a file, .toml or .json by `suffix`, with one more container at the end."""
    document = _decode(text, suffix)
    containers = document.get("containers") or []
    if not isinstance(containers, list):
        raise EditFailed("containers is no list")
    expected = {**document, "containers": [*containers, dict(container)]}
    if suffix == ".json":
        return _as_json(expected, text)
    lines = [f"{ADDED}{comment and f': {comment}'}", "[[containers]]"]
    lines += [f"{name} = {toml_value(value)}" for name, value in container.items()]
    inline = _inline_list(text)
    made = []
    if inline is None or not containers:
        rest = text if inline is None else text[: inline.start] + text[inline.end :]
        ending = "\r\n" if "\r\n" in text else "\n"
        made.append(ending.join([*([rest.rstrip(), ""] if rest.strip() else []), *lines, ""]))
    else:
        end = text.rindex("]", inline.start, inline.end)
        for separator in ("", ","):
            item = f"{separator}\n  {toml_value(container)},\n"
            made.append(text[:end].rstrip(" \t") + item + text[end:])
    return _first_that_is(expected, made)


def remove_container(text: str, suffix: str, identifier: str) -> str:
    """The text without the container that has this id; KeyError when there is none."""
    document = _decode(text, suffix)
    containers = document.get("containers") or []
    positions = [
        position
        for position, each in enumerate(containers)
        if isinstance(each, dict) and each.get("id") == identifier
    ]
    if not positions:
        raise KeyError(identifier)
    position = positions[0]
    expected = {**document, "containers": containers[:position] + containers[position + 1 :]}
    if suffix == ".json":
        return _as_json(expected, text)
    inline = _inline_list(text)
    if inline is not None:
        return _first_that_is(expected, _without_item(text, inline, position))
    start, end = _table(text, position)
    before, after = text[:start], text[end:].lstrip("\r\n")
    if not after:
        ending = "\r\n" if "\r\n" in text else "\n"
        before = before.rstrip() + ending
    return _first_that_is(expected, [before + after])


def _first_that_is(expected: dict[str, Any], texts: list[str]) -> str:
    """The first text that stands for `expected`, in which an empty list may be missing."""
    without = {key: value for key, value in expected.items() if key != "containers" or value}
    for text in texts:
        try:
            found = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue
        if found in (expected, without):
            return text
    raise EditFailed("its form of containers is not one that this command can change")


def _decode(text: str, suffix: str) -> dict[str, Any]:
    decoded = tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    if not isinstance(decoded, dict):
        raise EditFailed("it is no object")
    return decoded


def _as_json(document: Mapping[str, Any], before: str) -> str:
    """The document as JSON with the indentation that the file had."""
    indented = re.search(r"\n([ \t]+)\"", before)
    return json.dumps(document, indent=indented[1] if indented else 2, ensure_ascii=False) + "\n"


def _statements(text: str) -> Iterator[_Statement]:
    """The statements of a valid TOML text, without white space and comments around them."""
    start, last, depth = -1, 0, 0
    for match in [*_PART.finditer(text), None]:
        part = match[0] if match else "\n"
        position = match.start() if match else len(text)
        if part == "\n" and depth == 0:
            if start >= 0:
                yield _statement(text, start, last)
            start = -1
        elif part[0] not in "# \t\r\n":
            start = position if start < 0 else start
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(part, 0)
            last = position + len(part)


def _statement(text: str, start: int, end: int) -> _Statement:
    is_header = text[start] == "["
    return _Statement(start, end, is_header, tomllib.loads(text[start:end]))


def _inline_list(text: str) -> _Statement | None:
    """The statement `containers = […]`, if the containers are in one."""
    for each in _statements(text):
        if each.is_header:
            return None
        if "containers" in each.decoded:
            return each
    return None


class _Item(NamedTuple):
    """An item of an inline list; `comma` is where the next comma or the end of the list is."""

    start: int
    end: int
    comma: int


def _items(text: str, inline: _Statement) -> list[_Item]:
    items: list[_Item] = []
    position = text.index("[", inline.start) + 1
    start, end, depth = -1, -1, 0
    for match in _PART.finditer(text, position, inline.end):
        part = match[0]
        if depth == 0 and part in (",", "]"):
            if start >= 0:
                items.append(_Item(start, end, match.start()))
            start = -1
            if part == "]":
                break
        elif part[0] not in "# \t\r\n":
            start, end = match.start() if start < 0 else start, match.end()
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(part, 0)
    return items


def _without_item(text: str, inline: _Statement, position: int) -> list[str]:
    """The text without one item of the list, and the comma after it or else before it."""
    items = _items(text, inline)
    if position >= len(items):
        return []
    start, end, comma = items[position]
    made = [text[:start] + text[comma + 1 :]] if text[comma] == "," else []
    if position:
        before = items[position - 1].comma
        made.append(text[:before] + text[before + 1 : start] + text[end:])
    return [*made, text[:start] + text[end:]]


def _table(text: str, position: int) -> tuple[int, int]:
    """Where the table of a container begins and ends, its own comment included."""
    headers = [each for each in _statements(text) if each.is_header]
    found = [n for n, each in enumerate(headers) if each.decoded.get("containers") == [{}]]
    if position >= len(found):
        raise EditFailed("its form of containers is not one that this command can change")
    first = found[position]
    following = (
        each
        for each in headers[first + 1 :]
        if "containers" not in each.decoded or each.decoded["containers"] == [{}]
    )
    start = _start_of_comment(text, headers[first].start, only_added=True)
    after = next(following, None)
    if after is not None:
        return start, _start_of_comment(text, after.start)
    last = [each.end for each in _statements(text)][-1]
    # What follows the container's last line after an empty line belongs to the file.
    rest = re.search(r"\n[ \t\r]*\n", text[last:])
    return start, last + rest.start() if rest and text[last:].strip() else len(text)


def _start_of_comment(text: str, header: int, *, only_added: bool = False) -> int:
    """Where the lines of comments directly before a header begin."""
    start = text.rfind("\n", 0, header) + 1
    first = start
    while start > 0:
        before = text.rfind("\n", 0, start - 1) + 1
        line = text[before : start - 1].strip()
        if not line.startswith("#"):
            break
        start = before
        if line.startswith(ADDED):
            first = start
    return first if only_added else start
