"""Log records as entries of systemd's journal; each field of an event is a field of the entry.

The format and the socket are described in systemd's "Native Journal Protocol"
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL/), names of fields in systemd.journal-fields(7).
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOCKET = Path("/run/systemd/journal/socket")
LEVELS = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""The numbers of the levels in syslog and the journal."""

_IDENTIFIER = "infernet-edge"
# A datagram must fit into the socket's buffer (net.core.wmem_default is 208 KiB); larger entries
# would need a file descriptor each, and such lines are of no use.
_MAX_VALUE = 16 * 2**10  # bytes
_MAX_ENTRY = 96 * 2**10
_MAX_NAME = 64
# The journal, or a program that reads it, gives these names a meaning of its own.
_RESERVED = re.compile(
    r"MESSAGE|MESSAGE_ID|PRIORITY|EVENT|LOGGER|ERRNO|DOCUMENTATION|TID|UNIT|USER_UNIT"
    r"|INVOCATION_ID|USER_INVOCATION_ID|(SYSLOG|CODE|OBJECT|COREDUMP)_.*"
)


def stderr_is_journal(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether stderr goes to the journal: JOURNAL_STREAM names its file, see systemd.exec(5).

    It is compared with stderr, which may have been redirected since.
    """
    stream = environment.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


class JournalHandler(logging.Handler):
    """Sends records to the journal. Never blocks.

    Entries are dropped while the socket's buffer is full, and their number is logged as soon as
    there is space. When the socket is gone, records go to stderr instead.
    """

    def __init__(self, text: logging.Formatter, fallback: logging.Formatter, path: Path) -> None:
        """`text` formats the readable line, `fallback` the line for stderr."""
        super().__init__()
        self.setFormatter(fallback)
        self._text = text
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._report_dropped()
            self._send(fields_of(record, self._text.format(record)))
        except BlockingIOError:
            self._dropped += 1
        except OSError:
            print(self.format(record), file=sys.stderr, flush=True)  # noqa: T201
        except Exception:  # noqa: BLE001  # as every handler of the standard library does
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _report_dropped(self) -> None:
        if not self._dropped:
            return
        text = f"log.dropped entries={self._dropped}"
        self._send(
            {"MESSAGE": text, "PRIORITY": 4, "EVENT": "log.dropped", "ENTRIES": self._dropped}
        )
        self._dropped = 0

    def _send(self, fields: Mapping[str, Any]) -> None:
        self._socket.sendto(entry({"SYSLOG_IDENTIFIER": _IDENTIFIER, **fields}), self._path)


def entry(fields: Mapping[str, Any]) -> bytes:
    """The datagram of one entry.

    Values that are too long are shortened, and fields beyond the limit are left out.

    A value with a newline is written with its length in front, so that it cannot forge a field.
    """
    parts: list[bytes] = []
    space = _MAX_ENTRY
    for name, value in fields.items():
        part = _field(name.encode(), str(value).encode("utf-8", "replace"))
        space -= len(part)
        if space < 0:
            break
        parts.append(part)
    return b"".join(parts)


def fields_of(record: logging.LogRecord, text: str) -> dict[str, Any]:
    """The fields of a record; `text` is the readable line that the journal shows."""
    standard = {
        "MESSAGE": text,
        "PRIORITY": LEVELS.get(record.levelname, 6),
        "EVENT": record.getMessage(),
        "LOGGER": record.name,
    }
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return standard | {field_name(name): value for name, value in fields.items()}


def _field(name: bytes, value: bytes) -> bytes:
    if len(value) > _MAX_VALUE:
        value = value[:_MAX_VALUE].decode("utf-8", "ignore").encode() + "…".encode()
    if b"\n" in value:
        return b"%s\n%s%s\n" % (name, struct.pack("<Q", len(value)), value)
    return b"%s=%s\n" % (name, value)


def field_name(name: str) -> str:
    """The name of a field in the form that the journal allows: A-Z, 0-9 and _, at most 64."""
    safe = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    if not safe or safe[0].isdigit() or _RESERVED.fullmatch(safe):
        safe = f"FIELD_{safe}"
    return safe[:_MAX_NAME].rstrip("_")
