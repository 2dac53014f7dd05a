"""Lines of reports fit a terminal."""

from __future__ import annotations

from infernet_edge.cli.text import WIDTH, wrapped


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
