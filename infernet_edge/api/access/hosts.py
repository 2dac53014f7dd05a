"""The host names by which clients may address the node.

A web page can point its own name at the node's address and so make a browser send requests to the
node (DNS rebinding). That needs a name in the public DNS: addresses, names without a dot and names
in special-use domains cannot be registered there. So these are safe, and so are this machine's.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from infernet_edge.config.host_names import OF_THIS_MACHINE, is_loopback_address
from infernet_edge.config.model import Server
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

# RFC 6762, RFC 8375, and domains that are reserved for private use or that routers assign.
_LOCAL_DOMAINS: Final = ("local", "lan", "home.arpa", "internal", "localdomain")
_ALL_ADDRESSES: Final = ("0.0.0.0", "::", "")
_SINGLE_LABEL: Final = re.compile(r"[a-z0-9_-]+")
_NAME: Final = re.compile(r"[a-z0-9._-]+")
_MAX_REFUSED = 20  # names in `refused`, the newest
_MAX_LOGGED = 100
_MAX_NAME = 253  # characters of a DNS name


class Hosts:
    """Decides on host names; `refused` are the newest that were used and are not allowed."""

    def __init__(self, server: Server, resolv_conf: Path = Path("/etc/resolv.conf")) -> None:
        self._any = "*" in server.allowed_hosts
        self._any_address = server.host in _ALL_ADDRESSES
        domains = (*_LOCAL_DOMAINS, *_search_domains(resolv_conf))
        self._names = {name.lower().rstrip(".") for name in server.allowed_hosts}
        self._names |= {*OF_THIS_MACHINE, *_own_names(domains)}
        self.refused: deque[str] = deque(maxlen=_MAX_REFUSED)
        self._refused_count = 0

    @property
    def any(self) -> bool:
        """Whether the configuration allows every name."""
        return self._any

    def allows(self, name: str, own_address: str) -> bool:
        """Whether a name or an address, without port and brackets, is one of the node's.

        `own_address` is the one of this machine at which the request arrived.
        """
        name = name.rstrip(".")
        if self.is_own(name, own_address):
            return True
        if is_address(name):
            return self._any_address  # behind NAT it is not an address of this machine
        return _SINGLE_LABEL.fullmatch(name) is not None

    def is_own(self, name: str, own_address: str) -> bool:
        """Whether it certainly is this node's: allowed by the configuration, or of this machine."""
        return self._any or name in self._names or name == own_address or is_loopback_address(name)

    def refuse(self, name: str) -> None:
        """Add a name to `refused`, and log it the first time."""
        if len(name) > _MAX_NAME or not _NAME.fullmatch(name) or name in self.refused:
            return
        self.refused.append(name)
        self._refused_count += 1
        if self._refused_count <= _MAX_LOGGED:
            log_event(
                logger, "host.refused", logging.WARNING, host=name, fix="server.allowed_hosts"
            )


def host_name(host: str) -> str:
    """The name or address in a Host header, without the port and the brackets of IPv6."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _own_names(domains: Iterable[str]) -> set[str]:
    host = socket.gethostname().lower()
    short = host.partition(".")[0]
    return {"localhost", host, *(f"{short}.{domain}" for domain in domains)}


def _search_domains(resolv_conf: Path) -> list[str]:
    """The search domains of this machine, see resolv.conf(5)."""
    try:
        lines = resolv_conf.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found: list[str] = []
    for first, *names in filter(None, (line.split() for line in lines)):
        if first in ("search", "domain"):
            found += names
    return [name.lower().strip(".") for name in found if name.strip(".")]


def is_address(text: str) -> bool:
    """Whether the text is an IP address, of either version and without a port."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
