"""Clients behind a real proxy, which passes on what they send."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.support.client import Api, Reply, exchange
from tests.support.echo import EchoService
from tests.support.haproxy import HAProxy
from tests.support.node import NodeProcess

GUEST = "10.9.9.9"
JOB = {"containers": ["guests"], "data": {}}


def node_behind(echo: EchoService, folder: Path, *, trusted: bool) -> NodeProcess:
    return NodeProcess(
        {
            "server": {"trusted_proxies": ["127.0.0.1"] if trusted else []},
            "containers": [
                {"id": "echo", "url": echo.url},
                {"id": "guests", "url": echo.url, "allowed_ips": [GUEST]},
            ],
        },
        folder,
    )


def chunked(method: str, path: str, value: object, trailer: str) -> bytes:
    body = json.dumps(value)
    return (
        f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        "transfer-encoding: chunked\r\nte: trailers\r\nconnection: close\r\n\r\n"
        f"{len(body):x}\r\n{body}\r\n0\r\n{trailer}\r\n\r\n"
    ).encode()


def sent(port: int, request: bytes) -> Reply:
    head, _, body = exchange(port, request).partition(b"\r\n\r\n")
    first, *fields = head.decode().lower().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    return Reply(int(first.split()[1]), headers, body)


def test_haproxy_passes_trailers_on(tmp_path: Path) -> None:
    """Else the other tests here would show nothing."""
    with socket.create_server(("127.0.0.1", 0)) as backend:
        proxy = HAProxy(backend.getsockname()[1], tmp_path)
        proxy.launch()
        try:
            while True:
                try:
                    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
                    break
                except ConnectionRefusedError:
                    assert proxy.running, proxy.log()
            with client:
                client.sendall(chunked("POST", "/", {}, "x-forwarded-for: 10.9.9.9"))
                backend.settimeout(10)
                connection, _ = backend.accept()
                with connection:
                    heard = b""
                    while not heard.endswith(b"\r\n0\r\nx-forwarded-for: 10.9.9.9\r\n\r\n"):
                        received = connection.recv(4096)
                        assert received, heard
                        heard += received
        finally:
            proxy.kill()


def test_a_trailer_does_not_say_who_is_asking(echo: EchoService, tmp_path: Path) -> None:
    with (
        node_behind(echo, tmp_path / "node", trusted=True) as node,
        HAProxy(node.port, tmp_path) as proxy,
    ):
        trailer = f"x-forwarded-for: {GUEST}"
        reply = sent(proxy.port, chunked("POST", "/api/jobs", JOB, trailer))
        assert (reply.status, reply.params["address"]) == (405, "127.0.0.1")
        reply = sent(
            proxy.port, chunked("POST", "/api/jobs", {**JOB, "containers": ["echo"]}, trailer)
        )
        assert reply.status == 200
        direct = Api(node.port)
        assert direct.get("/api/jobs").json == [reply.json["id"]]  # this machine's, not the guest's
        assert direct.get("/api/jobs", **{"x-forwarded-for": GUEST}).json == []


@pytest.mark.parametrize("trailer", ["x-unimportant: 1", "x-forwarded-for: 127.0.0.1"])
@pytest.mark.parametrize("field", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"])
def test_external_jobs_cannot_be_registered_through_a_proxy(
    echo: EchoService, tmp_path: Path, field: str, trailer: str
) -> None:
    report = {"id": "x", "status": "success", "containers": []}
    with (
        node_behind(echo, tmp_path / "node", trusted=False) as node,
        HAProxy(node.port, tmp_path, f"http-request set-header {field} for=192.0.2.1") as proxy,
    ):
        reply = sent(proxy.port, chunked("PUT", "/api/status", report, trailer))
        assert (reply.status, reply.error) == (403, "Unauthorized")
        assert Api(node.port).request("PUT", "/api/status", report).status == 200
