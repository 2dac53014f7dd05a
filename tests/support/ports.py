"""Free ports of this machine."""

from __future__ import annotations

import functools
import itertools
import os
import random
import socket
from collections.abc import Iterator

_BELOW_THE_EPHEMERAL_RANGE = range(20_000, 32_000)


def free_port() -> int:
    """Return a TCP port of which nothing else gets the connections.

    Nothing listens on it, and no rule of the firewall forwards it, such as one that a Podman that
    was killed left.

    It is below the range from which the kernel takes the ports of outgoing connections, so that
    none of these takes it before the caller does. Each worker of pytest-xdist has ports of its
    own, and gives none a second time before all others.
    """
    for port in itertools.islice(_own_ports(), 50):
        with socket.socket() as probe, socket.socket() as client:
            try:
                probe.bind(("0.0.0.0", port))
                probe.listen(1)
                client.settimeout(1)
                client.connect(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("None of 50 ports was free.")


@functools.cache
def _own_ports() -> Iterator[int]:
    """The ports of this worker, again and again, from one that is another in each process."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(_BELOW_THE_EPHEMERAL_RANGE) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    begin = random.SystemRandom().randrange(size)
    own = _BELOW_THE_EPHEMERAL_RANGE[worker * size : (worker + 1) * size]
    return itertools.cycle([*own[begin:], *own[:begin]])
