"""The settings of the log: `log` in the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Log(Struct, frozen=True):
    path: Annotated[
        str | None,
        Meta(
            description="File for the log, as JSON lines; without it the log goes to stderr only",
            extra={"path": "log"},
        ),
    ] = None
    max_file_size: Annotated[
        int,
        Meta(
            ge=1024,
            description="Bytes after which the log file is rotated",
            extra={"clamped": "minimum"},
        ),
    ] = 10 * 2**20
    backup_count: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="How many rotated log files are kept",
            extra={"clamped": "maximum"},
        ),
    ] = 2
