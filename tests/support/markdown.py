"""Markdown files of the repository, taken apart as far as tests of the documentation need it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.process import ROOT

PACKAGE = ROOT / "infernet_edge"
DOCS = PACKAGE / "docs"
ARCHITECTURE = PACKAGE / "ARCHITECTURE.md"
README = ROOT / "README.md"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^ *```$", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """A block of code, with the text between it and the block before."""

    kind: str
    text: str
    between: str


def pages() -> list[Path]:
    """All files that people read: README, changelog, architecture, documentation, .github."""
    found = [README, ROOT / "CHANGELOG.md", ARCHITECTURE, *DOCS.glob("*.md")]
    return sorted([*found, *(ROOT / ".github").rglob("*.md")])


def blocks(text: str) -> Iterator[Block]:
    """The blocks of code of a page, each with the text between it and the one before."""
    end = 0
    for match in _FENCE.finditer(text):
        lines = match["text"].splitlines()
        inner = "\n".join(line.removeprefix(match["indent"]) for line in lines)
        yield Block(match["kind"], inner, text[end : match.start()])
        end = match.end()


def without_blocks(text: str) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", text)


def codes(text: str) -> list[str]:
    """What stands in backquotes, outside of blocks; also where a line ends within."""
    return [match.replace("\n", " ") for match in _CODE.findall(_joined(without_blocks(text)))]


def links(text: str) -> list[str]:
    """The targets of all links."""
    return _LINK.findall(without_blocks(text))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", without_blocks(text), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level or a higher one."""
    level = heading.partition(" ")[0]
    behind = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", behind, maxsplit=1, flags=re.M)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without their heads."""
    found: list[list[str]] = []
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.M):
        for line in table.splitlines()[2:]:
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def _joined(text: str) -> str:
    """Lines of a paragraph as one, so that code may be wrapped."""
    return re.sub(r"(?<=\S)\n *(?=[^\s|#>*-])", " ", text)
