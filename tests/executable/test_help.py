"""The documentation inside the executable."""

from __future__ import annotations

import subprocess

from tests.support.executable import Executable
from tests.support.markdown import DOCS


def said(executable: Executable, *arguments: str) -> str:
    command = [str(executable.file), "help", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def test_it_has_every_page(executable: Executable) -> None:
    assert said(executable, "api") == (DOCS / "api.md").read_text().rstrip() + "\n"
    listed = {line.split()[0] for line in said(executable).splitlines() if line}
    assert {page.stem for page in DOCS.glob("*.md")} <= listed
