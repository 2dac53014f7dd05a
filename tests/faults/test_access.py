"""Who may: trusted proxies, rate limits, tokens, TLS."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Api, exchange, head
from tests.support.echo import EchoService
from tests.support.node import NodeProcess
from tests.support.podman import need

pytestmark = pytest.mark.xdist_group("access")  # its fixtures are made once

JOB = {"containers": ["echo"], "data": {}}
GUEST = "192.0.2.7"


@pytest.fixture(scope="module")
def proxied(echo: EchoService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A node that this machine is a trusted proxy of."""
    config = {
        "server": {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"]},
        "containers": [
            {"id": "echo", "url": echo.url},
            {"id": "guests", "url": echo.url, "allowed_ips": ["192.0.2.0/24", "2001:db8::/32"]},
        ],
    }
    with NodeProcess(config, tmp_path_factory.mktemp("node")) as node:
        yield Api(node.port)


def refused_address(api: Api, forwarded: str) -> str | None:
    """The address that a job is refused for; None when it is accepted."""
    body = {"containers": ["guests"], "data": {}}
    reply = api.request("POST", "/api/jobs", body, {"x-forwarded-for": forwarded})
    if reply.status == 200:
        return None
    assert (reply.status, reply.error) == (405, "Container not allowed for address")
    address: str = reply.params["address"]
    return address


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (GUEST, None),
        (f"{GUEST}, 10.0.0.1", None),  # through two of our proxies
        ("2001:db8::5", None),
        ("::ffff:192.0.2.9", None),
        (f"{GUEST}, 203.0.113.5", "203.0.113.5"),  # the client wrote the first one itself
        (f"{GUEST}, 203.0.113.5, 10.0.0.1", "203.0.113.5"),
        ("10.0.0.9", "10.0.0.9"),
        (", ".join(["1.2.3.4"] * 2000), "1.2.3.4"),
    ],
)
def test_behind_a_trusted_proxy_the_last_foreign_address_counts(
    proxied: Api, forwarded: str, address: str | None
) -> None:
    assert refused_address(proxied, forwarded) == address


@pytest.mark.parametrize("forwarded", [f"{GUEST}, unknown", f"{GUEST},", ",", "", "x" * 10_000])
def test_behind_a_trusted_proxy_that_knows_no_address_nobodys_rights_are_given(
    proxied: Api, forwarded: str
) -> None:
    assert refused_address(proxied, forwarded) in ("", "127.0.0.1")


def test_jobs_belong_to_the_client_behind_the_proxy(proxied: Api) -> None:
    mine = Api(proxied.port, headers={"x-forwarded-for": "198.51.100.1"})
    other = Api(proxied.port, headers={"x-forwarded-for": "198.51.100.2"})
    identifier = mine.submit("echo")
    assert mine.get("/api/jobs").json == [identifier]
    assert other.get("/api/jobs").json == []
    assert other.results([identifier]) == []
    assert Api(proxied.port).results([identifier]) == []
    assert mine.finished([identifier])[0]["status"] == "success"


@pytest.mark.parametrize("forwarded", [GUEST, "172.17.0.2", "127.0.0.1, 203.0.113.5"])
def test_status_reports_through_a_proxy_are_refused(proxied: Api, forwarded: str) -> None:
    report = {"id": "x", "status": "running", "containers": []}
    reply = proxied.request("PUT", "/api/status", report, {"x-forwarded-for": forwarded})
    assert (reply.status, reply.error) == (403, "Unauthorized")


def test_status_reports_that_name_another_origin_are_refused(
    echo: EchoService, tmp_path: Path
) -> None:
    with NodeProcess({"containers": [{"id": "echo", "url": echo.url}]}, tmp_path) as node:
        api = Api(node.port)
        report = {"id": "outside", "status": "success", "containers": ["echo"]}
        reply = api.request("PUT", "/api/status", report, {"x-forwarded-for": "198.51.100.1"})
        assert (reply.status, reply.error) == (403, "Unauthorized")
        assert api.results(["outside"]) == []
        reply = api.request("PUT", "/api/status", report)
        assert (reply.status, reply.body) == (200, b"null")
        [result] = api.results(["outside"])
        assert (result["status"], result["result"]) == ("success", None)


@pytest.fixture
def limited(echo: EchoService, tmp_path: Path) -> Iterator[Api]:
    config = {
        "server": {
            "rate_limit": {"num_requests": 3, "period": 3600},
            "trusted_proxies": ["127.0.0.1"],
        },
        "containers": [{"id": "echo", "url": echo.url}],
    }
    with NodeProcess(config, tmp_path) as node:
        yield Api(node.port)


def test_requests_over_the_rate_limit_get_429_as_json(limited: Api) -> None:
    for remaining in (2, 1, 0):
        reply = limited.post(JOB)
        assert reply.status == 200
        assert reply.headers["ratelimit-limit"] == "3"
        assert reply.headers["ratelimit-remaining"] == str(remaining)
        assert 0 < int(reply.headers["ratelimit-reset"]) <= 3600
        assert "retry-after" not in reply.headers
    for _ in range(2):
        reply = limited.post(JOB)
        assert reply.status == 429
        assert reply.error
        assert reply.headers["ratelimit-limit"] == "3"
        assert reply.headers["ratelimit-remaining"] == "0"
        assert 0 < int(reply.headers["ratelimit-reset"]) <= 3600
        assert 0 < int(reply.headers["retry-after"]) <= 3600
    # Other endpoints have counts of their own, and supervisors are never kept out.
    assert limited.get("/api/jobs").status == 200
    assert {limited.get("/health").status for _ in range(10)} == {200}


