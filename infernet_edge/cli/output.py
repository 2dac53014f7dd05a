"""Output: the help of commands, and pipes whose reader may end early, as with `| head`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence


def print_progress(text: str) -> None:
    """Print a line at once. Work that changes something continues without a reader."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard_output()


def flush_output() -> None:
    """Write what is buffered; Python itself would report a closed pipe at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Discard what is buffered, and what is still written to stdout."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


class HelpText(argparse.HelpFormatter):
    """Wraps paragraphs; those that begin with spaces, such as examples, stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """How argparse formats a description and an epilog, as its raw formatters replace it."""
        paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
        return "\n\n".join(
            each if each.startswith("  ") else super(HelpText, self)._fill_text(each, width, indent)
            for each in paragraphs
        )


class CommandParser(argparse.ArgumentParser):
    """Takes arguments and options in any order: `submit writer --wait 30 DATA` too."""

    _is_intermixing = False

    def parse_known_args(  # type: ignore[override]  # without the overloads
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """What argparse calls for a command; see its parse_intermixed_args."""
        if self._is_intermixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._is_intermixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_intermixing = False


def add_examples(parser: argparse.ArgumentParser, *examples: str, text: str = "") -> None:
    """Add lines that show how a command is used, and paragraphs after them, to its help."""
    parser.formatter_class = HelpText
    lines = "\n".join(f"  {each}" for each in examples)
    parser.epilog = f"Examples:\n\n{lines}\n\n{text}" if examples else text
