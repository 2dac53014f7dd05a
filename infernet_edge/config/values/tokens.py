"""A token of `server.tokens`: a secret, or a table with a secret and what it permits."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from infernet_edge.config.secret_files import Secret


class Token(Struct, frozen=True):
    """A table; it has either `token` or `file`. `expires` is a date, "" for none."""

    token: Secret | None = None
    file: Annotated[Secret | None, Meta(extra={"in_file": True})] = None
    scope: Literal["read", "submit", "operator", "metrics"] = "submit"
    expires: str = ""


def secret_of(token: Secret | Token) -> Secret:
    """The text of one of `server.tokens`."""
    if isinstance(token, Secret):
        return token
    return token.token or token.file or Secret("")
