"""Identifies and admits callers: Host and Origin, tokens, proxies, rate limits.

Nothing in a request's body identifies the caller. A caller is its address, or, with tokens, the
name that its token has in the configuration.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from starlette.types import Scope

from infernet_edge.api.access.hosts import Hosts, host_name, is_address
from infernet_edge.api.access.origins import Origins
from infernet_edge.api.access.permissions import SCOPES, Permission
from infernet_edge.api.access.rate_limits import POLLS, Charge, RateLimiter
from infernet_edge.api.access.token_checks import refusal
from infernet_edge.api.access.tokens import Grant, Tokens
from infernet_edge.config.host_names import is_loopback_address
from infernet_edge.config.model import RateLimit, Server
from infernet_edge.errors import (
    BadRequest,
    Forbidden,
    TooManyRequests,
    Unauthenticated,
    UnsupportedMediaType,
)
from infernet_edge.logs import log_event
from infernet_edge.schema import TokenScope

logger = logging.getLogger(__name__)

_READ: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_BODILESS: Final = _READ | {"DELETE"}
_OPEN_PATHS: Final = frozenset({"/health"})  # no token and no limit: supervisors poll these
# No limit: a page reconnects when its stream ends, and the number of readers is limited.
_UNCOUNTED_PATHS: Final = _OPEN_PATHS | {"/api/events"}
# Static files: they hold no data. The page gets its token from the person in front of it.
_PAGE: Final = "/"
_PAGE_FILES: Final = "/ui/"
# Their execution decides whether they count: see api/endpoints/jobs.py and api/status.py.
_MAY_POLL: Final = frozenset(
    {"GET /api/jobs", "HEAD /api/jobs", "GET /api/jobs/{id}", "HEAD /api/jobs/{id}"}
)
_STATUS: Final = "PUT /api/status"
_WRONG_TOKENS: Final = RateLimit(num_requests=10, period=60)  # per address
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Fields that a proxy adds: the peer forwards another's request. They are lists, and may repeat.
_RELAYED: Final = (
    b"forwarded",
    b"via",
    b"x-real-ip",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-forwarded-server",
    b"cf-connecting-ip",  # Cloudflare
    b"true-client-ip",  # Akamai
)
_NEEDED: Final = frozenset(
    {b"host", b"origin", b"authorization", b"content-type", b"sec-fetch-site", *_RELAYED}
)


class Caller(NamedTuple):
    """The origin of a request: `client` owns jobs, `address` is checked against `allowed_ips`.

    `relayed`: the request came through a proxy that is not trusted, or does not name its client. So
    an unknown client may have sent it through a program on this machine.
    """

    client: str
    address: str
    relayed: bool = False
    permissions: Permission = SCOPES["submit"]
    grant: Grant | None = None
    """The token that it has sent; None when it needs none."""
    is_admitted: Callable[[], bool] = lambda: True
    """Whether it would be admitted now; for answers without an end, after they have begun."""

    @property
    def is_operator(self) -> bool:
        """Whether it may see and change what belongs to other clients."""
        return Permission.OPERATE in self.permissions

    @property
    def jobs_of(self) -> str | None:
        """The client whose jobs it may see and change; None for those of all clients."""
        return None if self.is_operator else self.client

    def owns(self, client: str) -> bool:
        """Whether it may see and change the jobs of this client."""
        return client == self.client or self.is_operator

    @property
    def scope(self) -> TokenScope:
        """The name of the scope with its permissions."""
        if self.grant is not None:
            return self.grant.scope
        return "operator" if self.is_operator else "submit"


OPERATOR: Final = Caller("operator", "127.0.0.1", permissions=SCOPES["operator"])
"""The caller at the control socket: who may open its file owns the node."""


class Access:
    """Decides about a request before anything reads its body."""

    def __init__(
        self, server: Server, tokens: Tokens, open_here: Mapping[str, Permission] | None = None
    ) -> None:
        """`open_here`: the endpoints, with what they need, that programs of this machine may use.

        They need no token for these, and who may use one is not limited in how often.
        """
        self._open_here = open_here or {}
        self._tokens = tokens
        self._limiter = RateLimiter(server.rate_limit)
        self._polls = RateLimiter(POLLS)
        self._wrong_tokens = RateLimiter(_WRONG_TOKENS)
        self.apply(server)

    def apply(self, server: Server) -> None:
        """Decide by these settings from now on; what was counted for rate limits is kept."""
        self._limiter.apply(server.rate_limit)
        self._proxies = [
            ipaddress.ip_network(text, strict=False) for text in server.trusted_proxies
        ]
        self.hosts = Hosts(server)
        self.origins = Origins(server.allowed_origins)

    def admit(self, scope: Scope, endpoint: str) -> tuple[Caller, Charge | None]:
        """The caller, and the charge of the request to its rate limit, if it has one.

        Raises BadRequest, Forbidden (Host or Origin), Unauthenticated, UnsupportedMediaType,
        TooManyRequests.
        """
        headers = _fields(scope)
        self._check_host(headers, scope)
        if self.origins.allows(headers.get(b"origin")):
            _check_type(headers, scope)
        elif b"origin" in headers or b"sec-fetch-site" in headers:
            self._check_browser(headers, scope)
        needed = self._open_here.get(endpoint)
        if needed is not None and _is_local(headers, scope):
            address = _plain(scope["client"][0])
            return Caller(address, address, permissions=needed), None
        caller = self._caller(headers, scope)
        if needed is not None and needed in caller.permissions:
            return caller, None
        if not self._limiter.active or scope["path"] in _UNCOUNTED_PATHS or _is_static(scope):
            return caller, None
        charge = Charge(self._limiter, self._polls, caller.client, endpoint)
        if endpoint in _MAY_POLL:
            charge.admit_poll()
        elif endpoint != _STATUS:
            charge.settle()
        return caller, charge

    def _check_host(self, headers: dict[bytes, bytes], scope: Scope) -> None:
        """Refuse other names than the node's: a web page may point its own name at its address."""
        host = headers.get(b"host")
        if host is None or scope["path"] in _OPEN_PATHS:  # browsers always send a Host
            return
        name = host_name(host.decode("latin-1"))
        if not self.hosts.allows(name, _own_address(scope)):
            self.hosts.refuse(name)
            raise Forbidden(
                "Host not allowed: add it to server.allowed_hosts to reach the node by this name",
                {"host": name},
            )

    def _check_browser(self, headers: dict[bytes, bytes], scope: Scope) -> None:
        """Refuse requests that a page of another origin makes a browser send.

        A request that changes something must be sent by a page of the same origin, as in Go's
        net/http.CrossOriginProtection. To these the node answers no CORS preflight, so a body that
        is declared as JSON can only be sent by pages of its own hosts.
        """
        reads = scope["method"] in _READ
        origin = headers.get(b"origin")
        if origin is not None and not self.hosts.any:
            name, own = _origin_host(origin)[0], _own_host(headers, origin)[0]
            if not name or (name != own and not self.hosts.is_own(name, _own_address(scope))):
                raise Forbidden("Origin not allowed", {"origin": origin.decode("latin-1")[:200]})
        site = headers.get(b"sec-fetch-site", b"").lower()
        if not reads and site not in (b"same-origin", b"none") and not self.hosts.any:
            if site and origin is None:
                raise Forbidden("Requests from other web sites are not allowed")
            if origin is not None and _origin_host(origin) != _own_host(headers, origin):
                raise Forbidden("Origin not allowed", {"origin": origin.decode("latin-1")[:200]})
        if origin is not None and origin != _own_origin(headers, scope):
            is_own = _origin_host(origin) == _own_host(headers, origin)
            _check_type(headers, scope, always=not is_own)

    def _caller(self, headers: dict[bytes, bytes], scope: Scope) -> Caller:
        peer = scope.get("client")
        address = _plain(peer[0]) if peer else ""
        relayed = any(name in headers for name in _RELAYED)
        if relayed and self._is_proxy(address):
            forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
            if forwarded:
                address = self._behind_proxies(forwarded, address)
                relayed = not address
        # Browsers send no token with a preflight, and the answer to it is not secret.
        is_open = scope["path"] in _OPEN_PATHS or _is_static(scope)
        if is_open or self.origins.is_preflight(scope):
            return Caller(address, address, relayed)
        if self._tokens.is_open:
            return Caller(address, address, relayed, is_admitted=self._tokens.is_still_open)
        grant = self._grant(headers, address)
        return Caller(grant.client, address, relayed, grant.permissions, grant, grant.is_valid)

    def _is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)

    def _behind_proxies(self, forwarded: str, peer: str) -> str:
        """The last address in X-Forwarded-For that is not a trusted proxy: it cannot be forged.

        "" when the proxy sends something that is not an address, such as "unknown".
        """
        for text in reversed(forwarded.split(",")):
            hop = _plain(text.strip())
            if not is_address(hop):
                hop = _plain(host_name(hop))  # some proxies add the port
            if not is_address(hop):
                return ""
            if not self._is_proxy(hop):
                return hop
            peer = hop
        return peer

    def _grant(self, headers: dict[bytes, bytes], address: str) -> Grant:
        """What the token permits. A valid one is accepted after any number of wrong ones."""
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            text = "A token is needed: send the header Authorization: Bearer TOKEN"
            raise refusal(text, "missing")
        try:
            return self._tokens.find(token.strip())
        except Unauthenticated as error:
            self._count_wrong_token(address, error)
            raise

    def _count_wrong_token(self, address: str, error: Unauthenticated) -> None:
        """Log the first of each minute; raises TooManyRequests when there are too many."""
        used, reset = self._wrong_tokens.use(address, "token")
        if used == 1:
            reason, name = error.params["reason"], error.params.get("name")
            log_event(
                logger,
                "token.refused",
                logging.WARNING,
                address=address,
                reason=reason,
                token=name,
            )
        if used > _WRONG_TOKENS.num_requests:
            raise TooManyRequests(
                "Too many wrong tokens from this address", {}, {"retry-after": reset}
            ) from None


