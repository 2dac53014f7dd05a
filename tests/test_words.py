"""Words that an engineer would not search for stay out of the code and the documentation."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.process import ROOT

WORDS: Final = {
    "anew": "again",
    "be had": "available",
    "everything is so": "already up to date",
    "for ever": "permanently",
    "get rid": "remove",
    "looks at": "checks",
    "mend": "fix",
    "mended": "fixed",
    "mends": "fixes",
    "misery": "error",
    "mistake": "error, configuration error",
    "mistakes": "errors, configuration errors",
    "nobody": "no user, no caller",
    "on its way": "in flight",
    "own accord": "by itself",
    "set aside": "quarantined",
    "somebody": "a user, another process",
    "take up": "resume",
    "taken back": "rolled back, reorg",
    "tell": "log, report, show",
    "tells": "logs, reports, shows",
    "told": "logged, reported, shown",
    "trouble": "error, problem",
    "whoever": "the caller, the server",
}
"""Each with the words to use instead."""

STORIES: Final = {"infernet_edge/demo/example_service.py"}  # the text that its model learns from


def files() -> list[Path]:
    """What is read by those who use or change the product; the tests are not searched."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.split()
    kinds = {".py", ".md", ".service", ".socket", ".conf", ".spec", ".toml"}
    return [
        ROOT / name
        for name in listed
        if not name.startswith("tests/") and name not in STORIES and Path(name).suffix in kinds
    ]


@pytest.mark.parametrize("word", WORDS)
def test_the_usual_word_is_used(word: str) -> None:
    pattern = re.compile(rf"(?<![\w'\"`]){word}(?![\w'\"`])", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == [], f"use instead: {WORDS[word]}"
