"""Parse the subset of YAML 1.2 in which programs write CDI specifications, without a library.

Supported: block mappings and sequences, plain and quoted scalars on one line, and JSON's forms on
one line. Not supported: anchors, tags, aliases and texts of several lines. Every scalar is text.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_MAX_DEPTH = 32
_KEY = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s'"\[\]{}#&*!|>%@`,-][^#]*?|-[^\s#][^#]*?)\s*:(?:\s+|$)"""
)
_PLAIN_IN_FLOW = re.compile(r"[^,\[\]{}]*?(?=\s*(?:[,\]}]|:\s|:$|$))")
_QUOTED = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'""")
_REFUSED = re.compile(r"[&*!|>%@`]")


class UnsupportedYAML(ValueError):
    """The text is not YAML, or has a form that is not supported; the error names the line."""


class _Line(NamedTuple):
    number: int
    indent: int
    text: str


def parse(text: str) -> Any:
    """The document's mapping, sequence or text. Raises UnsupportedYAML."""
    lines = _lines(text)
    if not lines:
        return ""
    value, rest = _block(lines, 0, lines[0].indent, 0)
    if rest < len(lines):
        raise _error(lines[rest])
    return value


def _lines(text: str) -> list[_Line]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = _without_comment(line).rstrip()
        if not stripped.strip() or (stripped.startswith("---") and not stripped[3:].strip()):
            continue
        content = stripped.lstrip(" ")
        if content.startswith("\t") or stripped == "...":
            raise UnsupportedYAML(f"line {number}")
        found.append(_Line(number, len(stripped) - len(content), content))
    return found


def _without_comment(line: str) -> str:
    quote = ""
    for position, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and (not position or line[position - 1] in " [{,:"):
            quote = character
        elif character == "#" and (not position or line[position - 1] in " \t"):
            return line[:position]
    return line


def _error(line: _Line) -> UnsupportedYAML:
    return UnsupportedYAML(f"line {line.number}")


def _block(lines: list[_Line], at: int, indent: int, depth: int) -> tuple[Any, int]:
    """The value that begins in line `at`, and the index of the line after it."""
    line = lines[at]
    if depth > _MAX_DEPTH or line.indent != indent:
        raise _error(line)
    if line.text == "-" or line.text.startswith("- "):
        return _sequence(lines, at, indent, depth)
    if _KEY.match(line.text):
        return _mapping(lines, at, indent, depth)
    return _flow(line), at + 1


def _sequence(lines: list[_Line], at: int, indent: int, depth: int) -> tuple[list[Any], int]:
    values = []
    while at < len(lines) and lines[at].indent == indent:
        line = lines[at]
        if line.text != "-" and not line.text.startswith("- "):
            break
        rest = line.text[1:].lstrip(" ")
        if rest:  # text after the dash is parsed like a separate line with that indent
            inner = indent + len(line.text) - len(rest)
            lines[at] = _Line(line.number, inner, rest)
            value, at = _block(lines, at, inner, depth + 1)
        elif at + 1 < len(lines) and lines[at + 1].indent > indent:
            value, at = _block(lines, at + 1, lines[at + 1].indent, depth + 1)
        else:
            value, at = "", at + 1
        values.append(value)
    return values, at


def _mapping(lines: list[_Line], at: int, indent: int, depth: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    while at < len(lines) and lines[at].indent == indent:
        line = lines[at]
        match = _KEY.match(line.text)
        if match is None:
            break
        key, rest = _scalar(match[1], line), line.text[match.end() :]
        at += 1
        if rest:
            values[key] = _flow(_Line(line.number, indent, rest))
            continue
        following = lines[at] if at < len(lines) else None
        # A sequence may have the same indent as its key.
        inner = following and (
            following.indent > indent
            or (following.indent == indent and following.text.startswith("-"))
        )
        if following and inner:
            values[key], at = _block(lines, at, following.indent, depth + 1)
        else:
            values[key] = ""
    return values, at


def _flow(line: _Line) -> Any:
    if line.text[0] not in "[{":
        return _scalar(line.text, line)
    value, rest = _flow_value(line.text, line, 0)
    if rest.strip():
        raise _error(line)
    return value


def _flow_value(text: str, line: _Line, depth: int) -> tuple[Any, str]:
    text = text.lstrip()
    if depth > _MAX_DEPTH or not text:
        raise _error(line)
    if text[0] in "[{":
        return _flow_collection(text, line, depth)
    match = _QUOTED.match(text) if text[0] in "\"'" else _PLAIN_IN_FLOW.match(text)
    if match is None or not match[0]:
        raise _error(line)
    return _scalar(match[0], line), text[match.end() :].lstrip()


def _flow_collection(text: str, line: _Line, depth: int) -> tuple[Any, str]:
    is_list, closing = text[0] == "[", "]" if text[0] == "[" else "}"
    items: list[Any] = []
    pairs: dict[str, Any] = {}
    text = text[1:].lstrip()
    while not text.startswith(closing):
        value, text = _flow_value(text, line, depth + 1)
        if is_list:
            items.append(value)
        else:
            if not text.startswith(":") or not isinstance(value, str):
                raise _error(line)
            pairs[value], text = _flow_value(text[1:], line, depth + 1)
        if text.startswith(","):
            text = text[1:].lstrip()
        elif not text.startswith(closing):
            raise _error(line)
    return (items if is_list else pairs), text[1:].lstrip()


def _scalar(text: str, line: _Line) -> str:
    if text[0] in "\"'":
        match = _QUOTED.fullmatch(text)
        if match is None:
            raise _error(line)
        if text[0] == "'":
            return match[2].replace("''", "'")
        return re.sub(r"\\(.)", r"\1", match[1])
    if _REFUSED.match(text) or _KEY.search(text):
        raise _error(line)
    return text
