"""The names by which containers address the machine that they run on.

Configurations that were made for a node in a container have them. Outside of one they mean this
machine, unless they are in its name service.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import Final
from urllib.parse import urlsplit

RESOLVING_TIME: Final = 2.0  # seconds for one of these names
LOOPBACK: Final = "127.0.0.1"
OF_THIS_MACHINE: Final = (
    "host.docker.internal",
    "host.containers.internal",  # Podman
    "gateway.docker.internal",
    "docker.for.mac.host.internal",
    "docker.for.mac.localhost",
    "docker.for.win.host.internal",
    "docker.for.win.localhost",
)


def host_of(url: str) -> str:
    """The host of a URL in lower case, without the dot at its end; "" when there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # of the brackets of IPv6
        return ""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its form, a name or an address; names are not resolved."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761
        return True
    return is_loopback_address(host)


def is_loopback_address(text: str) -> bool:
    """Whether the text is an address at which a machine reaches itself."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def resolves(host: str) -> bool:
    """Whether a name can be resolved in time. Blocks so long."""
    found = threading.Event()

    def resolve() -> None:
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            return
        found.set()

    thread = threading.Thread(target=resolve, name="resolve", daemon=True)
    thread.start()
    thread.join(RESOLVING_TIME)
    return found.is_set()


def replaced_hosts(urls: list[str]) -> list[str]:
    """The hosts of URLs that mean this machine because they cannot be resolved. Blocks."""
    named = dict.fromkeys(map(host_of, urls))
    return [host for host in named if host in OF_THIS_MACHINE and not resolves(host)]
