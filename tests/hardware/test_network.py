"""The addresses and the name for other machines of the network."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infernet_edge.hardware import network
from infernet_edge.hardware.network import is_of_containers, local_name, url_host
from tests.support.disks import as_root
from tests.support.locks import own_number
from tests.support.podman import need
from tests.support.process import ROOT

OWN = [ipaddress.ip_address(text) for text in ("192.0.2.2", "fd00::2")]
NAME = f"{socket.gethostname().partition('.')[0].lower()}.local"
ASK = """
import json, sys
from infernet_edge.hardware.network import reachable_hosts
asked = ("0.0.0.0", False), ("::", True), ("::", False), ("127.0.0.1", False), ("::1", False)
print(json.dumps([reachable_hosts(bound, both=both) for bound, both in asked]))
"""


@contextlib.contextmanager
def machine() -> Iterator[tuple[str, ...]]:
    """A machine with a network and with the bridge of its containers; gives how to run there."""
    need("ip")
    with own_number("machine", 64) as number, contextlib.ExitStack() as undone:
        space = f"ietest-machine{number}"
        within = ("ip", "netns", "exec", space)
        as_root("ip", "netns", "add", space)
        undone.callback(as_root, "ip", "netns", "delete", space)
        for command in (
            "link set lo up",
            "link add lan0 type veth peer name lan1",
            "address add 192.168.77.5/24 dev lan0",
            "address add fd77::5/64 dev lan0 nodad",
            "address add fd77::6/64 dev lan0 nodad preferred_lft 0",  # deprecated
            "link add podman1 type bridge",
            "address add 10.88.0.1/16 dev podman1",
            "address add fd88::1/64 dev podman1 nodad",
            "link add veth1 type veth peer name inside1",
            "link set veth1 master podman1",
            "link add down0 type veth peer name down1",
            "address add 192.168.78.5/24 dev down0",
        ):
            as_root(*within, "ip", *command.split())
        for device in ("lan0", "lan1", "podman1", "veth1", "inside1"):
            as_root(*within, "ip", "link", "set", device, "up")
        yield within


def test_of_all_addresses_those_of_the_network_are_listed() -> None:
    with machine() as within:
        done = subprocess.run(
            [*within, sys.executable, "-c", ASK],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    old, both, new, *loopback = json.loads(done.stdout)
    old, both, new = ([host for host in hosts if host != NAME] for hosts in (old, both, new))
    assert old == ["192.168.77.5"]
    assert both == ["192.168.77.5", "[fd77::5]"]
    assert new == ["[fd77::5]"]
    assert loopback == [[], []]


LINKS = """
import json
from infernet_edge.hardware.network import links, own_addresses
for bound, both in ("0.0.0.0", False), ("::", True), ("192.168.77.5", False), ("192.0.2.9", False):
    print(json.dumps([[link.name, [*map(str, link.addresses)], sorted(map(str, link.networks))]
        for link in links(bound, both=both)]))
[link] = links("0.0.0.0")
print(json.dumps([link.contains(own) for own in sorted(own_addresses(), key=str)]))
"""


def test_the_networks_of_other_machines() -> None:
    """Without those of containers, of loopback, and without devices that are down."""
    with machine() as within:
        done = subprocess.run(
            [*within, sys.executable, "-c", LINKS],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    old, both, one, none, contained = map(json.loads, done.stdout.splitlines())
    [[name, addresses, networks]] = old
    assert name == "lan0"
    assert addresses == ["192.168.77.5"]
    assert networks == ["192.168.77.0/24", "fd77::/64", "fe80::/64"]
    assert both[0][1] == ["192.168.77.5", "fd77::5"]
    assert one == old
    assert none == []
    assert True in contained
    assert False in contained


def test_a_socket_with_one_address_has_that_one() -> None:
    for bound in ("192.0.2.99", "2001:db8::1"):
        assert network.reachable_hosts(bound)[0] == url_host(bound)


def test_hosts_in_urls() -> None:
    assert url_host("node.local") == "node.local"
    assert url_host("192.0.2.2") == "192.0.2.2"
    assert url_host("fd00::2") == "[fd00::2]"
    assert url_host("fe80::1%eth0") == "[fe80::1%25eth0]"


def test_a_bridge_with_hardware_is_no_bridge_of_containers(tmp_path: Path) -> None:
    """As that of a machine whose virtual machines are in the network themselves."""
    devices = tmp_path / "sys/class/net"
    for name in ("eth0/device", "eth1/device", "bond0", "br0/bridge", "br1/bridge"):
        (devices / name).mkdir(parents=True)
    for name in ("docker0/bridge", "virbr0/bridge", "vnet0"):
        (devices / name).mkdir(parents=True)
    for upper, lower in (("br0", "eth0"), ("br1", "bond0"), ("bond0", "eth1"), ("virbr0", "vnet0")):
        (devices / upper / f"lower_{lower}").symlink_to(devices / lower)
    for name in ("eth0", "bond0", "br0", "br1", "vnet0", "absent"):
        assert not is_of_containers(name, tmp_path), name
    for name in ("docker0", "virbr0"):
        assert is_of_containers(name, tmp_path), name


@contextlib.contextmanager
def avahi(folder: Path, *answers: bytes) -> Iterator[tuple[Path, list[bytes]]]:
    """A socket that gives answers of avahi-daemon 0.8, one for each connection."""
    path, asked = folder / "socket", list[bytes]()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(1000))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path, asked
        thread.join(10)


@pytest.mark.parametrize("address", ["192.0.2.2", "127.0.0.1"])
def test_the_name_for_which_avahi_answers(tmp_path: Path, address: str) -> None:
    with avahi(tmp_path, f"+ 4 0 {NAME} {address}\n".encode()) as (path, asked):
        assert local_name(OWN, path) == NAME
    assert asked == [f"RESOLVE-HOSTNAME-IPV4 {NAME}\n".encode()]


def test_a_machine_with_ipv6_alone_has_a_name_too(tmp_path: Path) -> None:
    with avahi(tmp_path, f"+ 4 1 {NAME} fd00::2\n".encode()) as (path, asked):
        assert local_name(OWN[1:], path) == NAME
    assert asked == [f"RESOLVE-HOSTNAME-IPV6 {NAME}\n".encode()]


@pytest.mark.parametrize(
    "answer", [f"+ 4 0 {NAME} 192.0.2.9\n", "-15 Timeout reached\n", "", "x y"]
)
def test_the_name_of_another_machine_and_of_none_is_not_listed(tmp_path: Path, answer: str) -> None:
    with avahi(tmp_path, answer.encode(), answer.encode()) as (path, _):
        assert local_name(OWN, path) == ""


def test_without_avahi_there_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_name(OWN, tmp_path / "absent") == ""
    monkeypatch.setattr(network, "_AVAHI_TIMEOUT", 0.05)
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "socket"))
        hanging.listen()
        assert local_name(OWN, tmp_path / "socket") == ""
