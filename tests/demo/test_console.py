"""The demo's text is wrapped and complete."""

from __future__ import annotations

import random

import pytest

from infernet_edge.demo.console import StreamPrinter, print_json, print_text

TEXT = "The small computer stood on the shelf beside the radio, and nobody knew why. " * 5


def test_paragraphs_are_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    print_text(TEXT, 3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 4
    assert all(line.startswith("   ") and len(line) < 80 for line in lines)
    assert " ".join(line.strip() for line in lines) == TEXT.strip()


def test_an_empty_paragraph_is_an_empty_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_text()
    assert capsys.readouterr().out == "\n"


def test_long_words_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://127.0.0.1:4000/" + "a-b" * 40
    print_text(f"See {url} there", 2)
    assert f"  {url}\n" in capsys.readouterr().out


def test_json_is_shown_as_it_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"data": {"prompt": "é", "list": [1, True, None]}}, 2)
    assert capsys.readouterr().out == '  {"data": {"prompt": "é", "list": [1, true, null]}}\n'


def test_a_text_in_pieces_is_wrapped_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(1)
    printer, rest = StreamPrinter(4), TEXT + "the end\n"
    while rest:
        length = chance.randrange(1, 12)
        printer.add(rest[:length])
        rest = rest[length:]
    printer.end()
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("    ") and len(line) < 80 for line in lines)
    assert " ".join(line.strip() for line in lines) == TEXT + "the end"


def test_words_are_printed_as_soon_as_they_are_complete(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = StreamPrinter(0)
    printer.add("The lamp in")
    assert capsys.readouterr().out == "The lamp"
    printer.add(" ")
    assert capsys.readouterr().out == " in"


def test_nothing_that_a_terminal_interprets_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_text("evil\x1b[31m \u202ename")
    print_json({"name": "\u202ename"}, 0)
    printer = StreamPrinter(0)
    for piece in ("a \x1b", "[2J b\x07"):
        printer.add(piece)
    printer.end()
    assert capsys.readouterr().out.splitlines() == [
        "evil\\u001b[31m \\u202ename",
        '{"name": "\\u202ename"}',
        "a \\u001b[2J b\\u0007",
    ]