def _fields(scope: Scope) -> dict[bytes, bytes]:
    """The header fields that identify the caller. Raises BadRequest when one is there twice."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name not in _NEEDED:
            continue
        if name in found and name not in _RELAYED:
            field = name.decode()
            raise BadRequest(f"header {field}: expected once, found twice", {"field": field})
        found.setdefault(name, []).append(value)
    return {name: b", ".join(values) for name, values in found.items()}  # RFC 9110, 5.3


def _is_static(scope: Scope) -> bool:
    """Whether a file of the dashboard is requested."""
    path: str = scope["path"]
    return path == _PAGE or path.startswith(_PAGE_FILES)


def _check_type(headers: dict[bytes, bytes], scope: Scope, *, always: bool = False) -> None:
    """Refuse a page's body that is not declared as JSON: browsers send it without a preflight.

    They never send DELETE without one, and its body is not read. `always`: also where there is no
    body, for a request that a page of any origin may send.
    """
    if scope["method"] in _BODILESS or not (always or _has_body(scope)):
        return
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise UnsupportedMediaType("Expected content-type application/json")


def _is_local(headers: dict[bytes, bytes], scope: Scope) -> bool:
    """Whether a program of this machine sent the request for itself: no proxy, no web page.

    A proxy on this machine that adds none of _RELAYED looks like such a program.
    """
    if any(name in headers for name in (b"origin", b"sec-fetch-site", *_RELAYED)):
        return False
    peer = scope.get("client")
    return peer is not None and is_loopback_address(_plain(peer[0]))


def _has_body(scope: Scope) -> bool:
    """Whether a request has a body, RFC 9112, section 6; one of zero bytes is none."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 "))
        for name, value in scope["headers"]
    )


