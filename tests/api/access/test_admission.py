"""Callers and their permissions: hosts, origins, tokens, proxies, rate limits."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Scope

from infernet_edge.api.access import admission
from infernet_edge.api.access.admission import Access
from infernet_edge.api.access.permissions import SCOPES, Permission
from infernet_edge.config.model import RateLimit, Server
from infernet_edge.config.secret_files import Secret
from infernet_edge.errors import (
    BadRequest,
    Forbidden,
    TooManyRequests,
    Unauthenticated,
    UnsupportedMediaType,
)
from tests.support.running import running
from tests.support.serving import Echo, serving
from tests.support.tokens import tokens_of

NO_LIMIT = RateLimit(num_requests=0)
TOKENS = {"bob": Secret("0123456789abcdef"), "eve": Secret("fedcba9876543210")}


def scope(
    method: str = "GET",
    path: str = "/info",
    peer: str = "192.168.1.7",
    own: str = "192.168.1.2",
    **headers: str,
) -> Scope:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "headers": sent,
        "client": (peer, 50_000),
        "server": (own, 4000),
    }


def make(open_here: dict[str, Permission] | None = None, **settings: Any) -> Access:
    server = Server(**{"rate_limit": NO_LIMIT, **settings})
    return Access(server, tokens_of(server.tokens), open_here)


def admitted(settings: dict[str, Any], asked: Scope) -> admission.Caller:
    return make(**settings).admit(asked, "GET /info")[0]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:4000",
        "LOCALHOST:4000",
        "127.0.0.1:4000",
        "[::1]:4000",
        "[::1]",
        "192.168.1.2",
        "192.168.1.2:4000",
        socket.gethostname(),
        socket.gethostname().partition(".")[0] + ".local:4000",
    ],
)
def test_our_own_names_and_addresses(host: str) -> None:
    assert admitted({}, scope(host=host)).client == "192.168.1.7"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4000",
        "",
        "localhost.evil.example",
        "10.0.0.1.evil.example",
        ".",
    ],
)
def test_other_names_are_refused(host: str) -> None:
    with pytest.raises(Forbidden, match="Host not allowed"):
        admitted({}, scope(host=host))
    assert admitted({"allowed_hosts": ["*"]}, scope(host=host)).client == "192.168.1.7"


def test_names_of_the_configuration() -> None:
    settings = {"allowed_hosts": ["Node.Example"]}
    assert admitted(settings, scope(host="node.example:4000"))
    with pytest.raises(Forbidden):
        admitted(settings, scope(host="other.example"))


def test_a_request_without_a_host_is_served() -> None:
    assert admitted({}, scope())  # HTTP/1.0; browsers always send one


@pytest.mark.parametrize(
    "name", ["host", "authorization", "origin", "content-type", "sec-fetch-site"]
)
def test_a_field_that_is_there_twice_is_refused(name: str) -> None:
    asked = scope(host="localhost")
    asked["headers"] = [*asked["headers"], (name.encode(), b"a"), (name.encode(), b"a")]
    with pytest.raises(BadRequest, match=f"header {name}: expected once") as refused:
        admitted({"tokens": TOKENS}, asked)
    assert refused.value.params == {"field": name}


@pytest.mark.parametrize(
    "name",
    [
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-server"),
        *("forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip"),
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_a_request_through_a_proxy_is_relayed(name: str, trusted: bool) -> None:
    """That of a trusted proxy is not, when X-Forwarded-For names the client."""
    settings = {"trusted_proxies": ["192.168.1.7"] if trusted else []}
    caller = admitted(settings, scope(**{name.replace("-", "_"): "192.0.2.7"}))
    vouched = trusted and name == "x-forwarded-for"
    assert caller.relayed is not vouched
    assert caller.address == ("192.0.2.7" if vouched else "192.168.1.7")
    both = scope(**{"x_forwarded_for": "192.0.2.7", name.replace("-", "_"): "192.0.2.7"})
    assert admitted(settings, both).relayed is not trusted


def test_several_fields_of_proxies_are_one_list() -> None:
    asked = scope(x_forwarded_for="192.0.2.7")
    asked["headers"] = [*asked["headers"], (b"x-forwarded-for", b"192.0.2.8, 10.0.0.1")]
    caller = admitted({"trusted_proxies": ["192.168.1.7", "10.0.0.1", "192.0.2.8"]}, asked)
    assert (caller.address, caller.relayed) == ("192.0.2.7", False)


def test_an_ipv6_address_of_the_node_may_have_a_zone() -> None:
    assert admitted({}, scope(host="[fe80::1]:4000", own="fe80::1%eth0", peer="fe80::2%eth0"))


OWN_PAGES = [
    ("node.local:4000", "http://node.local:4000"),
    ("NODE.local:4000", "http://node.LOCAL:4000"),
    ("node.local", "http://node.local"),
    ("node.local:80", "http://node.local"),
    ("node.local", "https://node.local:443"),
    ("node.local:443", "https://node.local"),
    ("192.168.1.2:4000", "http://192.168.1.2:4000"),
    ("[fd00::2]:4000", "http://[fd00::2]:4000"),
]
OTHER_PAGES = [
    ("node.local:4000", "http://node.local:3000"),
    ("node.local:4000", "http://node.local"),
    ("node.local:4000", "http://localhost:4000"),
    ("192.168.1.2:4000", "http://192.168.1.3:4000"),
    ("[fd00::2]:4000", "http://[fd00::3]:4000"),
    ("node.local:4000", "http://node.local:99999"),
    ("node.local:443", "http://node.local"),
    ("node.local:4000", "null"),
]
NAMED = {"allowed_hosts": ["node.local"]}


@pytest.mark.parametrize(("host", "origin"), OWN_PAGES)
@pytest.mark.parametrize("site", [None, "cross-site", "same-site", "same-origin", "none"])
def test_a_page_of_the_same_origin_may_write(host: str, origin: str, site: str | None) -> None:
    browser = {} if site is None else {"sec_fetch_site": site}
    asked = scope("POST", host=host, origin=origin, content_type="application/json", **browser)
    assert admitted(NAMED, asked)


@pytest.mark.parametrize(("host", "origin"), OTHER_PAGES)
@pytest.mark.parametrize("site", [None, "cross-site", "same-site"])
def test_a_page_of_another_origin_may_not_write(host: str, origin: str, site: str | None) -> None:
    browser = {} if site is None else {"sec_fetch_site": site}
    asked = scope("POST", host=host, origin=origin, content_type="application/json", **browser)
    with pytest.raises(Forbidden, match="Origin"):
        admitted(NAMED, asked)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_navigation_passes(site: str) -> None:
    assert admitted({}, scope(host="localhost", sec_fetch_site=site))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_writes_from_other_web_sites_are_refused(method: str) -> None:
    with pytest.raises(Forbidden, match="other web sites"):
        admitted({}, scope(method, host="localhost", sec_fetch_site="cross-site"))


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://192.168.1.3:4000",
        "http://[",
        "http://[::1",
        "//",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_origins_are_refused(method: str, origin: str) -> None:
    asked = scope(method, host="localhost", origin=origin, content_type="application/json")
    with pytest.raises(Forbidden, match="Origin"):
        admitted({}, asked)


TYPES = ("text/plain", "", "application/x-www-form-urlencoded", "application/jsonx")
BODY = {"content_length": "2"}


def test_pages_of_our_own_origin_may_write() -> None:
    own, host = "http://localhost:4000", "LOCALHOST:4000"
    for kind in ("application/json; charset=utf-8", "application/octet-stream", *TYPES):
        for method in ("POST", "PUT", "PATCH"):
            assert admitted({}, scope(method, host=host, origin=own, content_type=kind, **BODY))
    for method in ("GET", "DELETE", "POST"):  # without a body there is no type
        assert admitted({}, scope(method, host=host, origin=own))
        assert admitted({}, scope(method, host=host, origin=own, content_length="0"))


@pytest.mark.parametrize("field", [BODY, {"transfer_encoding": "chunked"}])
def test_pages_behind_a_proxy_with_tls_may_write_json(field: dict[str, str]) -> None:
    """Whether they are the node's own cannot be known exactly: the scheme is another one."""
    page = {"host": "localhost:4000", "origin": "https://localhost:4000"}
    assert admitted({}, scope("POST", **page, content_type="application/json", **field))
    for kind in TYPES:
        with pytest.raises(UnsupportedMediaType):
            admitted({}, scope("POST", **page, content_type=kind, **field))
    assert admitted({}, scope("POST", **page))


