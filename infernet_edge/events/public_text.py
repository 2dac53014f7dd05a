"""What callers who are no operators see of a text for operators: no paths, no output of containers.

A reason says why something does not work. Operators need all of it; to others it would show the
folders of the machine, and what containers wrote, such as the requests of other clients.
"""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = r"[\w.@+~%#&=$!^*-]+"
# In quotes it is all of them: a path with spaces. Else it begins behind what is no part of a name
# or of a URL; behind a colon, as in "open:/etc/x" and in volumes, too.
_PATH: Final = re.compile(
    r"""(?<=")/[^"\n]+(?=")|(?<=')/[^'\n]+(?=')|"""
    rf"(?:\b(?:unix|file)://|(?<![\w./-])(?=/[^/])|(?<![\w.:/-])/*)/{_NAME}(?:/+{_NAME})*/*(?<!\.)"
)
_OUTPUT: Final = re.compile(r"; (?:its last output|the last line of its log): .*", re.DOTALL)


def public(text: str) -> str:
    """A reason without paths and without the output of a container, which ends it."""
    return without_paths(_OUTPUT.sub(".", text))


def without_paths(text: str) -> str:
    """A text with "(path)" in the place of each path."""
    return _PATH.sub("(path)", text)


def has_path(text: str) -> bool:
    """Whether a path is in it."""
    return _PATH.search(text) is not None
