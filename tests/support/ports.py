"""Free ports of this machine."""

from __future__ import annotations

import random
import socket

_BELOW_THE_EPHEMERAL_RANGE = range(20_000, 32_000)


def free_port() -> int:
    """Return a TCP port that nothing listens on.

    It is below the range from which the kernel takes the ports of outgoing connections, so that
    none of these takes it before the caller does.
    """
    for port in random.SystemRandom().sample(_BELOW_THE_EPHEMERAL_RANGE, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise RuntimeError("None of 100 ports was free.")
