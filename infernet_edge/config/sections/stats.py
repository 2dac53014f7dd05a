"""The section `stats` of the reference node, which has no effect here."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Stats(Struct, frozen=True):
    host: Annotated[
        str, Meta(description="Host of a Fluent forward receiver", extra={"served": False})
    ] = ""
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Port of that receiver",
            extra={"served": False, "text_allowed": True},
        ),
    ] = 24224
