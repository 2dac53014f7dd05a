"""The settings of discovery, and their rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from infernet_edge.config.errors import Problem
from infernet_edge.config.texts import printable

MAX_LISTED = 64
"""Nodes in `discovery.nodes`."""

_MAX_NAME = 63  # bytes: the name is one label of DNS


class Discovery(Struct, frozen=True):
    enabled: Annotated[
        bool | None,
        Meta(
            description="Whether other machines of the network find this node, by mDNS, and it"
            " finds other nodes; default: yes, but not inside a container, and never when"
            " server.host is an address of this machine only"
        ),
    ] = None
    name: Annotated[
        str, Meta(description="Name that others see; default: the host name of this machine")
    ] = ""
    nodes: Annotated[
        list[str],
        Meta(
            description='Other nodes to list, each as "http://10.0.0.7:4000": for networks without'
            " multicast. They get no token"
        ),
    ] = []


def check_discovery(discovery: Discovery) -> Iterator[Problem]:
    """The errors in these settings."""
    name = discovery.name
    if len(name.encode("utf-8", "replace")) > _MAX_NAME or not name.isprintable():
        expected = f"printable text of at most {_MAX_NAME} bytes"
        yield Problem("discovery.name", f'"{printable(name[:_MAX_NAME])}"', expected)
    if len(discovery.nodes) > MAX_LISTED:
        yield Problem("discovery.nodes", str(len(discovery.nodes)), f"at most {MAX_LISTED} nodes")
    for position, url in enumerate(discovery.nodes):
        if not _is_base_url(url):
            # It may have a password in it, so it is not shown.
            expected = "a URL of a host and a port alone, such as http://10.0.0.7:4000"
            yield Problem(f"discovery.nodes[{position}]", "another text", expected)
        elif url.rstrip("/") in (each.rstrip("/") for each in discovery.nodes[:position]):
            place = f"discovery.nodes[{position}]"
            yield Problem(place, printable(url), "each node once")


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        path = parts.path.removeprefix("/")
        rest = parts.username or parts.password or path or parts.query or parts.fragment
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return valid and not rest and url.isprintable() and " " not in url
