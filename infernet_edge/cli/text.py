"""Lines for a terminal of the usual width."""

from __future__ import annotations

import textwrap
from typing import Final

WIDTH: Final = 80
"""Columns of a line, also where the output is not a terminal: reports are read in many places."""


def wrapped(start: str, text: str, indent: int | None = None) -> list[str]:
    """`start` and the text, as lines of WIDTH columns at most.

    Lines after the first begin with `indent` spaces, as many as `start` has characters by default.
    Words that are longer than a line are cut.
    """
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * (len(start) if indent is None else indent),
        break_on_hyphens=False,
    ) or [start.rstrip()]
