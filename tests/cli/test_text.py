"""Lines of reports fit a terminal."""

from __future__ import annotations

import pytest

from infernet_edge.cli.text import WIDTH, visible, width, wrapped


def test_a_line_that_fits_stays_as_it_is() -> None:
    assert wrapped("  problem: ", "none") == ["  problem: none"]
    assert wrapped("  balance ", "") == ["  balance"]


def test_longer_texts_are_wrapped_between_words() -> None:
    address = "0x" + 40 * "a"
    lines = wrapped("  problem: ", f"The account {address} and the account {address}", indent=4)
    assert [line.startswith("    ") for line in lines] == [False, True]
    assert all(len(line) <= WIDTH for line in lines)
    assert sum(address in line for line in lines) == 2


def test_a_word_that_is_longer_than_a_line_is_cut() -> None:
    lines = wrapped("  ", 200 * "x")
    assert max(map(len, lines)) == WIDTH
    assert "".join(line.strip() for line in lines) == 200 * "x"


def test_a_narrow_terminal_has_shorter_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    address = "0x" + 40 * "a"
    lines = wrapped("  the label    ", f"some words, and {address}")
    assert lines == ["  the label    some words, and", f"    {address}"]
    lines = wrapped("  a label that is too long for it  ", "some words that follow", indent=4)
    assert lines == ["  a label that is too long for it", "    some words that follow"]
    monkeypatch.setenv("COLUMNS", "10")
    assert width() == 40
    monkeypatch.setenv("COLUMNS", "200")
    assert width() == WIDTH


def test_nothing_that_a_terminal_interprets_is_printed() -> None:
    lines = wrapped("  \x1b[31mid ", "red\x1b[0m\x07 text\r\nline \u202e2")
    assert lines == ["  \\u001b[31mid red\\u001b[0m\\u0007 text  line \\u202e2"]
    assert visible("a\tä\x9b") == "a\tä\\u009b"
