"""Names by which the node may be called."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from infernet_edge.api.access.hosts import Hosts, host_name
from infernet_edge.config.model import Server
from tests.support.running import running

SHORT = socket.gethostname().lower().partition(".")[0]
RESOLV_CONF = (
    "# made by hand\n\nsearch home.example corp.example.\ndomain old.example\nnameserver 1.1.1.1\n"
)


def hosts(tmp_path: Path, host: str = "0.0.0.0", allowed_hosts: Sequence[str] = ()) -> Hosts:
    path = tmp_path / "resolv.conf"
    path.write_text(RESOLV_CONF)
    return Hosts(Server(host=host, allowed_hosts=list(allowed_hosts)), path)


@pytest.mark.parametrize("name", ["192.168.1.3", "203.0.113.7", "2001:db8::7", "127.0.0.1", "::1"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_any_address_is_allowed_where_the_node_listens_on_all(
    tmp_path: Path, name: str, host: str
) -> None:
    """Behind a port forward or in a cloud, clients use one of another machine."""
    assert hosts(tmp_path, host).allows(name, "10.0.0.1")


def test_on_one_address_only_that_one_and_loopback_are_allowed(tmp_path: Path) -> None:
    bound = hosts(tmp_path, "192.168.1.2")
    assert bound.allows("192.168.1.2", "192.168.1.2")
    assert bound.allows("127.0.0.1", "192.168.1.2")
    assert not bound.allows("203.0.113.7", "192.168.1.2")


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "raspberrypi",
        SHORT,
        *(f"{SHORT}.{domain}" for domain in ("local", "lan", "home.arpa", "internal")),
        f"{SHORT}.localdomain",
        f"{SHORT}.home.example",
        f"{SHORT}.corp.example",
        f"{SHORT}.old.example",
        f"{SHORT}.local.",
        "host.docker.internal",
        "host.containers.internal",
        "my.node.example",
    ],
)
def test_names_that_no_page_can_point_here(tmp_path: Path, name: str) -> None:
    assert hosts(tmp_path, allowed_hosts=["My.Node.Example."]).allows(name, "10.0.0.1")


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        f"{SHORT}.evil.example",
        f"evil.{SHORT}.local.example",
        "other.local",
        "home.example",
        "10.0.0.1.nip.example",
        "1.2.3",
        "127.0.0.1.",
        "",
        ".",
        "..",
        "[::1",
    ],
)
def test_names_that_a_page_might_have(tmp_path: Path, name: str) -> None:
    known = hosts(tmp_path)
    assert known.allows(name, "10.0.0.1") is (name in ("127.0.0.1.",))
    assert hosts(tmp_path, allowed_hosts=["*"]).allows(name, "10.0.0.1")


def test_a_machine_without_resolv_conf(tmp_path: Path) -> None:
    assert Hosts(Server(), tmp_path / "absent").allows("localhost", "10.0.0.1")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Node:4000", "node"),
        ("node", "node"),
        (" [::1]:4000 ", "::1"),
        ("::1", "::1"),
        ("10.0.0.1:80", "10.0.0.1"),
    ],
)
def test_the_name_in_a_header(header: str, name: str) -> None:
    assert host_name(header) == name


def test_refused_names_are_logged_once_and_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("infernet_edge"), "propagate", True)
    known = hosts(tmp_path)
    for _ in range(3):
        known.refuse("a.example")
    assert list(known.refused) == ["a.example"]
    assert [each.getMessage() for each in caplog.records] == ["host.refused"]
    for number in range(1000):
        known.refuse(f"{number}.example")
    for odd in ("x" * 300, "a\x9b31m.example", "a b", "", "ü.example"):
        known.refuse(odd)
    assert list(known.refused) == [f"{number}.example" for number in range(980, 1000)]
    assert len(caplog.records) == 100


async def test_the_status_names_what_to_add_to_allowed_hosts(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        named = {"host": "node.example"}
        assert (await node.get("/health", named)).status == 200  # has no such rule
        assert (await node.get("/info", named)).status == 403
        [problem] = (await node.node.report_status())["problems"]
        assert "node.example" in problem
        assert "server.allowed_hosts" in problem
