"""Log lines for people, for journald and for programs."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge import logs
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.sections.log import Log
from infernet_edge.errors import StartupError
from infernet_edge.logs import (
    ConditionLog,
    JournalFormatter,
    JSONFormatter,
    TextFormatter,
    log_event,
    log_exception,
    set_up_logging,
)

logger = logging.getLogger("infernet_edge.tests")
MOMENT = 1_800_000_000.25


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The package's logger, put back as it was."""
    root = logging.getLogger("infernet_edge")
    before = root.handlers[:], root.level, root.propagate
    yield root
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers[:], root.level, root.propagate = before


def line(
    formatter: logging.Formatter,
    level: int = logging.INFO,
    error: BaseException | None = None,
    **fields: Any,
) -> str:
    record = logging.LogRecord("x", level, "", 0, "job.finished", (), None)
    record.created, record.fields = MOMENT, fields
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    return formatter.format(record)


def test_a_line_for_people() -> None:
    text = line(TextFormatter(), job="abc", seconds=0.25, reason='two words "quoted"', empty="")
    assert text == (
        "2027-01-15T08:00:00.250Z INFO    job.finished"
        ' job=abc seconds=0.25 reason="two words \\"quoted\\"" empty=""'
    )


@pytest.mark.parametrize(
    "value",
    [
        "a\nb",
        "a\r\nWARNING forged",
        "a=b",
        "a b",
        "\x1b[31m",
        "\u2028",
        "\x00",
        "\ud800",
        "é\x85",
        "\x9b2J",
        "\U000e0041",
    ],
)
@pytest.mark.parametrize("formatter", [TextFormatter(), JournalFormatter(), JSONFormatter()])
def test_no_value_can_forge_a_line_or_move_the_cursor(
    value: str, formatter: logging.Formatter
) -> None:
    text = line(formatter, reason=value, number=1)
    assert "\n" not in text
    assert text.isprintable()
    text.encode()
    if isinstance(formatter, JSONFormatter):
        assert json.loads(text)["reason"] == value.replace("\ud800", "?")


def test_fields_of_any_kind() -> None:
    text = line(TextFormatter(), number=1, none=None, path=Path("/x"), list=[1, 2])
    assert text.endswith('number=1 none=None path=/x list="[1, 2]"')


def test_every_line_for_journald_has_its_level() -> None:
    levels = {
        logging.DEBUG: 7,
        logging.INFO: 6,
        logging.WARNING: 4,
        logging.ERROR: 3,
        logging.CRITICAL: 2,
    }
    for level, number in levels.items():
        assert line(JournalFormatter(), level, a=1) == f"<{number}>job.finished a=1"
    text = line(JournalFormatter(), logging.ERROR, error=_raised())
    assert len(text.split("\n")) > 3
    assert all(part.startswith("<3>") for part in text.split("\n"))


@pytest.mark.parametrize("formatter", [TextFormatter(), JournalFormatter(), JSONFormatter()])
def test_the_text_of_an_exception_cannot_forge_a_line(formatter: logging.Formatter) -> None:
    words = "a\n2027-01-15T08:00:00.250Z INFO    forged\rforged\u2028forged\x1b[2J"
    first, *others = line(formatter, logging.ERROR, error=_raised(words)).split("\n")
    assert "job.finished" in first
    for other in others:
        assert other.removeprefix("<3>").startswith("    ")
        assert other.isprintable()


def _raised(words: str = "ours") -> BaseException:
    try:
        raise ZeroDivisionError(words)
    except ZeroDivisionError as error:
        return error


def test_json_lines() -> None:
    text = line(JSONFormatter(), logging.WARNING, job="abc", wide=2**256, path=Path("/x"), é="ü\n")
    assert "\n" not in text
    assert json.loads(text) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "event": "job.finished",
        "job": "abc",
        "wide": 2**256,
        "path": "/x",
        "é": "ü\n",
    }


def test_json_of_an_exception() -> None:
    text = json.loads(line(JSONFormatter(), error=_raised()))
    assert "ZeroDivisionError: ours" in text["exception"]


def test_a_secret_is_never_shown() -> None:
    for formatter in (TextFormatter(), JournalFormatter(), JSONFormatter()):
        assert "top" not in line(formatter, key=Secret("top"), keys=[Secret("top")])


def test_events_below_the_level_are_not_even_made() -> None:
    logger.setLevel(logging.INFO)
    handler = Events()
    logger.addHandler(handler)
    log_event(logger, "job.looked_at", logging.DEBUG, job=1)
    log_event(logger, "job.finished", job=2)
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    assert handler.seen == ["job.finished"]


