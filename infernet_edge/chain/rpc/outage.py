"""How long to wait for servers that do not answer: the one policy of all that retries in chain/."""

from __future__ import annotations

import math
from typing import Final

from infernet_edge.backoff import Backoff

MAX_OUTAGE_PAUSE_SECONDS: Final = 5.0
"""After an outage everything resumes within this time, unless the servers name another."""


class OutagePauses:
    """The pauses before retries of what no server answered: `first` seconds, then doubling."""

    def __init__(self, first: float) -> None:
        self._first = min(first, MAX_OUTAGE_PAUSE_SECONDS)
        self._pauses = Backoff(self._first, MAX_OUTAGE_PAUSE_SECONDS)

    def next(self, retry_after: float = 0.0, due_in: float = math.inf) -> float:
        """Seconds before the next attempt.

        At least `retry_after`, for which the servers want no requests (see RpcUnavailable), but not
        past the moment at which work is due, which is in `due_in` seconds.
        """
        pause = max(self._pauses.next(), retry_after)
        return pause if due_in <= 0 else max(min(self._first, pause), min(pause, due_in))

    def reset(self) -> None:
        """Begin with the first pause again, after an answer."""
        self._pauses.reset()
