"""The help of a command: examples after its options."""

from __future__ import annotations

import argparse
import re


class HelpText(argparse.HelpFormatter):
    """Wraps paragraphs; those that begin with spaces, such as examples, stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """How argparse formats a description and an epilog, as its raw formatters replace it."""
        paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
        return "\n\n".join(
            each if each.startswith("  ") else super(HelpText, self)._fill_text(each, width, indent)
            for each in paragraphs
        )


def add_examples(parser: argparse.ArgumentParser, *examples: str, text: str = "") -> None:
    """Add lines that show how a command is used, and paragraphs after them, to its help."""
    parser.formatter_class = HelpText
    lines = "\n".join(f"  {each}" for each in examples)
    parser.epilog = f"Examples:\n\n{lines}\n\n{text}" if examples else text
