"""Check texts for content that is invalid in paths, hosts, commands, variables and headers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from infernet_edge.config.errors import Problem

EXPECTED = "UTF-8 text without NUL characters"


def flaw(text: str) -> str:
    """Why a text of the configuration is invalid; "" when it is valid.

    System calls accept no NUL, and UTF-8 has no lone surrogates: Python decodes bytes of the
    environment that are not UTF-8 to those (PEP 383). The text is not shown: it may be a secret.
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
    pending = [(value, path)]
    while pending:  # not recursive: the decoders accept deeper values than Python can recurse
        item, at = pending.pop()
        if isinstance(item, str):
            if found := flaw(item):
                yield Problem(at, found, EXPECTED)
        elif isinstance(item, list):
            pending += ((each, f"{at}[{n}]") for n, each in enumerate(item))
        elif isinstance(item, dict):
            for key, each in item.items():
                below = join(at, str(key))
                if found := flaw(str(key)):
                    yield Problem(below, f"a key that is {found}", EXPECTED)
                pending.append((each, below))


def join(path: str, key: str) -> str:
    """The path of a key below `path`, with characters that are not printable escaped."""
    key = printable(key)
    return f"{path}.{key}" if path else key


def printable(text: str) -> str:
    """The text with characters that are not printable escaped as in JSON."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
