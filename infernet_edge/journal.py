"""Log records as entries of systemd's journal, each field of an event a field of the entry.

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
"""What syslog and the journal call our levels."""

_IDENTIFIER = "infernet-edge"
# A datagram must fit into the socket's buffer (net.core.wmem_default is 208 KiB); larger entries
# would need a file descriptor each, and nobody reads such lines.
_MAX_VALUE = 16 * 2**10  # bytes
_MAX_ENTRY = 96 * 2**10
_MAX_NAME = 64
# The journal, or a reader of it, understands these in its own way.
_RESERVED = re.compile(
    r"MESSAGE|MESSAGE_ID|PRIORITY|EVENT|LOGGER|ERRNO|DOCUMENTATION|TID|UNIT|USER_UNIT"
    r"|INVOCATION_ID|USER_INVOCATION_ID|(SYSLOG|CODE|OBJECT|COREDUMP)_.*"
)


def stderr_is_journal(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether stderr goes to the journal: systemd says where it led to, systemd.exec(5).

    Somebody may have redirected it since.
    """
    stream = environment.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


class JournalHandler(logging.Handler):
    """Sends records to the journal. Never blocks.

    What the journal has no room for at the moment is dropped, and the number of such entries told
    as soon as there is room. When its socket is gone, records go to stderr instead.
    """

    def __init__(self, text: logging.Formatter, fallback: logging.Formatter, path: Path) -> None:
        """`text` makes the line for people, `fallback` what goes to stderr."""
        super().__init__()
        self.setFormatter(fallback)
        self._text = text
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._tell_of_dropped()
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

    def _tell_of_dropped(self) -> None:
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
    """The datagram of one entry. Values that are too long are cut, and fields that are too many.

    A value with a newline is written with its length in front, so that it cannot forge a field.
    """
    parts: list[bytes] = []
    room = _MAX_ENTRY
    for name, value in fields.items():
        part = _field(name.encode(), str(value).encode("utf-8", "replace"))
        room -= len(part)
        if room < 0:
            break
        parts.append(part)
    return b"".join(parts)


def fields_of(record: logging.LogRecord, text: str) -> dict[str, Any]:
    """The fields of a record; `text` is the line for people, by which the journal shows it."""
    told = {
        "MESSAGE": text,
        "PRIORITY": LEVELS.get(record.levelname, 6),
        "EVENT": record.getMessage(),
        "LOGGER": record.name,
    }
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return told | {field_name(name): value for name, value in fields.items()}


def _field(name: bytes, value: bytes) -> bytes:
    if len(value) > _MAX_VALUE:
        value = value[:_MAX_VALUE].decode("utf-8", "ignore").encode() + "…".encode()
    if b"\n" in value:
        return b"%s\n%s%s\n" % (name, struct.pack("<Q", len(value)), value)
    return b"%s=%s\n" % (name, value)


def field_name(name: str) -> str:
    """The name of a field of ours as the journal allows it: A-Z, 0-9 and _, at most 64."""
    safe = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    if not safe or safe[0].isdigit() or _RESERVED.fullmatch(safe):
        safe = f"FIELD_{safe}"
    return safe[:_MAX_NAME].rstrip("_")
