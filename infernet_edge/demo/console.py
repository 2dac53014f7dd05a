"""Print the demo's text, wrapped to 80 columns."""

from __future__ import annotations

import json
import textwrap
from typing import Any

_WIDTH = 79


def print_text(text: str = "", indent: int = 0) -> None:
    """Print a paragraph, wrapped; words longer than a line, such as URLs, are not broken.

    Models choose their names, and what they answer: see `visible`.
    """
    margin = " " * indent
    print(
        textwrap.fill(
            visible(text),
            _WIDTH,
            initial_indent=margin,
            subsequent_indent=margin,
            break_long_words=False,
            break_on_hyphens=False,
        ),
        flush=True,
    )


def visible(text: str) -> str:
    """Text in which what a terminal interprets is escaped; white space stays."""
    return "".join(
        each if each.isprintable() or each in "\t\n" else json.dumps(each)[1:-1] for each in text
    )


def print_json(value: Any, indent: int) -> None:
    """Print a JSON value, wrapped."""
    print_text(json.dumps(value, ensure_ascii=False), indent)


class StreamPrinter:
    """Prints a text that arrives in pieces, and breaks lines between words."""

    def __init__(self, indent: int) -> None:
        self._indent = indent
        self._column = 0
        self._word = ""

    def add(self, piece: str) -> None:
        """Print the words that this piece completes."""
        *complete, self._word = f"{self._word}{piece}".replace("\n", " ").split(" ")
        for word in complete:
            self._print(word)

    def end(self) -> None:
        """Print the last word, and end the line."""
        self._print(self._word)
        self._word, self._column = "", 0
        print(flush=True)

    def _print(self, word: str) -> None:
        if not word:
            return
        if self._column and self._column + 1 + len(word) > _WIDTH:
            print()
            self._column = 0
        word = visible(word)
        lead = " " if self._column else " " * self._indent
        print(lead + word, end="", flush=True)
        self._column += len(lead + word)
