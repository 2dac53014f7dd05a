"""The head of a request as bytes."""

from __future__ import annotations

import functools
import re
from typing import Final

from infernet_edge.http_client.errors import InvalidHeader
from infernet_edge.http_client.urls import Target

Headers = tuple[tuple[str, str], ...]
"""Names and values, in the order in which they are sent."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OWN: Final = frozenset({"content-length", "transfer-encoding", "connection"})


@functools.lru_cache(maxsize=128)
def head_of(method: str, target: Target, headers: Headers) -> bytes:
    """The head without its end, to which only the length of the body is added.

    Those of `headers` that say how the body is sent are left out: the client knows that itself.
    Raises InvalidHeader for what would not be one header.
    """
    lines = [f"{method} {target.target} HTTP/1.1"]
    if not any(name.lower() == "host" for name, _ in headers):
        lines.append(f"Host: {target.host}")
    proxy = target.origin.proxy
    if proxy is not None and proxy.authorization and not target.origin.is_tls:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    for name, value in headers:
        if not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise InvalidHeader("a header cannot be sent over HTTP")
        if name.lower() not in _OWN:
            lines.append(f"{name}: {value}")
    try:
        return "\r\n".join(lines).encode() + b"\r\n"
    except UnicodeEncodeError:  # half of a surrogate pair
        raise InvalidHeader("a header cannot be sent over HTTP") from None


def with_length(head: bytes, size: int | None) -> bytes:
    """The whole head of a request with a body of so many bytes; None for no body."""
    if size is None:
        return head + b"\r\n"
    return b"%bContent-Length: %d\r\n\r\n" % (head, size)
