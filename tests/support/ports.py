"""Free ports of this machine."""

from __future__ import annotations

import os
import random
import socket

_BELOW_THE_EPHEMERAL_RANGE = range(20_000, 32_000)
_WORKERS = 16  # test processes at the same time, each with a part of the range


def free_port() -> int:
    """Return a TCP port that nothing listens on.

    It is below the range from which the kernel takes the ports of outgoing connections, so that
    none of these takes it before the caller does; and each worker of pytest-xdist has ports of its
    own.
    """
    for port in random.SystemRandom().sample(_own_ports(), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise RuntimeError("None of 100 ports was free.")


def _own_ports() -> range:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    size = len(_BELOW_THE_EPHEMERAL_RANGE) // _WORKERS
    begin = (int(worker) % _WORKERS) * size
    return _BELOW_THE_EPHEMERAL_RANGE[begin : begin + size]
