"""The HTTP proxy of the environment for a URL.

It is HTTPS_PROXY or HTTP_PROXY by the scheme of the URL, else ALL_PROXY; NO_PROXY lists hosts
without one. Names in lower case come first. This machine is never asked through a proxy.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from infernet_edge.config.host_names import OF_THIS_MACHINE, host_of, is_loopback
from infernet_edge.errors import InfernetEdgeError

_PORTS: Final = {"http": 80, "https": 443}
_SHOWN_SCHEME = 20  # characters of another scheme that are shown


class Proxy(NamedTuple):
    """A proxy; `name` is its host and port, which may be shown, `variable` is where it is set.

    `authorization` is what the header Proxy-Authorization has, "" for none.
    """

    url: str
    authorization: str
    name: str
    variable: str


class UnusableProxy(InfernetEdgeError):
    """The environment names a proxy that cannot be used; the text shows nothing secret."""


def proxy_of(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy through which a URL is asked, None without one. Raises UnusableProxy."""
    host, scheme = host_of(url), urlsplit(url).scheme
    if is_loopback(host) or host in OF_THIS_MACHINE:
        return None
    variable = _variable(environment, f"{scheme}_proxy", "all_proxy")
    if not variable or _is_excepted(url, environment.get(_variable(environment, "no_proxy"), "")):
        return None
    return _parsed(environment[variable].strip(), variable)


def _variable(environment: Mapping[str, str], *names: str) -> str:
    """The first variable that is set, to more than nothing."""
    both = (form for name in names for form in (name, name.upper()))
    return next((name for name in both if environment.get(name, "").strip()), "")


def _parsed(text: str, variable: str) -> Proxy:
    advice = f"set {variable} to http://host:port"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UnusableProxy(f"{variable} is not a URL; {advice}") from None
    if parts.scheme not in _PORTS:
        kind = parts.scheme if len(parts.scheme) < _SHOWN_SCHEME else "its scheme"
        raise UnusableProxy(f"{variable}: a proxy of the kind {kind} is not supported; {advice}")
    if not host:
        raise UnusableProxy(f"{variable} names no host; {advice}")
    authorization = ""
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        if ":" in user:  # RFC 7617, section 2
            raise UnusableProxy(f"{variable}: its user name must not have a colon")
        authorization = f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
    shown = f"[{host}]" if ":" in host else host
    name = f"{shown}:{port or _PORTS[parts.scheme]}"
    return Proxy(f"{parts.scheme}://{name}", authorization, name, variable)


def _is_excepted(url: str, exceptions: str) -> bool:
    """Whether NO_PROXY lists the host of a URL: by name, domain, address or network."""
    parts = urlsplit(url)
    host = host_of(url)
    port = parts.port or _PORTS.get(parts.scheme)
    return any(_excepts(each, host, port) for each in re.split(r"[,\s]+", exceptions) if each)


def _excepts(exception: str, host: str, port: int | None) -> bool:
    if exception == "*":
        return True
    if (found := re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d{1,5})", exception)) is not None:
        if int(found[2]) != port:
            return False
        exception = found[1]
    exception = exception.strip("[]").lower().rstrip(".")
    try:
        network = ipaddress.ip_network(exception, strict=False)
        return ipaddress.ip_address(host) in network
    except ValueError:  # one of the two is a name
        domain = exception.removeprefix("*").removeprefix(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
