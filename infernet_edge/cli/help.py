"""`infernet-edge help`: the documentation, which is inside the package and the executable."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from infernet_edge.cli.examples import add_examples

HELP = "show a page of the documentation, or the list of its pages"

_FIRST: Final = "quick-start"
_SUFFIXES: Final = (".md", ".yml")  # pages, and files that they name


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge help",
        "infernet-edge help quick-start",
        "infernet-edge help api | less",
    )
    parser.add_argument(
        "topic", nargs="?", metavar="TOPIC", help="the page to show (default: list the pages)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: topic, title, and text")


def run(arguments: argparse.Namespace) -> int:
    """Print a page, or the list of them; returns 0, or 2 when the page does not exist."""
    found = pages()
    if arguments.topic is None and arguments.json:
        print(json.dumps([_described(name, page) for name, page in found.items()], indent=2))
        return 0
    if arguments.topic is None:
        width = max(map(len, found))
        for name, page in found.items():
            print(f"{name:<{width}}  {_title(page)}")
        print(f"\nTo read one: infernet-edge help {_FIRST}")
        return 0
    wanted = _topic(arguments.topic.lower())
    if wanted not in found:
        print(_unknown(arguments.topic, list(found)), file=sys.stderr)
        return 2
    text = found[wanted].read_text("utf-8").rstrip()
    if arguments.json:
        print(json.dumps({**_described(wanted, found[wanted]), "text": text}, indent=2))
    else:
        print(text)
    return 0


def pages() -> dict[str, Traversable]:
    """The files of the documentation by the names of their topics: the first to read, then a-z."""
    folder = resources.files("infernet_edge").joinpath("docs")
    found = {_topic(file.name): file for file in folder.iterdir() if file.name.endswith(_SUFFIXES)}
    return {name: found[name] for name in sorted(found, key=lambda name: (name != _FIRST, name))}


def _topic(name: str) -> str:
    """The name of a page without its suffix."""
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _described(name: str, page: Traversable) -> dict[str, str]:
    return {"topic": name, "title": _title(page)}


def _title(page: Traversable) -> str:
    """The first line of a page, without its mark."""
    with page.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


def _unknown(topic: str, known: list[str]) -> str:
    from infernet_edge.cli.main import COMMANDS

    text = f"There is no page {topic[:80]!r}."
    if near := difflib.get_close_matches(topic.lower(), known, n=1):
        text += f" Did you mean: infernet-edge help {near[0]}"
    elif topic in COMMANDS:
        text += f" For this command: infernet-edge {topic} --help"
    else:
        text += f" The pages are: {', '.join(known)}"
    return text
