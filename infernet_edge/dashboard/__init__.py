"""The dashboard: static files for a browser, served at / and below /ui/.

The files hold no data of the node: the page reads all of it through the API, with the token of its
user. So they need no token and count in no rate limit. Nothing is read before the first request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.types import Receive, Scope, Send

from infernet_edge.errors import NotFound

if TYPE_CHECKING:
    from infernet_edge.dashboard.package import Package

INDEX: Final = "/"
FILES: Final = "/ui/{version}/{name:path}"
"""The paths of the dashboard."""

# `require-trusted-types-for` makes the browser refuse text that becomes markup or a program, see
# https://www.w3.org/TR/trusted-types/ and https://www.w3.org/TR/CSP3/.
_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        *("script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'"),
        *("manifest-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        *("require-trusted-types-for 'script'", "trusted-types 'none'"),
    ]
)
_UNUSED: Final = (
    *("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "magnetometer"),
    *("microphone", "midi", "payment", "publickey-credentials-get", "serial", "usb"),
)
_SECURITY: Final = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", ", ".join(f"{name}=()" for name in _UNUSED).encode()),
    (b"vary", b"accept-encoding"),
]
_OVER_TLS: Final = (b"cross-origin-opener-policy", b"same-origin")  # browsers ignore it on http
_REVALIDATED: Final = b"no-cache"
_FOREVER: Final = b"public, max-age=31536000, immutable"  # the path changes with the files


class DashboardEndpoint:
    """GET / is the page, GET /ui/VERSION/NAME the files that it loads."""

    methods = ("GET", "HEAD")

    def __init__(self) -> None:
        self._package: Package | None = None

    async def _loaded(self) -> Package:
        """The files; the first request reads them, and imports what that needs."""
        if self._package is None:
            self._package = await asyncio.to_thread(_load)
        return self._package

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        package = await self._loaded()
        name = scope["path_params"].get("name")
        found = package.index if name is None else package.files.get(name)
        if found is None:
            raise NotFound("No such file of the dashboard; GET / is its page")
        # A page of another version still gets the files of this one, but must not keep them.
        is_current = name is not None and scope["path_params"]["version"] == package.version
        headers = [
            *_SECURITY,
            (b"etag", found.etag),
            (b"cache-control", _FOREVER if is_current else _REVALIDATED),
        ]
        if scope["scheme"] == "https":
            headers.append(_OVER_TLS)
        sent = dict(scope["headers"])
        if found.etag in sent.get(b"if-none-match", b""):
            await _send(send, 304, headers, b"")
            return
        body = found.text
        if b"gzip" in sent.get(b"accept-encoding", b""):
            body = found.compressed
            headers.append((b"content-encoding", b"gzip"))
        headers += [(b"content-type", found.kind), (b"content-length", b"%d" % len(body))]
        await _send(send, 200, headers, b"" if scope["method"] == "HEAD" else body)


def _load() -> Package:
    from infernet_edge.dashboard.package import Package

    return Package()


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
