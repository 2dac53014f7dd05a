"""What is known about one server: whether it works, how fast it is, what it does not offer."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from infernet_edge.chain.rpc.errors import Cause, EndpointFailure, RpcError
from infernet_edge.chain.rpc.retry import RetryPauses
from infernet_edge.chain.rpc.state.answer_times import AnswerTimes
from infernet_edge.chain.rpc.state.counters import HourlyCount

_FIRST_PAUSE = 0.25  # seconds after a failure; doubles with each failure in a row
_CHECK_PERIOD = 60.0  # seconds after which the chain is checked again
_SLOW_IN_ROW = 3  # requests in a row that another server answers first, before this one fails
_LACKING_FOR = 300.0  # seconds for which a method that is not offered is remembered
_LACKING = 32  # methods that are remembered
_OPTIONAL = ("eth_maxPriorityFeePerGas", "eth_feeHistory", "eth_syncing")  # no problem without


class Health:
    """One server's state. `clock` gives seconds of a steady clock, `timeout` is in seconds."""

    def __init__(self, clock: Callable[[], float], timeout: float) -> None:
        self._clock = clock
        self.times = AnswerTimes(timeout)
        self.requests = HourlyCount(clock)
        self.refused = HourlyCount(clock)
        self.outcomes: Counter[str] = Counter()  # of requests since the start
        self.reason = ""  # why it fails, "" when it works
        self.is_doubted = False  # the chain is checked alone, which shows whether it answers at all
        self._pauses = RetryPauses(_FIRST_PAUSE)
        self._paused_until = -math.inf
        self._failed_at = -math.inf
        self._checked_at = -math.inf
        self._answered_at = -math.inf
        self._slow = 0
        self._lacking: dict[str, tuple[float, str]] = {}

    @property
    def pause(self) -> float:
        """Seconds until it is asked again after a failure."""
        return max(0.0, self._paused_until - self._clock())

    @property
    def since_answer(self) -> float:
        """Seconds since the last answer."""
        return self._clock() - self._answered_at

    @property
    def must_check(self) -> bool:
        """Whether the chain is to be checked: after a failure another server may be there."""
        return self._clock() - self._checked_at > _CHECK_PERIOD

    def note_check(self) -> None:
        """The chain is the right one."""
        self._checked_at = self._clock()
        self.is_doubted = False

    def note_answer(self) -> None:
        """A request was answered."""
        self._answered_at = self._clock()
        self._paused_until = -math.inf
        self._pauses.reset()
        self._slow = 0
        self.reason = ""

    def note_failure(self, failure: EndpointFailure, began: float) -> None:
        """Pause it. Failures of requests that ran at the same time count as one."""
        now = self._clock()
        if began >= self._failed_at:
            # At random: many nodes must not come back at once.
            pause = self._pauses.next() * random.uniform(0.5, 1.0)  # noqa: S311
            self._paused_until = now + max(pause, failure.pause)
        self._failed_at = now
        self.doubt()
        self._slow = 0
        self.reason = str(failure)

    def doubt(self) -> None:
        """A request failed that should not: the server is checked before the next one."""
        self.is_doubted = True
        self._checked_at = -math.inf

    def note_slow(self, seconds: float, began: float) -> None:
        """A request was given up after that time, because another server answered first."""
        self._slow += 1
        if self._slow >= _SLOW_IN_ROW:
            reason = f"no answer within {seconds:.1f} seconds"
            self.note_failure(EndpointFailure(reason, Cause.TIMEOUT), began)

    # Methods

    def note_method(self, method: str, answer: Any) -> None:
        """Remember whether a method is offered."""
        if not (isinstance(answer, RpcError) and answer.lacks_method):
            self._lacking.pop(method, None)
        elif method in self._lacking or len(self._lacking) < _LACKING:
            self._lacking[method] = (self._clock() + _LACKING_FOR, answer.message)

    def lacks(self, method: str) -> bool:
        """Whether the method was refused as such a while ago."""
        return self._lacking.get(method, (0.0, ""))[0] > self._clock()

    @property
    def lacking(self) -> str:
        """What it does not offer, for the operator; "" when nothing is known."""
        lacking = [name for name in self._lacking if self.lacks(name) and name not in _OPTIONAL]
        if not lacking:
            return ""
        return f"it does not offer {', '.join(lacking)} ({self._lacking[lacking[0]][1]})"
