"""Which port of 127.0.0.1 leads to which container."""

from __future__ import annotations

import socket
from collections.abc import Collection

from infernet_edge.errors import EngineError

_SPARE_PORT = 3999  # then 3998, 3997, …: what the reference node hands out when ports clash
_LOWEST_PORT = 1024


class Ports:
    """Hands out ports, never the same one twice; `reserved` ones only to who asks for them.

    A port is looked at before Podman gets it: with netavark, a container that fails to start since
    its port is taken takes the rules of the other container on that port down with it.
    """

    def __init__(self, reserved: Collection[int]) -> None:
        self._reserved = frozenset(reserved)
        self._owners: dict[str, int] = {}

    def take(self, owner: str, wanted: int) -> int:
        """`wanted` when nothing listens there, else the next spare one below 4000.

        Raises EngineError when no port is left.
        """
        self._owners.pop(owner, None)
        spares = (
            port for port in range(_SPARE_PORT, _LOWEST_PORT - 1, -1) if port not in self._reserved
        )
        for port in (wanted, *spares):
            if port not in self._owners.values() and is_free(port):
                self._owners[owner] = port
                return port
        raise EngineError(f"No port between {_LOWEST_PORT} and {_SPARE_PORT} is free")

    def keep(self, owner: str, port: int) -> None:
        """Note that `owner` is on `port` already."""
        self._owners[owner] = port


def is_free(port: int) -> bool:
    """Whether nothing listens on this TCP port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        # As listeners do: connections that have just ended do not count.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
            attempt.listen(1)
        except OSError:
            return False
    return True
