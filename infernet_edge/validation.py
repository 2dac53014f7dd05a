"""msgspec's messages in plain words: the path, what was expected, what was found."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


_AT_ONCE = 64 * 2**10  # bytes decoded at a time: decoded text takes up to four times as many
_utf8 = codecs.getincrementaldecoder("utf-8")


def is_utf8(text: bytes | bytearray) -> bool:
    """Whether bytes are UTF-8."""
    return not_utf8_at(text) is None


def not_utf8_at(text: bytes | bytearray) -> int | None:
    """The offset of the first byte that is not UTF-8; None when all are."""
    if text.isascii():
        return None
    decoder, view = _utf8(), memoryview(text)
    for start in range(0, len(view), _AT_ONCE):
        pending = len(decoder.getstate()[0])  # of a character that is split
        try:
            decoder.decode(view[start : start + _AT_ONCE], start + _AT_ONCE >= len(view))
        except UnicodeDecodeError as error:
            return start - pending + error.start
    return None


class Mismatch(NamedTuple):
    """A value of the wrong type; `path` starts at the value that was decoded, e.g. `a[2].b`."""

    path: str
    expected: str
    found: str


def explain(message: str) -> Mismatch:
    """Parse the text of a msgspec.ValidationError."""
    text, _, where = message.partition(" - at `")
    path = where.rstrip("`").lstrip("$").lstrip(".")
    if missing := re.match(r"Object missing required field `(.+)`", text):
        path = f"{path}.{missing[1]}" if path else missing[1]
        return Mismatch(path, "a value", "nothing")
    expected, _, found = text.removeprefix("Expected ").partition(", got ")
    expected = re.sub(r"matching regex '.*'", "of letters, digits, '.', '_' and '-'", expected)
    return Mismatch(path, _translate(expected), _translate(found))


def words(names: str) -> str:
    """A type, or several with `|` between them, in plain words: "int" is "a whole number"."""
    return " or ".join(_WORDS.get(name.strip(), name.strip()) for name in names.split("|"))


def _translate(text: str) -> str:
    return re.sub(r"`([^`]+)`", lambda match: words(match[1]), text)
