"""What callers may do: scopes, and the permissions that each endpoint needs.

An endpoint has `permissions`, by method, where it does not need the usual ones. With
`open_to_this_machine`, programs of this machine have them without a token, see Access.
"""

from __future__ import annotations

import enum
from typing import Final

from infernet_edge.errors import Forbidden


class Permission(enum.Flag):
    """One kind of access. A scope, which a token has, is a set of these."""

    READ = enum.auto()
    """To read own jobs, and what is the same for all clients."""
    SUBMIT = enum.auto()
    """To submit, and to cancel own jobs."""
    OPERATE = enum.auto()
    """To read and cancel jobs of all clients, to read logs and settings, to restart containers."""
    MEASURE = enum.auto()
    """To read the metrics."""


SCOPES: Final = {
    "read": Permission.READ,
    "submit": Permission.READ | Permission.SUBMIT,
    "operator": ~Permission(0),
    "metrics": Permission.MEASURE,
}
"""The scopes by name, as tokens have them."""


# The least scope with each permission; named in refusals.
_LEAST: Final = {
    Permission.READ: "read",
    Permission.SUBMIT: "submit",
    Permission.OPERATE: "operator",
    Permission.MEASURE: "metrics",
}
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def usual_permission(method: str) -> Permission:
    """What an endpoint needs that does not name its permissions."""
    return Permission.READ if method in _READING else Permission.SUBMIT


def demand(needed: Permission, held: Permission) -> None:
    """Raise Forbidden, with the scope that is missing, unless `needed` is one of `held`."""
    if needed not in held:
        scope = _LEAST[needed]
        raise Forbidden(
            f"This needs the scope {scope}: make a token with infernet-edge token new NAME"
            f" --scope {scope}, and send it as Authorization: Bearer TOKEN",
            {"scope": scope},
        )