@pytest.mark.parametrize("field", [{}, {"content_length": "0"}, BODY])
def test_where_every_page_is_allowed_it_must_declare_json(field: dict[str, str]) -> None:
    """A browser sends such a request of any page without a preflight, also an empty one."""
    page = {"host": "x.example", "origin": "http://elsewhere.example"}
    for kind in TYPES:
        with pytest.raises(UnsupportedMediaType):
            admitted({"allowed_hosts": ["*"]}, scope("POST", **page, content_type=kind, **field))


@pytest.mark.parametrize("path", ["/", "/ui/app.js", "/ui/pages/jobs.js"])
def test_files_of_the_dashboard_need_no_token_and_have_no_limit(path: str) -> None:
    known = make(tokens=TOKENS, rate_limit=RateLimit(num_requests=1, period=60))
    for _ in range(3):
        caller, charge = known.admit(scope(path=path), f"GET {path}")
        assert (caller.client, charge) == ("192.168.1.7", None)
    with pytest.raises(Forbidden, match="Host"):
        known.admit(scope(path=path, host="evil.example"), f"GET {path}")


@pytest.mark.parametrize("path", ["/ui", "//", "/uix", "/api/ui/", "/info"])
def test_what_looks_like_such_a_file_needs_a_token(path: str) -> None:
    with pytest.raises(Unauthenticated):
        make(tokens=TOKENS).admit(scope(path=path), f"GET {path}")


