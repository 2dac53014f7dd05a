"""Whether the node may be found, and find others; nothing else is imported while it may not."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Final

from infernet_edge.config.sections.discovery import Discovery
from infernet_edge.hardware.system import in_container

_SWITCHED_OFF: Final = "discovery.enabled is false"
_LOOPBACK: Final = "server.host is an address of this machine only"
_CONTAINER: Final = (
    "the node runs in a container, where discovery.enabled has to be true, with the network of the"
    " host"
)


def why_off(config: Discovery, bound: tuple[str, bool] | None, root: Path = Path("/")) -> str:
    """Why the node neither announces itself nor looks for others; "" when it does.

    `bound` is the address of its socket, and whether that accepts both versions of IP.
    """
    if config.enabled is False:
        return _SWITCHED_OFF
    if bound is None or ipaddress.ip_address(bound[0].partition("%")[0]).is_loopback:
        return _LOOPBACK
    if config.enabled is None and in_container(root):
        return _CONTAINER
    return ""


def host_name() -> str:
    """The name of this machine without its domain, as mDNS has it."""
    return socket.gethostname().partition(".")[0] or "infernet-edge"
