"""Entries of the journal, over a real socket."""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.secret_files import Secret
from infernet_edge.journal import JournalHandler, entry, field_name, stderr_is_journal
from infernet_edge.logs import JournalFormatter, MessageFormatter


def parsed(datagram: bytes) -> dict[str, str]:
    """The fields of an entry, read according to the protocol."""
    fields: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, has_value, value = line.partition(b"=")
        if not has_value:
            (length,) = struct.unpack_from("<Q", datagram)
            value, datagram = datagram[8 : 8 + length], datagram[8 + length :]
            assert datagram[:1] == b"\n"
            datagram = datagram[1:]
        fields[name.decode()] = value.decode()
    return fields


class Journal:
    """What journald listens on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def entries(self) -> list[dict[str, str]]:
        found = []
        try:
            while True:
                found.append(parsed(self._socket.recv(2**20)))
        except BlockingIOError:
            return found

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "socket")
    yield journal
    journal.close()


@pytest.fixture
def handler(journal: Journal) -> Iterator[JournalHandler]:
    handler = JournalHandler(MessageFormatter(), JournalFormatter(), journal.path)
    yield handler
    handler.close()


def record(level: int = logging.INFO, /, **fields: Any) -> Any:
    made = logging.LogRecord("infernet_edge.jobs", level, "", 0, "job.finished", (), None)
    made.fields = fields
    return made


def test_an_event_is_an_entry_with_its_fields(handler: JournalHandler, journal: Journal) -> None:
    handler.handle(record(logging.WARNING, job="abc", seconds=0.25))
    assert journal.entries() == [
        {
            "SYSLOG_IDENTIFIER": "infernet-edge",
            "MESSAGE": "job.finished job=abc seconds=0.25",
            "PRIORITY": "4",
            "EVENT": "job.finished",
            "LOGGER": "infernet_edge.jobs",
            "JOB": "abc",
            "SECONDS": "0.25",
        }
    ]


def test_no_value_can_forge_a_field(handler: JournalHandler, journal: Journal) -> None:
    forged = "x\nPRIORITY=0\nMESSAGE=forged\n"
    handler.handle(record(reason=forged, message="forged", priority=0, _pid=1, event="forged"))
    (found,) = journal.entries()
    assert found["REASON"] == forged
    assert found["PRIORITY"] == "6"
    assert found["EVENT"] == "job.finished"
    assert found["MESSAGE"].startswith("job.finished ")
    assert found["FIELD_MESSAGE"] == "forged"
    assert found["PID"] == "1"


def test_an_exception_is_one_entry(handler: JournalHandler, journal: Journal) -> None:
    failed = record(logging.ERROR)
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        failed.exc_info = (type(error), error, error.__traceback__)
    handler.handle(failed)
    (found,) = journal.entries()
    assert found["PRIORITY"] == "3"
    assert "ZeroDivisionError: by zero" in found["MESSAGE"]
    assert "\n" in found["MESSAGE"]


def test_secrets_and_odd_values(handler: JournalHandler, journal: Journal) -> None:
    handler.handle(record(key=Secret("top"), surrogate="\ud800", none=None, path=Path("/x")))
    (found,) = journal.entries()
    assert "top" not in str(found)
    assert (found["SURROGATE"], found["NONE"], found["PATH"]) == ("?", "None", "/x")


def test_entries_are_bounded(handler: JournalHandler, journal: Journal) -> None:
    handler.handle(record(**{f"part_{number}": "é\n" * 100_000 for number in range(50)}))
    (found,) = journal.entries()
    assert found["EVENT"] == "job.finished"
    assert 2 <= len([name for name in found if name.startswith("PART")]) < 50
    assert all(len(value.encode()) <= 17_000 for value in found.values())
    assert found["PART_0"].endswith("…")


def test_what_the_journal_has_no_room_for_is_counted(
    handler: JournalHandler, journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when journald hangs: nothing blocks, and nothing is written elsewhere."""
    for number in range(2000):
        handler.handle(record(number=number, padding="x" * 1000))
    kept = journal.entries()
    assert 0 < len(kept) < 2000
    handler.handle(record(number="last"))
    dropped, last = journal.entries()
    assert dropped["EVENT"] == "log.dropped"
    assert int(dropped["ENTRIES"]) == 2000 - len(kept)
    assert last["NUMBER"] == "last"
    assert capsys.readouterr().err == ""


def test_without_the_socket_lines_go_to_stderr(
    handler: JournalHandler, journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.close()
    handler.handle(record(logging.ERROR, job="abc"))
    assert capsys.readouterr().err == "<3>job.finished job=abc\n"
    again = Journal(journal.path)  # journald restarts
    handler.handle(record(job="def"))
    assert [found["JOB"] for found in again.entries()] == ["def"]
    again.close()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("job", "JOB"),
        ("retry_in", "RETRY_IN"),
        ("_pid", "PID"),
        ("2nd", "FIELD_2ND"),
        ("länge in m", "L_NGE_IN_M"),
        ("é", "FIELD"),
        ("message", "FIELD_MESSAGE"),
        ("code_file", "FIELD_CODE_FILE"),
        ("message_text", "MESSAGE_TEXT"),
        ("x" * 100, "X" * 64),
    ],
)
def test_names_of_fields(name: str, safe: str) -> None:
    assert field_name(name) == safe


def test_the_bytes_of_an_entry() -> None:
    """The examples of the protocol's description."""
    assert entry({"MESSAGE": "Hello", "PRIORITY": 6}) == b"MESSAGE=Hello\nPRIORITY=6\n"
    assert entry({"MESSAGE": "a\nb"}) == b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n"


def test_whether_stderr_is_the_journal() -> None:
    status = os.fstat(2)
    assert stderr_is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert not stderr_is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
    assert not stderr_is_journal({})
