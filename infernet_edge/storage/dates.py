"""The date, for what ends on a date: the wall clock's, unless that is evidently wrong.

A device without a battery for its clock may start in 1970, in the past, or far in the future. The
wall clock is evidently wrong when it is behind the date that is known to have passed (that of this
version, or one that was stored, and the time for which the node has run since) or decades ahead.
Then that known date is used, which is not later than the right one. It is believed again when a
time server sets it (the state of the kernel), or when it was set while the node ran.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from infernet_edge import RELEASED
from infernet_edge.clock import follows_a_server, iso_time, milliseconds
from infernet_edge.storage.elapsed import ElapsedTime
from infernet_edge.storage.token_file import Anchor

_RELEASED: Final = int(datetime.fromisoformat(RELEASED).replace(tzinfo=UTC).timestamp() * 1000)
_MAX_AHEAD: Final = 30 * 365 * 24 * 3600 * 1000  # milliseconds after the date of this version
_SLACK: Final = 60_000  # milliseconds by which the wall clock may be behind the known date


class Dates:
    """Decides whether the wall clock is believed. One object is for one run of the node."""

    def __init__(self, elapsed: ElapsedTime | None) -> None:
        """`elapsed`: the node's own time; None where no node runs, and then no time passes."""
        self._elapsed = elapsed
        self._anchor: Anchor | None = None
        self._times_set = self._set_so_far

    def load(self, anchor: Anchor | None) -> None:
        """Continue from a stored date; to be called when the node's own time was loaded."""
        self._anchor = anchor

    def now(self) -> int:
        """The date in milliseconds since 1970."""
        return self._look()[0]

    def anchor(self) -> Anchor | None:
        """The present date, to be stored; without a node, what was stored before."""
        if self._elapsed is None:
            return self._anchor
        return Anchor(self.now(), self._elapsed.now())

    @property
    def flaw(self) -> str:
        """Why the wall clock is not believed; "" when it is."""
        known, is_believed = self._look()
        if is_believed:
            return ""
        return (
            f"the clock of this machine shows {iso_time(milliseconds())[:16]}, which is evidently"
            f" wrong: it is at least {iso_time(known)[:16]} UTC"
            if milliseconds() < known
            else f"the clock of this machine shows the year {iso_time(milliseconds())[:4]}"
        )

    def _look(self) -> tuple[int, bool]:
        """The date, and whether it is that of the wall clock."""
        wall = milliseconds()
        if self._set_so_far != self._times_set and wall >= _RELEASED:
            self._times_set = self._set_so_far
            self._anchor = None  # who sets the clock may set it back
        known = self._known()
        if is_plausible(wall, known) or (wall >= _RELEASED and follows_a_server()):
            if self._elapsed is not None:
                self._anchor = Anchor(wall, self._elapsed.now())
            return wall, True
        return known, False

    @property
    def _set_so_far(self) -> int:
        return 0 if self._elapsed is None else self._elapsed.times_set

    def _known(self) -> int:
        """A date that has passed certainly."""
        if self._anchor is None:
            return _RELEASED
        now = self._anchor.elapsed if self._elapsed is None else self._elapsed.now()
        passed = max(0, now - self._anchor.elapsed)
        return max(_RELEASED, self._anchor.date + passed)


def is_plausible(wall: int, known: int = _RELEASED) -> bool:
    """Whether the wall clock may be right, given a date that has passed; in milliseconds."""
    return known - _SLACK <= wall <= _RELEASED + _MAX_AHEAD
