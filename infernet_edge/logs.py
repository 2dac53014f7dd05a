"""Log lines as events with fields: `log_event(logger, "job.finished", job=id, seconds=0.2)`.

On a terminal a line is readable text; in a file it is JSON, one object a line; under systemd it is
an entry of the journal with all its fields, or, when the journal's socket is not available, plain
text with the level as a prefix for journald ("<6>", sd-daemon(3)).
"""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from infernet_edge.config.sections.log import Log
from infernet_edge.errors import StartupError
from infernet_edge.journal import LEVELS, SOCKET, JournalHandler, stderr_is_journal

_ROOT = "infernet_edge"

REPEAT_SECONDS: Final = 3600.0
"""A condition that lasts is logged again after this time."""

_MAX_SUBJECTS = 10_000  # of a ConditionLog; with more, the oldest are logged again
_REMEMBERED = 8  # kinds of texts of one subject
# Numbers in a text that change while the condition is the same: amounts, blocks, durations. Numbers
# that name something are not among them, nor are parts of addresses, hosts and versions.
_AMOUNT: Final = re.compile(
    r"(?<![\w.:/#-])(?<!status )(?<!code )(?<!code -)(?<!chain )(?<!port )(?<!subscription )"
    r"(?<!delivery )(?<!interval )(?<!SDK )\d+(?:,\d{3})*(?:\.\d+)?(?![.:]?\w)"
)


# Commands that do not set up logging print their results, and must not log to stderr.
logging.getLogger(_ROOT).addHandler(logging.NullHandler())


def log_event(
    logger: logging.Logger,
    event: str,
    level: int = logging.INFO,
    **fields: Any,
) -> None:
    """Write one event, named `noun.verb_in_past_tense`; fields of "" and None are left out."""
    if logger.isEnabledFor(level):
        logger.log(level, event, extra={"fields": _given(fields)})


def log_exception(logger: logging.Logger, event: str, error: BaseException, **fields: Any) -> None:
    """Write one event at level ERROR, with the traceback of an unexpected exception."""
    logger.error(event, exc_info=error, extra={"fields": _given(fields)})


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", None)}


def kind_of(text: str) -> str:
    """A text without its amounts: texts of one kind say the same."""
    return _AMOUNT.sub("#", text)


class ConditionLog:
    """Which conditions were logged, so that one that lasts gives one line.

    A condition is a subject, such as the number of a delivery, and a text. It is new when this
    subject had no text of this kind since it ended last, or for `repeat_after` seconds. Texts that
    differ in amounts only are of one kind.
    """

    def __init__(
        self,
        repeat_after: float = REPEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repeat_after = repeat_after
        self._clock = clock
        self._logged: dict[Hashable, dict[str, float]] = {}

    def is_new(self, subject: Hashable, text: str) -> bool:
        """Whether to log a condition now; it counts as logged then."""
        if subject not in self._logged and len(self._logged) >= _MAX_SUBJECTS:
            del self._logged[next(iter(self._logged))]
        kinds = self._logged.setdefault(subject, {})
        kind, now = kind_of(text), self._clock()
        if kind in kinds and now - kinds[kind] < self._repeat_after:
            return False
        kinds.pop(kind, None)
        if len(kinds) >= _REMEMBERED:
            del kinds[next(iter(kinds))]
        kinds[kind] = now
        return True

    def end(self, subject: Hashable) -> None:
        """The conditions of a subject are over: the next one is new."""
        self._logged.pop(subject, None)


def set_up_logging(log: Log, *, verbose: bool = False) -> None:
    """Send the log to stderr or the journal, and to `log.path` when it is set.

    Raises StartupError when the log file cannot be written.
    """
    root = logging.getLogger(_ROOT)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.addHandler(_stderr_handler())
    if log.path:
        root.addHandler(_file_handler(log))


def _stderr_handler() -> logging.Handler:
    journal = stderr_is_journal()
    if journal and SOCKET.exists():
        return JournalHandler(MessageFormatter(), JournalFormatter(), SOCKET)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JournalFormatter() if journal else TextFormatter())
    return handler


def _file_handler(log: Log) -> logging.Handler:
    path = Path(str(log.path)).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=log.max_file_size, backupCount=log.backup_count, encoding="utf-8"
        )
    except OSError as error:
        raise StartupError(
            f"The log file {path} cannot be written ({error.strerror}). Set log.path to a file"
            " that the node may write, or leave it out to log to stderr only."
        ) from error
    handler.setFormatter(JSONFormatter())
    return handler


class TextFormatter(logging.Formatter):
    """`2026-11-23T10:00:00Z INFO node.started port=4000`"""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname:<7} {self._line(record)}"

    def _line(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        shown = "".join(f" {name}={_plain(value)}" for name, value in fields.items())
        line = record.getMessage() + shown
        if record.exc_info:
            # Indented, so that text of an exception cannot look like an entry of its own.
            parts = self.formatException(record.exc_info).split("\n")
            line += "".join(f"\n    {_escaped(part)}" for part in parts)
        return line


class MessageFormatter(TextFormatter):
    """Text without time and level, which the journal stores itself."""

    def format(self, record: logging.LogRecord) -> str:
        return self._line(record)


class JournalFormatter(TextFormatter):
    """Text with journald's level in front of every line."""

    def format(self, record: logging.LogRecord) -> str:
        level = LEVELS.get(record.levelname, 6)
        return "\n".join(f"<{level}>{line}" for line in self._line(record).split("\n"))


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, event, the fields, and the exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return _json(line)
        except UnicodeEncodeError:  # bytes of a container's headers that are not text
            return _json({name: _text(value) for name, value in line.items()})


def _json(value: Any) -> str:
    return _escaped(msgspec.json.encode(value, enc_hook=str).decode())


def _escaped(text: str) -> str:
    """Text with each character that is not printable as a JSON escape.

    JSON does not require escapes for line separators and the like, but journald, terminals and
    programs that read lines interpret them.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode()


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> str:
    """A field's value; quoted where it could be read as something other than one value."""
    text = str(value)
    if text and text.isprintable() and not any(char in text for char in ' "='):
        return text
    return _json(_text(text))
