"""What was logged, as events with their fields."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Events(logging.Handler):
    """Collects the events of the loggers that it is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.getMessage(), getattr(record, "fields", {})))

    def of(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.seen if event == name]


@contextmanager
def listen(name: str) -> Iterator[Events]:
    """Collect the events of a logger and of those below it, from INFO on."""
    events, logger = Events(), logging.getLogger(name)
    before = logger.level
    logger.addHandler(events)
    logger.setLevel(logging.INFO)
    try:
        yield events
    finally:
        logger.removeHandler(events)
        logger.setLevel(before)
