"""URLs of http, https and unix as what a request needs of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from infernet_edge.http_client.errors import InvalidUrl

_PORTS: Final = {"http": 80, "https": 443}
_PATH_SIGNS: Final = "/%:@!$&'()*+,;=~"  # of RFC 3986, 3.3, and the % of what is encoded already
_QUERY_SIGNS: Final = _PATH_SIGNS + "?"
_MAX_LABEL: Final = 63  # characters, RFC 1035, 2.3.4
_LONE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

Query = tuple[tuple[str, str], ...]


class Via(NamedTuple):
    """A proxy on the way; `authorization` is its header Proxy-Authorization, "" for none."""

    host: str
    port: int
    is_tls: bool = False
    authorization: str = ""


class Origin(NamedTuple):
    """Where a server listens: a host and a port, or the path of a Unix socket."""

    host: str
    port: int
    is_tls: bool = False
    socket_path: str = ""
    proxy: Via | None = None


class Target(NamedTuple):
    """One URL: where it is sent, the request target (path and query) and the Host header."""

    origin: Origin
    target: str
    host: str


@functools.lru_cache(maxsize=128)  # one may have a query of 12 KB that a client chose
def parse_url(url: str, query: Query = ()) -> Target:
    """A URL such as http://host:3000/path?a=b, with more parameters.

    Those replace the ones of the URL with the same names. What a URL cannot hold is
    percent-encoded; user name and password are ignored. Raises InvalidUrl.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, _ascii_host(parts.hostname or "")
    except ValueError:  # includes UnicodeError, of a name that DNS cannot have
        raise InvalidUrl("the url is not valid") from None
    if parts.scheme not in _PORTS or not host:
        raise InvalidUrl("the url is not valid")
    origin = Origin(host, port or _PORTS[parts.scheme], parts.scheme == "https")
    # The zone of an IPv6 address means something on this machine only (RFC 6874, 4).
    named = f"[{host.partition('%')[0]}]" if ":" in host else host
    if port not in (None, _PORTS[parts.scheme]):
        named = f"{named}:{port}"
    return Target(origin, _target(parts.path, parts.query, query), named)


def unix_target(socket_path: str, target: str, query: Query = ()) -> Target:
    """The same for a server at a Unix socket."""
    origin = Origin("", 0, socket_path=socket_path)
    return Target(origin, _target(target, "", query), "localhost")


def through(target: Target, proxy_url: str, authorization: str) -> Target:
    """The same through the proxy at a URL. Raises InvalidUrl."""
    host, port, is_tls, *_ = parse_url(proxy_url).origin
    origin = target.origin._replace(proxy=Via(host, port, is_tls, authorization))
    if origin.is_tls:  # the proxy opens a tunnel
        return target._replace(origin=origin)
    return target._replace(origin=origin, target=f"http://{target.host}{target.target}")


def _ascii_host(host: str) -> str:
    """A host as DNS has it: `bücher.example` is `xn--bcher-kva.example`."""
    if " " in host or not host.isprintable():
        raise ValueError("a sign that no host has")
    if ":" in host:  # the percent sign before a zone is encoded or not (RFC 6874, 2 and 3)
        return re.sub("%25(?=.)", "%", host, count=1)
    if not host.isascii():
        return host.encode("idna").decode("ascii")
    if any(not 1 <= len(label) <= _MAX_LABEL for label in host.removesuffix(".").split(".")):
        raise ValueError("a label of DNS is empty or too long")
    return host


def _target(path: str, own: str, more: Iterable[tuple[str, str]]) -> str:
    encoded = _encoded(path, _PATH_SIGNS) or "/"
    replaced = {name for name, _ in more}
    if replaced:
        kept = [pair for pair in parse_qsl(own, keep_blank_values=True) if pair[0] not in replaced]
        own = urlencode([*kept, *more])
    else:
        own = _encoded(own, _QUERY_SIGNS)
    return f"{encoded}?{own}" if own else encoded


def _encoded(text: str, safe: str) -> str:
    return quote(_LONE_PERCENT.sub("%25", text), safe=safe)