def test_events_need_a_token_and_have_no_limit() -> None:
    known = make(rate_limit=RateLimit(num_requests=1, period=60))
    for _ in range(3):
        assert known.admit(scope(path="/api/events"), "GET /api/events")[1] is None
    with pytest.raises(Unauthenticated):
        make(tokens=TOKENS).admit(scope(path="/api/events"), "GET /api/events")


@pytest.mark.parametrize("origin", ["null", "file://", "http://elsewhere.example"])
def test_where_every_name_is_allowed_every_page_is(origin: str) -> None:
    asked = scope("POST", host="x.example", origin=origin, content_type="application/json")
    assert admitted({"allowed_hosts": ["*"]}, asked)


def test_programs_need_no_content_type() -> None:
    assert admitted({}, scope("POST", host="localhost"))


def test_a_client_is_its_address() -> None:
    caller = admitted({}, scope(peer="192.168.1.7"))
    assert caller[:4] == ("192.168.1.7", "192.168.1.7", False, SCOPES["submit"])
    assert caller.grant is None
    assert admitted({}, scope(peer="::ffff:10.0.0.1")).client == "10.0.0.1"
    assert admitted({}, scope(peer="fe80::2%eth0")).client == "fe80::2"


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        ([], "192.168.1.7", "10.0.0.1", "192.168.1.7"),
        (["192.168.1.0/24"], "192.168.2.7", "10.0.0.1", "192.168.2.7"),
        (["192.168.1.0/24"], "192.168.1.7", "10.0.0.1", "10.0.0.1"),
        # What the client claims stands to the left of what proxies saw, and does not count.
        (["192.168.1.7"], "192.168.1.7", "127.0.0.1, 10.0.0.1", "10.0.0.1"),
        (["192.168.1.7"], "192.168.1.7", "10.0.0.1, 192.168.1.7", "10.0.0.1"),
        (["192.168.1.0/24"], "192.168.1.7", "192.168.1.9", "192.168.1.9"),
        (["192.168.1.7"], "192.168.1.7", "10.0.0.1:4711", "10.0.0.1"),
        (["192.168.1.7"], "192.168.1.7", "[2001:db8::1]:4711", "2001:db8::1"),
        (["192.168.1.7"], "192.168.1.7", "10.0.0.1:4711, 192.168.1.7:80", "10.0.0.1"),
        (["192.168.1.7"], "192.168.1.7", "rubbish", ""),
        (["192.168.1.7"], "192.168.1.7", "10.0.0.1, rubbish", ""),
        (["192.168.1.7"], "192.168.1.7", "", "192.168.1.7"),
        (["::1"], "::1", "2001:db8::1", "2001:db8::1"),
        (["127.0.0.0/8"], "::ffff:127.0.0.1", "10.0.0.1", "10.0.0.1"),
    ],
)
def test_x_forwarded_for(proxies: list[str], peer: str, forwarded: str, address: str) -> None:
    caller = admitted({"trusted_proxies": proxies}, scope(peer=peer, x_forwarded_for=forwarded))
    assert (caller.client, caller.address) == (address, address)


