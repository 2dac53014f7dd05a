"""Can other machines of the network find this node?"""

from __future__ import annotations

import ipaddress
import socket

from infernet_edge.discovery.permission import why_off
from infernet_edge.discovery.search import NO_NETWORK, look
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, warning
from infernet_edge.hardware.network import links

NAME = "discovery"
NEEDS = ("server.host", "discovery")

_SECONDS = 0.5  # for the own packets to come back
_OFF = "set discovery.enabled = false if no one has to find this node"


async def check(case: Case) -> Finding:
    """Send a query to the network: at least the own packet has to arrive."""
    bound = await case.blocking(_address, case.config.server.host)
    if bound is None:
        return not_checked("server.host has no address")
    if off := why_off(case.config.discovery, bound, case.root):
        return ok(f"off: {off}")
    address, both = bound
    networks = await case.blocking(lambda: links(address, both=both))
    _, problem = await look(networks, _SECONDS)
    if problem == NO_NETWORK:
        return warning(
            f"{NO_NETWORK}, so that none finds this node", "connect it; the node notices that"
        )
    if problem:
        return warning(
            f"others may not find this node: {problem}",
            f"let UDP port 5353 through the firewall, which calls it mdns; or {_OFF}",
        )
    return ok("others can find this node by mDNS")


def _address(host: str) -> tuple[str, bool] | None:
    """The address that the node listens on, and whether it accepts both versions of IP."""
    try:
        found = socket.getaddrinfo(host or "::", 0, type=socket.SOCK_STREAM)[0][4][0]
        address = ipaddress.ip_address(str(found).partition("%")[0])
    except (OSError, ValueError):
        return None
    return str(address), not host
