"""Lines for a terminal: 80 columns, or fewer where it has fewer."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import Final

WIDTH: Final = 80
"""Columns of a line, also where the output is not a terminal: reports are read in many places."""

_WHITE_SPACE: Final = "\t\n\v\f\r"  # which wrapped lines have no more
_NARROWEST: Final = 40
_ROOM: Final = 24  # columns for the text after `start`; with fewer it begins on the next line


def width() -> int:
    """The columns of the terminal, or of COLUMNS, within what lines are made for."""
    return max(_NARROWEST, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def wrapped(start: str, text: str, indent: int | None = None) -> list[str]:
    """`start` and the text, as lines of `width()` columns at most.

    Lines after the first begin with `indent` spaces, as many as `start` has characters by default.
    Words that are longer than WIDTH are cut; on a narrow terminal others stay whole, such as
    addresses. Characters that are not printable are escaped, see `visible`.
    """
    start, text = visible(start), visible(text)
    columns = width()
    narrow = columns < WIDTH
    spaces = len(start) if indent is None else indent
    if narrow:
        spaces = min(spaces, 4)
    lines = []
    first = len(text.split(maxsplit=1)[0]) if narrow and text.strip() else 0
    if start.strip() and text and len(start) > columns - max(_ROOM, first):
        lines += textwrap.wrap(start.strip(), columns, initial_indent=_leading(start))
        spaces = 4
        start = " " * spaces
    lines += textwrap.wrap(
        text,
        columns,
        initial_indent=start,
        subsequent_indent=" " * spaces,
        break_on_hyphens=False,
        break_long_words=not narrow,
    ) or [start.rstrip()]
    return lines


def visible(text: str) -> str:
    """Text without characters that a terminal interprets: white space stays, others are escaped.

    Containers write error texts, and choose the ids of external jobs.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in _WHITE_SPACE else json.dumps(each)[1:-1]
        for each in text
    )


def _leading(text: str) -> str:
    """The spaces before a text."""
    return text[: len(text) - len(text.lstrip())]
