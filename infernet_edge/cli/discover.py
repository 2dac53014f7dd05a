"""`infernet-edge discover`: the nodes in the network, by mDNS; no node has to run here."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import whole
from infernet_edge.cli.text import wrapped

if TYPE_CHECKING:
    from infernet_edge.discovery.forms import NodeList, OtherNode

HELP = "find nodes in the local network"

_SECONDS: Final = 3
_MAX_SECONDS: Final = 60

_NOT_FOUND: Final = (
    "A node is not found when discovery.enabled is false there, when its server.host is 127.0.0.1,"
    " or when it runs in a container. Guest networks often keep machines apart, and routers do not"
    " pass on mDNS: ask such a node by its address, infernet-edge status --url"
    " http://ADDRESS:4000, or list it in discovery.nodes."
)
_OPEN: Final = (
    "Open UDP port 5353: sudo ufw allow mdns, or sudo firewall-cmd --permanent --add-service=mdns"
    " && sudo firewall-cmd --reload."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge discover",
        "infernet-edge discover --timeout 10",
        "infernet-edge discover --json",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=_SECONDS,
        metavar="SECONDS",
        help=f"how long to wait for answers (default: {_SECONDS})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the nodes; returns 0 when there is one, else 1."""
    from infernet_edge.discovery.search import search

    found = asyncio.run(search(arguments.timeout))
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        print("\n".join(_lines(found)))
        for line in _why(found):
            print(line, file=sys.stderr)
    return 0 if found.items else 1


def _lines(found: NodeList) -> Iterator[str]:
    if not found.items:
        yield "No node was found."
    for node in found.items:
        yield f"{node.name}  {node.url}"
        yield from wrapped("  ", _state(node))
        if node.containers:
            yield from wrapped("  ", f"containers: {', '.join(node.containers)}")


def _state(node: OtherNode) -> str:
    parts = [f"{node.health} ({node.reason})" if node.reason else f"{node.health}"]
    if node.version:
        parts.append(f"version {node.version}")
    if node.pending is not None:
        parts.append(f"{node.pending} pending")
    if node.protected:
        parts.append("needs a token")
    return ", ".join(parts)


def _why(found: NodeList) -> Iterator[str]:
    from infernet_edge.discovery.search import NO_NETWORK

    if found.problem:
        yield from wrapped("", f"{found.problem[0].upper()}{found.problem[1:]}.")
        if "firewall" in found.problem:
            yield from wrapped("", _OPEN)
    if not found.items and found.problem != NO_NETWORK:
        yield from wrapped("", _NOT_FOUND)


def _seconds(text: str) -> int:
    return whole(text, 1, _MAX_SECONDS, " of seconds")
