"""The addresses and the name by which other machines of the network reach this one. Blocks."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_ADDRESSES: Final = 16
"""Addresses that are listed; a machine of a home network has two or three."""

AVAHI: Final = Path("/run/avahi-daemon/socket")
"""Where avahi-daemon, which answers for NAME.local, takes requests in its simple protocol."""

_AVAHI_TIMEOUT = 1.0  # seconds
_MAX_ANSWER = 1024  # bytes
_MAX_DEPTH = 4  # devices below each other, such as a bridge of a bond of VLANs
# Addresses that are short-lived or not usable: temporary, failed, deprecated, tentative
# (IFA_F_… of linux/if_addr.h).
_UNSUITABLE = 0x01 | 0x08 | 0x20 | 0x40


class Interface(NamedTuple):
    """A network device with its addresses."""

    name: str
    addresses: list[Address]


def reachable_hosts(bound: str, *, both: bool = False, root: Path = Path("/")) -> list[str]:
    """The hosts of URLs by which other machines reach a socket of this one: addresses, and a name.

    `bound` is the address of the socket, `both`: it is an IPv6 one that accepts IPv4 too. IPv6
    addresses have brackets, as in URLs. Addresses of loopback and of containers' bridges are left
    out, and so is NAME.local when avahi-daemon does not answer for it.
    """
    address = ipaddress.ip_address(bound)
    if address.is_loopback:
        return []
    interfaces = list(_interfaces(root))
    if not address.is_unspecified:
        found: list[Address] = [address]
    else:
        versions = {4, 6} if both else {address.version}
        usable = (each for each in interfaces if not is_of_containers(each.name, root))
        found = [one for each in usable for one in each.addresses if one.version in versions]
    found = sorted(found, key=lambda one: one.version)[:MAX_ADDRESSES]
    hosts = [url_host(str(one)) for one in found]
    if found and (name := local_name(each for one in interfaces for each in one.addresses)):
        hosts.append(name)
    return hosts


class Link(NamedTuple):
    """A network that other machines are in: a device with multicast, its number, what is on it.

    `addresses` are those by which others reach this machine, `networks` all that need no router.
    """

    name: str
    number: int
    addresses: tuple[Address, ...]
    networks: tuple[Network, ...]

    def contains(self, address: Address) -> bool:
        """Whether an address needs no router."""
        return any(address in network for network in self.networks)


def links(bound: str, *, both: bool = False, root: Path = Path("/")) -> list[Link]:
    """The networks in which other machines reach a socket of this one; as `reachable_hosts`."""
    import psutil  # only when needed: it is large

    address = ipaddress.ip_address(bound)
    versions = {4, 6} if both else {address.version}
    try:
        states, found = psutil.net_if_stats(), psutil.net_if_addrs()
    except OSError:  # a sandbox does not allow it
        return []
    made = []
    for interface in _interfaces(root):
        flags = set(states[interface.name].flags.split(",")) if interface.name in states else set()
        if "multicast" not in flags or "pointopoint" in flags:
            continue
        if is_of_containers(interface.name, root):
            continue
        usable = [one for one in interface.addresses if one.version in versions]
        if not address.is_unspecified:
            usable = [one for one in usable if one == address]
        with contextlib.suppress(OSError):  # it is gone
            number = socket.if_nametoindex(interface.name)
            if usable:
                networks = tuple(dict.fromkeys(_networks(found[interface.name])))
                made.append(Link(interface.name, number, tuple(usable[:MAX_ADDRESSES]), networks))
    return made


def own_addresses() -> set[Address]:
    """All addresses of this machine, also those of loopback and of containers' bridges."""
    import psutil

    try:
        found = psutil.net_if_addrs()
    except OSError:
        return set()
    return {
        ipaddress.ip_address(each.address.partition("%")[0])
        for addresses in found.values()
        for each in addresses
        if each.family in (socket.AF_INET, socket.AF_INET6)
    }


def _networks(addresses: Iterable[Any]) -> Iterator[Network]:
    """The networks of a device, by its addresses and their masks."""
    for each in addresses:
        if each.family in (socket.AF_INET, socket.AF_INET6) and each.netmask:
            address = each.address.partition("%")[0]
            bits = int(ipaddress.ip_address(each.netmask)).bit_count()
            yield ipaddress.ip_network(f"{address}/{bits}", strict=False)


def url_host(host: str) -> str:
    """A host as it is written in a URL: an IPv6 address in brackets (RFC 3986, RFC 6874)."""
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def is_of_containers(name: str, root: Path = Path("/")) -> bool:
    """Whether a device connects containers or virtual machines: a bridge without hardware."""
    folder = root / "sys/class/net" / name
    return (folder / "bridge").exists() and not _has_hardware(folder)


def _has_hardware(folder: Path, depth: int = _MAX_DEPTH) -> bool:
    """Whether a device is a piece of hardware, or consists of such."""
    if (folder / "device").exists():
        return True
    below = folder.glob("lower_*") if depth else ()
    return any(_has_hardware(each, depth - 1) for each in below)


def _interfaces(root: Path) -> Iterator[Interface]:
    """The devices that are up, without loopback; hardware first."""
    import psutil  # only when needed: it is large

    unsuitable = set(_unsuitable(root))
    try:
        up = {name for name, state in psutil.net_if_stats().items() if state.isup}
        found = psutil.net_if_addrs()
    except OSError:  # a sandbox does not allow it
        return
    net = root / "sys/class/net"
    for name in sorted(up & found.keys(), key=lambda name: (not _has_hardware(net / name), name)):
        addresses = [
            ipaddress.ip_address(each.address)
            for each in found[name]
            if each.family in (socket.AF_INET, socket.AF_INET6) and "%" not in each.address
        ]
        usable = [one for one in addresses if not one.is_loopback and one not in unsuitable]
        if usable:
            yield Interface(name, usable)


def _unsuitable(root: Path) -> Iterator[Address]:
    """IPv6 addresses that are not to be given to others, by /proc/net/if_inet6."""
    try:
        lines = (root / "proc/net/if_inet6").read_text().splitlines()
    except OSError:  # the kernel has no IPv6
        return
    for line in lines:
        digits, _, _, _, flags, *_ = line.split()
        if int(flags, 16) & _UNSUITABLE:
            yield ipaddress.IPv6Address(int(digits, 16))


def local_name(own: Iterable[Address], avahi: Path = AVAHI) -> str:
    """NAME.local, when avahi-daemon answers for it with an address of this machine; "" otherwise.

    Where two machines have one name, avahi-daemon answers for one of them under another name.
    """
    name = f"{socket.gethostname().partition('.')[0].lower()}.local"
    addresses = set(own)
    for version in sorted({one.version for one in addresses}):
        found = _resolved(name, version, avahi)
        if found is not None and (found in addresses or found.is_loopback):
            return name
    return ""


def _resolved(name: str, version: int, avahi: Path) -> Address | None:
    """The address that avahi-daemon has for a name: "+ interface protocol name address"."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_AVAHI_TIMEOUT)
            connection.connect(str(avahi))
            connection.sendall(f"RESOLVE-HOSTNAME-IPV{version} {name}\n".encode())
            answer = connection.recv(_MAX_ANSWER).decode("utf-8", "replace")
        sign, _, _, _, address = answer.split()
        return ipaddress.ip_address(address) if sign == "+" else None
    except (OSError, ValueError):  # it does not run, or does not know the name
        return None
