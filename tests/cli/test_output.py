"""What all commands share: answers as JSON."""

from __future__ import annotations

import json

import pytest

from infernet_edge.cli.output import answering, print_progress


def test_only_the_answer_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(as_json=True) as answer:
        print("a line")
        print_progress("progress")
        answer["made"] = "café"
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"made": "café"}
    assert printed.err == "a line\nprogress\n"


def fail() -> None:
    with answering(as_json=True) as answer:
        answer["made"] = 1
        raise OSError("full")


def test_what_failed_has_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(as_json=True):
        print("why")
    with pytest.raises(OSError, match="full"):
        fail()
    assert capsys.readouterr() == ("", "why\n")


def test_texts_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(as_json=False) as answer:
        print("a line")
        answer["made"] = 1
    assert capsys.readouterr() == ("a line\n", "")
