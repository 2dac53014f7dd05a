"""What prevents that a token is made, revoked or accepted, each with a text for the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from infernet_edge.clock import iso_time
from infernet_edge.errors import BadRequest, Conflict, NotFound, Unauthenticated
from infernet_edge.storage.token_file import MAX_TOKENS, NAME, NAME_FORM


class Named(Protocol):
    """What is to be known of a present token."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def is_configured(self) -> bool:
        """Whether it is one of `server.tokens`."""


def check_name(name: str) -> None:
    """Raise BadRequest unless a token may have this name."""
    if not NAME.fullmatch(name):
        raise BadRequest(f"name: expected {NAME_FORM}", {"field": "name"})


def check_new(name: str, present: Sequence[Named]) -> None:
    """Raise Conflict when there is a token of this name, or too many."""
    for grant in present:
        if grant.name == name:
            advice = (
                "it is in server.tokens; change it there"
                if grant.is_configured
                else f"choose another name, or revoke it: infernet-edge token revoke {name}"
            )
            raise Conflict(f"There is a token {name} already: {advice}", {"name": name})
    if sum(not grant.is_configured for grant in present) >= MAX_TOKENS:
        raise Conflict(
            f"There are {MAX_TOKENS} tokens, which is the maximum: revoke those that are not used",
            {"limit": MAX_TOKENS},
        )


def check_expiry(expires_at: int | None, now: int, flaw: str) -> None:
    """Raise BadRequest or Conflict when a new token cannot expire then."""
    if expires_at is None:
        return
    if flaw:
        raise Conflict(f"expires: {flaw}. Set the clock, or make a token without an expiry")
    if expires_at <= now:
        raise BadRequest(
            f"expires: expected a date in the future, found {iso_time(expires_at)[:16]} UTC",
            {"field": "expires"},
        )


def check_revocable(name: str, present: Sequence[Named], *, may_open: bool) -> None:
    """Raise NotFound, or Conflict when revoking would open the node and that is not wanted."""
    named = [grant for grant in present if grant.name == name]
    if not named:
        raise NotFound(
            "There is no such token; list them with: infernet-edge token list", {"name": name}
        )
    if all(grant.is_configured for grant in named):
        raise Conflict(
            f"The token {name} is in server.tokens: remove it there, then run:"
            " infernet-edge reload",
            {"name": name},
        )
    if len(present) == 1 and not may_open:
        raise Conflict(
            f"{name} is the only token: without any, everyone on the network may submit jobs."
            " Make another one first (infernet-edge token new NAME --scope SCOPE), or confirm that"
            " the node shall be open",
            {"name": name, "opens_node": True},
        )


def refusal(text: str, reason: str, name: str = "") -> Unauthenticated:
    """The answer to a request without a valid token (RFC 6750, 3); its `params` have the reason.

    `name` is that of a token which was valid once: only its holder gets that far.
    """
    params = {"reason": reason, "name": name} if name else {"reason": reason}
    challenge = "Bearer" if reason == "missing" else 'Bearer error="invalid_token"'
    return Unauthenticated(text, params, {"www-authenticate": challenge})


def damage_text(path: Path, reason: str) -> str:
    """What to do about a file of tokens that cannot be read."""
    return (
        f"The file of tokens {path} cannot be used: {reason}. Every token in it is refused, and the"
        " node stays closed. Restore the file from a backup and restart the node, or make new"
        " tokens: infernet-edge token new NAME --scope SCOPE --replace-damaged"
    )
