"""What a node announces, and what is found of others: the service `_infernet._tcp` of DNS-SD."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from infernet_edge.discovery.messages import (
    AAAA,
    PTR,
    SRV,
    TXT,
    A,
    Address,
    DnsRecord,
    Name,
    Srv,
    write_texts,
)
from infernet_edge.hardware.network import Link, url_host

SERVICE: Final[Name] = (b"_infernet", b"_tcp", b"local")
"""The name under which nodes are found."""

ALL_SERVICES: Final[Name] = (b"_services", b"_dns-sd", b"_udp", b"local")
"""The name under which kinds of services are found (RFC 6763, 9)."""

MAX_NAME: Final = 63
"""Bytes of the name that a node shows: it is one label."""

_HOST_TTL = 120  # seconds, for what depends on the host's name (RFC 6762, 10)
_OTHER_TTL = 4500  # seconds, for all else
_MAX_TEXT = 255  # bytes of a text (RFC 6763, 6.1)
_MAX_VERSION = 64  # characters
_MAX_CONTAINERS = 64  # of another node, that are shown
_FORM = "1"  # of the texts, in case they have to change


class Description(NamedTuple):
    """What a node says of itself; `containers` is empty when it needs a token to be seen."""

    identifier: str
    version: str
    port: int
    tls: bool
    protected: bool
    containers: Sequence[str] = ()

    def texts(self) -> list[str]:
        """The texts of its TXT record: 5 at most, each of at most 255 bytes."""
        texts = [
            f"txtvers={_FORM}",
            f"id={self.identifier}",
            f"version={self.version[:_MAX_VERSION]}",
            f"scheme={'https' if self.tls else 'http'}",
        ]
        if self.protected:
            return [*texts, "auth=token"]
        return [*texts, _container_text(self.containers)]


def _container_text(containers: Sequence[str]) -> str:
    """Their ids, as many as fit; a last "+N" says how many are left out."""
    listed = list(containers)
    while True:
        left_out = len(containers) - len(listed)
        text = "containers=" + ",".join([*listed, *([f"+{left_out}"] if left_out else [])])
        if len(text.encode()) <= _MAX_TEXT:
            return text
        listed.pop()


def records(instance: str, host: Name, described: Description, link: Link) -> list[DnsRecord]:
    """The records of a node in a network, the shared ones first."""
    name = (instance.encode(), *SERVICE)
    addresses = [
        DnsRecord(host, A if one.version == 4 else AAAA, one, _HOST_TTL, flush=True)
        for one in link.addresses
    ]
    return [
        DnsRecord(ALL_SERVICES, PTR, SERVICE, _OTHER_TTL),
        DnsRecord(SERVICE, PTR, name, _OTHER_TTL),
        *own_records(instance, host, described),
        *addresses,
    ]


def own_records(instance: str, host: Name, described: Description) -> list[DnsRecord]:
    """The records that only one node may have under its name."""
    name = (instance.encode(), *SERVICE)
    return [
        DnsRecord(name, SRV, Srv(host, described.port), _HOST_TTL, flush=True),
        DnsRecord(name, TXT, write_texts(described.texts()), _OTHER_TTL, flush=True),
    ]


def numbered(name: str, number: int) -> str:
    """The name of the n-th node that wants the same one: "pi-kitchen (2)" (RFC 6762, 9)."""
    end = f" ({number})" if number > 1 else ""
    return cut(name, MAX_NAME - len(end)) + end


def cut(text: str, size: int) -> str:
    """The beginning of a text that has at most so many bytes of UTF-8."""
    return text.encode()[:size].decode("utf-8", "ignore")


class FoundNode(NamedTuple):
    """A node that was found; `on_this_machine`: it announces an address of this machine.

    All texts come from strangers, and are cleaned.
    """

    name: str
    host: Name
    urls: Sequence[str]
    identifier: str
    version: str
    protected: bool
    containers: Sequence[str]
    on_this_machine: bool


_UNPRINTABLE = "\ufffd"


def clean(text: str, most: int = MAX_NAME) -> str:
    """A text of a stranger, of one line: what is not printable is replaced, the rest is cut off."""
    text = text[:most]
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _UNPRINTABLE for char in text)


_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # as config/model.py has it


def container_ids(found: Iterable[str]) -> list[str]:
    """Those that can be ids of containers, at most 64."""
    valid = [each for each in found if _CONTAINER.fullmatch(each)]
    return valid[:_MAX_CONTAINERS]


def found_node(
    instance: Name, srv: Srv, texts: dict[str, str], addresses: Iterable[Address], own: set[Address]
) -> FoundNode:
    """A node by its records; `own` are the addresses of this machine."""
    usable = sorted(addresses, key=lambda one: (one.version, int(one)))
    scheme = "https" if texts.get("scheme") == "https" else "http"
    return FoundNode(
        name=clean(instance[0].decode("utf-8", "replace")),
        host=srv.host,
        urls=[f"{scheme}://{url_host(str(one))}:{srv.port}" for one in usable],
        identifier=clean(texts.get("id", ""), 64),
        version=clean(texts.get("version", ""), _MAX_VERSION),
        protected=texts.get("auth") == "token",
        containers=container_ids(texts.get("containers", "").split(",")),
        on_this_machine=any(one in own for one in usable),
    )