def test_wrong_requests_count_too_and_wrong_paths_share_a_count(limited: Api) -> None:
    statuses = [limited.post(b"nonsense").status for _ in range(4)]
    assert statuses == [400, 400, 400, 429]
    statuses = [limited.get(f"/nowhere/{number}").status for number in range(4)]
    assert statuses == [404, 404, 404, 429]
    # Nor are more words for the same endpoint more endpoints.
    statuses = [limited.get(f"/info?x={number}").status for number in range(4)]
    assert statuses == [200, 200, 200, 429]


def test_one_clients_limit_is_not_anothers(limited: Api) -> None:
    for last in ("198.51.100.1", "198.51.100.2"):
        one = Api(limited.port, headers={"x-forwarded-for": last})
        assert [one.get("/info").status for _ in range(4)] == [200, 200, 200, 429]
    # An address that the client writes by itself makes no new client.
    statuses = []
    for number in range(4):
        one = Api(limited.port, headers={"x-forwarded-for": f"1.2.3.{number}, 198.51.100.9"})
        statuses.append(one.get("/info").status)
    assert statuses == [200, 200, 200, 429]


def test_with_tokens_only_their_bearers_are_served(echo: EchoService, tmp_path: Path) -> None:
    tokens = {"anna": "a-token-of-anna-0001", "bert": "a-token-of-bert-0002"}
    config = {
        "server": {"tokens": tokens},
        "containers": [{"id": "echo", "url": echo.url}],
    }
    with NodeProcess(config, tmp_path) as node:
        anonymous = Api(node.port)
        anna, bert = (
            Api(node.port, headers={"authorization": f"Bearer {tokens[name]}"}) for name in tokens
        )
        assert anonymous.health() == "healthy"
        requests: list[tuple[str, str, Any]] = [
            ("GET", "/info", None),
            ("GET", "/resources", None),
            ("GET", "/openapi.json", None),
            ("GET", "/nowhere", None),
            ("GET", "/api/jobs", None),
            ("POST", "/api/jobs", JOB),
            ("POST", "/api/jobs/batch", [JOB]),
            ("POST", "/api/jobs/stream", JOB),
            ("PUT", "/api/status", {"id": "x", "status": "running", "containers": []}),
        ]
        wrong = [
            {},
            {"authorization": ""},
            {"authorization": "Bearer"},
            {"authorization": "Bearer "},
            {"authorization": "Bearer a-token-of-anna-000"},
            {"authorization": f"Bearer {tokens['anna']}x"},
            {"authorization": f"Basic {tokens['anna']}"},
            {"authorization": tokens["anna"]},
            {"authorization": "Bearer \xff\xfe"},
            {"x-authorization": f"Bearer {tokens['anna']}"},
        ]
        tried = 0
        for method, path, body in requests:
            for headers in wrong:
                reply = anonymous.request(method, path, body, headers)
                assert reply.error
                tried += headers.get("authorization", "").startswith("Bearer")
                if tried > 10 and headers.get("authorization", "").startswith("Bearer"):
                    assert reply.status == 429, (path, headers, reply)
                    assert int(reply.headers["retry-after"]) > 0
                else:
                    assert reply.status == 401, (path, headers, reply)
                    assert reply.headers["www-authenticate"].startswith("Bearer")
        assert node.log().count("token.refused") <= 2  # once a minute
        identifier = anna.submit("echo")
        assert anna.finished([identifier])[0]["status"] == "success"
        assert bert.results([identifier]) == []
        assert bert.get("/api/jobs").json == []
        assert all(secret not in node.log() for secret in tokens.values())


def test_https_with_a_certificate_of_its_own(echo: EchoService, tmp_path: Path) -> None:
    need("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    config = {
        "server": {"tls": {"cert": str(certificate), "key": str(key)}},
        "containers": [{"id": "echo", "url": echo.url}],
    }
    with NodeProcess(config, tmp_path / "node") as node:
        api = Api(node.port, tls=ssl.create_default_context(cafile=str(certificate)))
        assert api.finished([api.submit("echo", {"n": 1})])[0]["status"] == "success"
        assert api.stream("echo").complete
        large = b'{"containers":["echo"],"data":{"a":"' + b"x" * 5 * 2**20 + b'"}}'
        identifier = api.post(large).json["id"]
        assert len(api.finished([identifier])[0]["result"]["output"]["output"]["a"]) == 5 * 2**20
        # Plain HTTP, and half a handshake, do no harm.
        assert b"200" not in exchange(node.port, head("GET", "/health"))
        assert b"200" not in exchange(node.port, bytes.fromhex("16030100f8") + b"\0" * 248)
        old = ssl.create_default_context(cafile=str(certificate))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert Api(node.port, tls=old).health() == "healthy"
        assert node.stop() == 0
        assert "Traceback" not in node.log()


def test_a_certificate_that_does_not_fit_stops_the_start_with_words(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("nonsense")
    pem = str(tmp_path / "key.pem")
    node = NodeProcess({"server": {"tls": {"cert": pem, "key": pem}}}, tmp_path)
    node.launch()
    assert node.exit_code() == 1
    assert "server.tls cannot be used" in node.log()
    assert "Traceback" not in node.log()
