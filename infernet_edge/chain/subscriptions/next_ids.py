"""The ids that the next subscription would have had, by blocks. Pure: no input or output."""

from __future__ import annotations

from collections import deque


class NextIds:
    """Tells which subscriptions are in a block that is deep enough to be read.

    `newest` is the next id at the head; 0 while it is not known.
    """

    def __init__(self) -> None:
        self.newest = 0
        self._changes: deque[tuple[int, int]] = deque()  # the first block that was seen with it, id

    def note(self, block: int, next_id: int) -> None:
        """Note what the coordinator says in a block; 0: it says nothing."""
        self.newest = next_id
        if next_id and (not self._changes or self._changes[-1][1] != next_id):
            self._changes.append((block, next_id))

    def at(self, block: int) -> int:
        """The next id in a block, at least; 0 while it is not known.

        The first one that is known counts as old: it may be.
        """
        while len(self._changes) > 1 and self._changes[1][0] <= block:
            self._changes.popleft()
        return self._changes[0][1] if self.newest and self._changes else 0

    def clear(self) -> None:
        """Blocks were replaced: nothing is known of them."""
        self.newest = 0
        self._changes.clear()
