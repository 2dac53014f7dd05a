"""Write YAML 1.2 in block style: mappings, lists, texts, numbers, booleans and null.

JSON is YAML too, so each text that is not plainly a text is written as in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9/_.-]*")
# Words that readers of YAML 1.1 take for something else than a text.
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_LITERAL: Final = re.compile(r"[^\s][^\n]*\n(?:[^\n]*\n)*")


def to_yaml(document: Mapping[str, Any]) -> str:
    """One document, without the line that separates it from others."""
    return "\n".join(_mapping(document)) + "\n"


def _mapping(value: Mapping[str, Any]) -> Iterator[str]:
    for name, item in value.items():
        key = _scalar(name)
        if isinstance(item, Mapping) and item:
            yield f"{key}:"
            yield from (f"  {line}" for line in _mapping(item))
        elif _is_list(item) and item:
            yield f"{key}:"
            yield from _list(item)
        elif isinstance(item, str) and _is_literal(item):
            yield f"{key}: |"
            yield from (f"  {line}" if line else "" for line in item[:-1].split("\n"))
        else:
            yield f"{key}: {_scalar(item)}"


def _list(values: Sequence[Any]) -> Iterator[str]:
    for item in values:
        if isinstance(item, Mapping) and item:
            first, *rest = _mapping(item)
            yield f"- {first}"
            yield from (f"  {line}" if line else "" for line in rest)
        else:
            yield f"- {_scalar(item)}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_literal(text: str) -> bool:
    """Whether a text of several lines can be written line by line."""
    return (
        bool(_LITERAL.fullmatch(text))
        and all(line.isprintable() and line == line.rstrip() for line in text[:-1].split("\n"))
        and not text.endswith("\n\n")
    )


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """A text in double quotes, with escapes of YAML 1.2, 5.7."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 2**16 else f"\\U{ord(char):08x}"
