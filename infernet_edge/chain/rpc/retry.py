"""How long to wait before a retry of what no server answered: one policy for all of chain/."""

from __future__ import annotations

import math
from typing import Final

from infernet_edge.backoff import Backoff

MAX_OUTAGE_PAUSE_SECONDS: Final = 5.0
"""After an outage everything resumes within this time, unless a server names another."""


class RetryPauses:
    """Pauses of `first` seconds, doubling up to `limit`; without one it is that of outages."""

    def __init__(self, first: float, limit: float | None = None) -> None:
        limit = MAX_OUTAGE_PAUSE_SECONDS if limit is None else limit
        self._pauses = Backoff(min(first, limit), limit)

    def next(self, retry_after: float = 0.0, due_in: float = math.inf) -> float:
        """Seconds before the next attempt.

        At least `retry_after`, for which the servers want no requests (see RpcUnavailable), but not
        past the moment at which work is due, which is in `due_in` seconds.
        """
        pause = max(self._pauses.next(), retry_after)
        return min(pause, due_in) if due_in > 0 else pause

    def reset(self) -> None:
        """Begin with the first pause again, after an answer."""
        self._pauses.reset()