def _own_origin(headers: dict[bytes, bytes], scope: Scope) -> bytes:
    """The origin of the node's own pages, at the address of this request."""
    scheme: str = scope.get("scheme", "http")
    return scheme.encode() + b"://" + headers.get(b"host", b"").strip().lower()


def _own_address(scope: Scope) -> str:
    """The address of this machine at which the request arrived."""
    server = scope.get("server")
    return _plain(server[0]) if server else ""


def _origin_host(origin: bytes) -> tuple[str, str]:
    """Host and port in an Origin header; "" for the port that its scheme has by default."""
    try:
        parts = urlsplit(origin.decode("latin-1").lower())
        default = _DEFAULT_PORTS.get(parts.scheme)
        return parts.hostname or "", "" if parts.port in (None, default) else str(parts.port)
    except ValueError:
        return "", ""


def _own_host(headers: dict[bytes, bytes], origin: bytes) -> tuple[str, str]:
    """Host and port in the Host header; "" for the port that the origin's scheme has by default.

    A proxy may terminate TLS, and then the node cannot detect that clients use https.
    """
    host = headers.get(b"host", b"").decode("latin-1").strip().lower()
    port = host.rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
    default = _DEFAULT_PORTS.get(origin.partition(b":")[0].decode("latin-1").lower())
    return host_name(host), "" if port == str(default) else port


def _plain(address: str) -> str:
    """An address as IPv4 where it is an IPv4-mapped IPv6 one, and without a zone."""
    return address.removeprefix("::ffff:").partition("%")[0]
