"""Assign the ports of 127.0.0.1 to containers."""

from __future__ import annotations

import socket
from collections.abc import Collection

from infernet_edge.errors import EngineError

_SPARE_PORT = 3999  # then 3998, 3997, …: the reference node assigns these when ports conflict
_MIN_PORT = 1024


class Ports:
    """Assigns ports, never the same one twice; `reserved` ones only if they are preferred.

    A port is checked before Podman gets it: with netavark, a container that fails to start because
    its port is in use removes the rules of the other container on that port.
    """

    def __init__(self, reserved: Collection[int]) -> None:
        self._reserved = frozenset(reserved)
        self._owners: dict[str, int] = {}

    def assign(self, owner: str, preferred: int) -> int:
        """Assign `preferred` if nothing listens there, else the next spare port below 4000.

        Raises EngineError when no port is left.
        """
        self._owners.pop(owner, None)
        spares = (
            port for port in range(_SPARE_PORT, _MIN_PORT - 1, -1) if port not in self._reserved
        )
        for port in (preferred, *spares):
            if port not in self._owners.values() and is_free(port):
                self._owners[owner] = port
                return port
        raise EngineError(f"No port between {_MIN_PORT} and {_SPARE_PORT} is free")

    def reserve(self, port: int) -> None:
        """Assign this port only where it is preferred."""
        self._reserved |= {port}

    def register(self, owner: str, port: int) -> None:
        """Record that `owner` already uses `port`."""
        self._owners[owner] = port


def is_free(port: int) -> bool:
    """Whether nothing listens on this TCP port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        # Listeners set this option too: recently closed connections do not block the port.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
            attempt.listen(1)
        except OSError:
            return False
    return True
