"""What is printed of what a node sent."""

from __future__ import annotations

import sys
from io import BytesIO, TextIOWrapper

import pytest

from infernet_edge.cli.remote.output import NodeOutput


class Terminal(TextIOWrapper):
    def isatty(self) -> bool:
        return True


def written(monkeypatch: pytest.MonkeyPatch, *parts: bytes, json: bool = False) -> str:
    buffer = BytesIO()
    with Terminal(buffer, encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        output = NodeOutput()
        for part in parts:
            (output.write_json if json else output.write)(part)
        output.end_line()
        terminal.flush()
        return buffer.getvalue().decode()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((b"a\n", b"b"), "a\nb\n"),
        ((b"caf\xc3", b"\xa9\n"), "caf\u00e9\n"),
        ((b"\xc3",), "\\xc3\n"),
        ((b"\x1b[2J\x9b", "\u202e".encode()), "\\u001b[2J\\x9b\\u202e\n"),
    ],
)
def test_a_terminal_gets_nothing_to_interpret(
    parts: tuple[bytes, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert written(monkeypatch, *parts) == expected


def test_json_is_indented_on_a_terminal_and_stays_json(monkeypatch: pytest.MonkeyPatch) -> None:
    number = str(2**256)
    text = written(monkeypatch, f'{{"a":"\u202e\x7f","n":{number}}}'.encode(), json=True)
    assert text == f'{{\n  "a": "\\u202e\\u007f",\n  "n": {number}\n}}\n'
