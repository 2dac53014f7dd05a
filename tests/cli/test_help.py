"""`infernet-edge help`: the pages of the documentation in a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infernet_edge.cli.help import pages
from infernet_edge.cli.main import main
from tests.support.markdown import DOCS
from tests.support.process import ROOT

PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("*.yml")])

Captured = pytest.CaptureFixture[str]


def test_it_lists_every_page_with_its_title(capsys: Captured) -> None:
    assert main(["help"]) == 0
    output = capsys.readouterr().out
    for page in PAGES:
        title = page.read_text().partition("\n")[0].removeprefix("# ")
        assert any(line.split(None, 1) == [page.stem, title] for line in output.splitlines())
    assert output.startswith("quick-start ")
    assert all(len(line) <= 80 for line in output.splitlines())


def test_as_json(capsys: Captured) -> None:
    assert main(["help", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed[0]["topic"] == "quick-start"
    assert main(["help", "api", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert {"topic": page["topic"], "title": page["title"]} in listed
    assert page["text"] == (DOCS / "api.md").read_text().rstrip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_it_prints_a_page(page: Path, capsys: Captured) -> None:
    assert main(["help", page.stem]) == main(["help", page.name]) == 0
    assert capsys.readouterr().out == 2 * (page.read_text().rstrip() + "\n")


def test_pages_are_named_in_any_case_and_as_files(capsys: Captured) -> None:
    assert main(["help", "API"]) == main(["help", "api.md"]) == 0
    assert "POST /api/jobs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("topic", "advice"),
    [
        ("on-chian", "infernet-edge help on-chain"),
        ("doctor", "infernet-edge doctor --help"),
        ("weather", "quick-start, api"),
        ("../ARCHITECTURE", "quick-start, api"),
        ("x" * 5000, "quick-start, api"),
    ],
)
def test_an_unknown_page_is_wrong_usage(topic: str, advice: str, capsys: Captured) -> None:
    assert main(["help", topic]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert advice in output.err
    assert len(output.err) < 400


def test_titles_say_what_a_page_is_for() -> None:
    for page in pages().values():
        first = page.read_text("utf-8").splitlines()[0]
        assert first.startswith("# ")
        assert ": " in first


def test_the_installed_package_has_the_pages_and_its_types(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert "infernet_edge/py.typed" in inside  # https://peps.python.org/pep-0561/
    assert {f"infernet_edge/docs/{page.name}" for page in DOCS.glob("*.md")} <= inside