def test_relayed_requests_are_marked() -> None:
    assert admitted({}, scope(x_forwarded_for="10.0.0.1")).relayed
    trusted = {"trusted_proxies": ["192.168.1.7"]}
    assert not admitted(trusted, scope(x_forwarded_for="10.0.0.1")).relayed


def test_with_tokens_a_client_is_the_name_of_its_token() -> None:
    settings = {"tokens": TOKENS}
    caller = admitted(settings, scope(authorization="Bearer 0123456789abcdef"))
    assert caller[:4] == ("token:bob", "192.168.1.7", False, SCOPES["submit"])
    assert admitted(settings, scope(authorization="bearer fedcba9876543210")).client == "token:eve"
    assert admitted(settings, scope(path="/health")).client == "192.168.1.7"


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ("", "missing"),
        ("Bearer", "unknown"),
        ("Bearer ", "unknown"),
        ("Basic 0123456789abcdef", "missing"),
        ("0123456789abcdef", "missing"),
        ("Bearer wrong", "unknown"),
        ("Bearer 0123456789abcde", "unknown"),
        ("Bearer 0123456789abcdeff", "unknown"),
        ("Bearer \xff", "unknown"),
    ],
)
def test_without_a_valid_token_nothing_is_served(authorization: str, reason: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        admitted({"tokens": TOKENS}, scope(authorization=authorization))
    assert refused.value.status == 401
    assert refused.value.params == {"reason": reason}
    challenge = "Bearer" if reason == "missing" else 'Bearer error="invalid_token"'
    assert refused.value.headers == {"www-authenticate": challenge}
    assert "0123456789abcdef" not in str(refused.value)
    with pytest.raises(Unauthenticated):
        admitted({"tokens": TOKENS}, scope())


async def test_tokens_over_http(tmp_path: Path) -> None:
    document: dict[str, Any] = {
        "server": {"tokens": {"bob": "0123456789abcdef", "eve": "fedcba9876543210"}}
    }
    bob = {"authorization": "Bearer 0123456789abcdef"}
    eve = {"authorization": "Bearer fedcba9876543210"}
    async with serving(Echo()) as url:
        document |= {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node:
            assert (await node.get("/health")).status == 200
            for method, path in (
                ("GET", "/info"),
                ("GET", "/resources"),
                ("GET", "/api/jobs"),
                ("GET", "/openapi.json"),
                ("GET", "/nowhere"),
                ("POST", "/api/jobs"),
                ("POST", "/api/jobs/batch"),
                ("POST", "/api/jobs/stream"),
                ("PUT", "/api/status"),
            ):
                reply = await node.request(method, path)
                assert reply.status == 401, path
                assert reply.headers["www-authenticate"] == "Bearer"
                assert "error" in reply.body
            identifier = await node.job(headers=bob)
            await node.finished(identifier, bob)
            assert (await node.get("/api/jobs", bob)).body == [identifier]
            assert (await node.get("/api/jobs", eve)).body == []
            assert (await node.get(f"/api/jobs?id={identifier}", eve)).body == []


async def test_browsers_over_http(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        own = {"origin": node.url}
        answers = [
            ({"host": "evil.example"}, 403),
            ({"origin": "http://evil.example"}, 403),
            ({"sec-fetch-site": "cross-site"}, 403),
            (own | {"content-type": "text/plain"}, 405),  # admitted, and not valid
            (own | {"content-type": "application/json"}, 405),
        ]
        for headers, status in answers:
            reply = await node.post("/api/jobs", {"containers": [], "data": {}}, headers)
            assert reply.status == status, headers
            assert set(reply.body) == {"error", "params"}
            assert "access-control-allow-origin" not in reply.headers


def test_wrong_tokens_are_limited_and_logged_and_valid_ones_are_not(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("infernet_edge"), "propagate", True)
    known = make(tokens=TOKENS)

    def admit(token: str, peer: str = "192.168.1.7") -> admission.Caller:
        asked = scope(peer=peer, authorization=f"Bearer {token}")
        return known.admit(asked, "GET /info")[0]

    for number in range(10):
        with pytest.raises(Unauthenticated):
            admit(f"guess-{number}-0123456789")
    for _ in range(5):
        with pytest.raises(TooManyRequests, match="wrong tokens") as refused:
            admit("guess-0123456789abcdef")
        assert 1 <= int(refused.value.headers["retry-after"]) <= 60
    assert admit("0123456789abcdef").client == "token:bob"
    with pytest.raises(Unauthenticated):  # others are not held responsible
        admit("guess-0123456789abcdef", peer="192.168.1.8")
    with pytest.raises(Unauthenticated):  # none is no wrong one
        known.admit(scope(), "GET /info")
    logged = [(each.getMessage(), each.__dict__["fields"]) for each in caplog.records]
    refused_tokens = [{"address": f"192.168.1.{n}", "reason": "unknown"} for n in (7, 8)]
    assert logged == [("token.refused", fields) for fields in refused_tokens]
    assert "guess" not in caplog.text


# Endpoints that are open to this machine


def measured(asked: Scope, **settings: Any) -> Permission:
    """What a request to such an endpoint permits."""
    open_here = {"GET /metrics": Permission.MEASURE}
    access = make(open_here, **settings)
    return access.admit(asked, "GET /metrics")[0].permissions


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("settings", [{}, {"tokens": TOKENS}])
def test_programs_of_this_machine_have_the_permission(peer: str, settings: dict[str, Any]) -> None:
    asked = scope(path="/metrics", peer=peer)
    assert measured(asked, **settings) == Permission.MEASURE
    with_token = scope(path="/metrics", peer=peer, authorization="Bearer wrong")
    assert measured(with_token, **settings) == Permission.MEASURE
    # Elsewhere they have what others have.
    other = make({"GET /metrics": Permission.MEASURE})
    caller, _ = other.admit(scope(peer=peer), "GET /info")
    assert Permission.MEASURE not in caller.permissions


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("192.168.1.7", {}),
        ("192.168.1.2", {}),  # the address of this machine: only loopback is certain
        ("128.0.0.1", {}),
        ("", {}),
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1"}),
        ("127.0.0.1", {"x_forwarded_for": ""}),
        ("127.0.0.1", {"x_real_ip": "127.0.0.1"}),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"via": "1.1 proxy"}),
        ("127.0.0.1", {"origin": "http://localhost:4000", "host": "localhost:4000"}),
        ("127.0.0.1", {"sec_fetch_site": "cross-site"}),
        ("127.0.0.1", {"sec_fetch_site": "same-site"}),
    ],
)
@pytest.mark.parametrize("proxies", [[], ["127.0.0.0/8"]])
def test_others_do_not(peer: str, headers: dict[str, str], proxies: list[str]) -> None:
    asked = scope(path="/metrics", peer=peer, **headers)
    assert Permission.MEASURE not in measured(asked, trusted_proxies=proxies)


def test_who_has_the_permission_is_not_limited() -> None:
    limit = RateLimit(num_requests=1, period=60)
    access = make({"GET /info": Permission.READ}, rate_limit=limit)  # which all have
    for _ in range(5):
        assert access.admit(scope(), "GET /info")[1] is None
    access = make({"GET /info": Permission.MEASURE}, rate_limit=limit)
    access.admit(scope(), "GET /info")
    with pytest.raises(TooManyRequests):
        access.admit(scope(), "GET /info")
