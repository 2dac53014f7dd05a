"""The section `backup`: scheduled backups."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

_LONGEST = 10 * 365 * 24 * 3600  # seconds


class Backup(Struct, frozen=True):
    path: Annotated[
        str | None,
        Meta(
            description="Folder for scheduled backups, better on another disk, which has to exist;"
            " default: none are made"
        ),
    ] = None
    every: Annotated[
        float,
        Meta(ge=60, le=_LONGEST, description="Seconds between two of them; default 1 day"),
    ] = 24 * 3600.0
    keep: Annotated[
        int, Meta(ge=1, le=1000, description="How many are kept; older ones are deleted")
    ] = 7