class Events(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


def test_the_log_goes_to_stderr(
    capsys: pytest.CaptureFixture[str], root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    set_up_logging(Log())
    log_event(logger, "job.looked_at", logging.DEBUG)
    log_event(logger, "job.finished", job=1)
    text = capsys.readouterr().err
    assert text.endswith("job.finished job=1\n")
    assert "looked_at" not in text
    set_up_logging(Log(), verbose=True)
    log_event(logger, "job.looked_at", logging.DEBUG)
    assert capsys.readouterr().err.count("looked_at") == 1
    assert len(root.handlers) == 1


def test_where_stderr_is_the_journal_it_gets_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    monkeypatch.setattr(logs, "SOCKET", tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        set_up_logging(Log())
        log_event(logger, "job.failed", logging.WARNING, job=1)
        journal.settimeout(5)
        text = journal.recv(4096).decode().splitlines()
    assert {"PRIORITY=4", "EVENT=job.failed", "MESSAGE=job.failed job=1", "JOB=1"} <= set(text)


def test_without_the_journals_socket_it_gets_lines_with_levels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    monkeypatch.setattr(logs, "SOCKET", tmp_path / "gone")
    set_up_logging(Log())
    log_event(logger, "job.failed", logging.WARNING)
    assert capsys.readouterr().err == "<4>job.failed\n"


def test_a_log_file_is_json_and_rotates(tmp_path: Path) -> None:
    path = tmp_path / "below" / "node.log"
    set_up_logging(Log(path=str(path), max_file_size=2000, backup_count=2))
    for number in range(100):
        log_event(logger, "job.finished", number=number)
    files = sorted(file.name for file in path.parent.iterdir())
    assert files == ["node.log", "node.log.1", "node.log.2"]
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert lines[-1]["number"] == 99
    assert all(file.stat().st_size <= 2000 for file in path.parent.iterdir())


def test_a_log_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=r"log\.path"):
        set_up_logging(Log(path=str(tmp_path / "file" / "node.log")))
    with pytest.raises(StartupError, match=r"log\.path"):
        set_up_logging(Log(path=str(tmp_path)))


def test_an_unexpected_exception_is_an_error_with_fields_and_traceback(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    set_up_logging(Log(path=str(path)))
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        log_exception(logger, "job.crashed", error, job="one", container="")
    line = json.loads(path.read_text())
    assert (line["level"], line["event"], line["job"]) == ("error", "job.crashed", "one")
    assert "container" not in line
    assert "ZeroDivisionError" in line["exception"]


def test_a_condition_that_lasts_is_logged_once() -> None:
    now = 0.0
    conditions = ConditionLog(repeat_after=60, clock=lambda: now)
    funds = "Insufficient funds: it may cost {} wei and 0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    assert conditions.is_new(1, funds.format(1234))
    assert not conditions.is_new(1, funds.format(9))
    assert conditions.is_new(2, funds.format(9)), "another subject"
    assert conditions.is_new(1, "no connection"), "another kind"
    assert not conditions.is_new(1, funds.format(7)), "two kinds in turn are two lines"
    now = 60.0
    assert conditions.is_new(1, funds.format(7)), "after a long time"
    assert not conditions.is_new(1, funds.format(8))
    conditions.end(1)
    assert conditions.is_new(1, funds.format(8)), "it had ended"


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ("Block 1203 is not available", "Block 1204 is not available", False),
        ("no answer within 1.5 seconds", "no answer within 10 seconds", False),
        ("Gas costs 1,000 wei.", "Gas costs 20 wei.", False),
        ("a.example: status 503", "a.example: status 429", True),
        ("limited (code -32005)", "limited (code -32000)", True),
        ("it serves chain 1", "it serves chain 137", True),
        ("127.0.0.1:8545: no connection", "127.0.0.1:8546: no connection", True),
        ("10.0.0.1: no connection", "10.0.0.2: no connection", True),
        ("the wallet 0x12 holds 5 wei", "the wallet 0x13 holds 5 wei", True),
        ("Delivery 7: no", "delivery 8: no", True),
    ],
)
def test_amounts_make_no_other_condition(before: str, after: str, new: bool) -> None:
    conditions = ConditionLog()
    assert conditions.is_new("x", before)
    assert conditions.is_new("x", after) == new


def test_a_condition_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MAX_SUBJECTS", 3)
    conditions = ConditionLog()
    assert all(conditions.is_new(subject, "down") for subject in range(4))
    assert not conditions.is_new(3, "down")
    assert conditions.is_new(0, "down"), "the oldest was forgotten"
    words = "abcdefghijkl"
    assert all(conditions.is_new("y", word) for word in words)
    assert not conditions.is_new("y", words[-1])
    assert conditions.is_new("y", words[0])
