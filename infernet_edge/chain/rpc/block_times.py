"""When blocks come, and so when to poll for the next one. Pure: times are passed in, in seconds."""

from __future__ import annotations

from collections import deque
from statistics import median_low

_REMEMBERED = 8  # intervals between blocks
_ENOUGH = 4  # intervals after which it can be said whether they are regular
_MISSED = 2.5  # times the shortest interval: regular ones may be so long, when a block is left out
_MAX_REGULAR_PAUSE = 15.0  # seconds between two polls while a block is late
_MAX_PAUSE = 3.0  # the same where blocks come irregularly: perhaps one for each transaction
_SHARE = 8  # of the time without a block: the part of it that the next pause may last


class BlockTimes:
    """The intervals between the latest blocks. `period` is the shortest pause between two polls.

    All times are those of one steady clock; `seen_at` is when the head was seen first.
    """

    def __init__(self, period: float) -> None:
        self.seen_at = 0.0
        self._period = period
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, now: float, blocks: int) -> None:
        """Another head was seen, so many blocks after the last; 0 and less: only another one."""
        if blocks > 0:
            self._intervals.append((now - self.seen_at) / blocks)
        self.seen_at = now

    @property
    def are_short(self) -> bool:
        """Whether each poll finds a new block."""
        return len(self._intervals) >= _ENOUGH and max(self._intervals) <= self._period

    @property
    def are_regular(self) -> bool:
        """Whether the time of the next block can be predicted from those before."""
        if len(self._intervals) < _ENOUGH:
            return False
        return max(self._intervals) <= _MISSED * min(self._intervals) + self._period

    def pause(self, now: float) -> float:
        """Seconds until the next poll.

        Where blocks come in regular intervals, it comes half a period before the next one is due:
        if the block is there already, the polls move towards the moment at which blocks come, and
        if not, the poll after it finds it. The later a block is, the longer are the pauses. Other
        blocks are found with a delay of an eighth of their interval, at most.
        """
        if self.are_regular:
            early = self.seen_at + median_low(self._intervals) - self._period / 2 - now
            return max(self._period, min(_MAX_REGULAR_PAUSE, max(early, -early / 2)))
        return max(self._period, min(_MAX_PAUSE, (now - self.seen_at) / _SHARE))
