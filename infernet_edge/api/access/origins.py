"""Web pages of other origins that may use the API: the CORS protocol (https://fetch.spec.whatwg.org).

Only pages of origins that `server.allowed_origins` lists may read answers; each is compared exactly
as a browser sends it. Credentials of the browser (cookies, its passwords and certificates)
are never allowed: a page that has a token sends it in `authorization` itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from starlette.types import Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

_REQUEST_METHOD: Final = b"access-control-request-method"
_PRIVATE_NETWORK: Final = b"access-control-request-private-network"
_KEPT: Final = b"600"  # seconds for which a browser keeps the answer to a preflight
_VARY: Final = (b"vary", b"origin")
_READABLE: Final = (
    b"access-control-expose-headers",
    b"retry-after, allow, link, preference-applied, x-infernet-job-id,"
    b" ratelimit-limit, ratelimit-remaining, ratelimit-reset",
)
_FIELDS: Final = b"authorization, content-type, idempotency-key, last-event-id, prefer"


class Origins:
    """The origins of the configuration."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(origin.encode() for origin in allowed)

    def allows(self, origin: bytes | None) -> bool:
        """Whether the configuration lists this origin, the field of a request."""
        return origin is not None and origin in self._allowed

    def headers(self, scope: Scope) -> Headers:
        """What every answer to a request has, also an error."""
        if not self._allowed:
            return []
        origin = self._origin(scope)
        if origin is None:
            return [_VARY]
        return [(b"access-control-allow-origin", origin), _READABLE, _VARY]

    def is_preflight(self, scope: Scope) -> bool:
        """Whether a browser asks if a page of a listed origin may send a request."""
        if scope["method"] != "OPTIONS" or not self._allowed or self._origin(scope) is None:
            return False
        return any(name == _REQUEST_METHOD for name, _ in scope["headers"])

    def _origin(self, scope: Scope) -> bytes | None:
        """The origin of a request, if it is listed; None when there are two."""
        found = [value for name, value in scope["headers"] if name == b"origin"]
        return found[0] if len(found) == 1 and self.allows(found[0]) else None


class Preflight:
    """The answer to a preflight request: the methods and fields that pages may use."""

    def __init__(self, methods: Sequence[str], *, any_field: bool = False) -> None:
        """`any_field`: also those that are not named here, as OpenAI's library sends them."""
        self._methods = ", ".join(methods).encode()
        self._fields = _FIELDS + b", *" if any_field else _FIELDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"access-control-allow-methods", self._methods),
            (b"access-control-allow-headers", self._fields),
            (b"access-control-max-age", _KEPT),
        ]
        # https://wicg.github.io/private-network-access/: a page of the internet, a node of the LAN
        if (_PRIVATE_NETWORK, b"true") in scope["headers"]:
            headers.append((b"access-control-allow-private-network", b"true"))
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
