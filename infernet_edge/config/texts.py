"""Texts that no path, host, command, environment variable or header can hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from infernet_edge.config.errors import Problem

EXPECTED = "UTF-8 text without NUL characters"


def flaw(text: str) -> str:
    """What is wrong with a text of the configuration, in words; "" when it can be used.

    The system's calls take no NUL, and UTF-8 has no lone surrogates: Python makes such of bytes
    in the environment that are not UTF-8 (PEP 383). The text is not shown: it may be a secret.
    """
    position = text.find("\0")
    if position >= 0:
        return f"text with a NUL character at position {position + 1}"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"text that is not UTF-8 at position {error.start + 1}"
    return ""


def flaws(value: Any, path: str) -> Iterator[Problem]:
    """The flaws of all texts in a decoded value, keys of objects included."""
    waiting = [(value, path)]
    while waiting:  # not recursive: the decoders accept deeper values than Python can recurse
        item, place = waiting.pop()
        if isinstance(item, str):
            if found := flaw(item):
                yield Problem(place, found, EXPECTED)
        elif isinstance(item, list):
            waiting += ((each, f"{place}[{n}]") for n, each in enumerate(item))
        elif isinstance(item, dict):
            for key, each in item.items():
                below = join(place, str(key))
                if found := flaw(str(key)):
                    yield Problem(below, f"a key that is {found}", EXPECTED)
                waiting.append((each, below))


def join(path: str, key: str) -> str:
    """The path of a key below `path`, printable whatever the key holds."""
    key = printable(key)
    return f"{path}.{key}" if path else key


def printable(text: str) -> str:
    """The text with all that is not printable in it as JSON writes it."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)
