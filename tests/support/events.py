"""What was logged, as events with their fields."""

from __future__ import annotations

import logging
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
