"""How far logs have been read, and those that wait to be handled. Pure: no input or output."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Any

_MAX_UNANSWERED = 3  # questions in a row before logs are asked for from the head on only
_MAX_BLOCKS = 500  # of which servers give the logs at once, so that the smallest limits suffice
_MAX_LOGS = 10_000  # that wait to be handled


class LogsRead(Enum):
    """What an answer has brought."""

    NOTHING = auto()
    FOUND = auto()  # there are logs that wait
    STARTED = auto()  # logs are known from here on; what earlier ones said has to be read
    MISSED = auto()  # the server gives no logs; what they would have said has to be read


class LogCursor:
    """Reads logs once each, when their blocks are `depth` blocks deep.

    `waiting` are those that were read and are not handled yet, oldest first. Whatever may get lost
    (at the start, by a server that gives none, by too many at once) sets `incomplete`: then what
    the logs would have said has to be found in another way.
    """

    def __init__(self, depth: int) -> None:
        self.waiting: deque[dict[str, Any]] = deque()
        self.incomplete = False
        self._depth = depth
        self._read_to = -1  # the block up to which logs were read; -1: from the next answer on
        self._unanswered = 0  # questions in a row

    def first_block(self, head: int | None) -> str:
        """The block from which on to ask for logs, as JSON-RPC wants it; counts the question."""
        if self._unanswered >= _MAX_UNANSWERED:
            self._read_to = -1  # the logs of so many blocks may be what the server cannot give
        self._unanswered += 1
        if self._read_to < 0 or head is None:
            return "latest"
        # Servers refuse to look for logs in blocks that they do not have yet.
        return hex(min(head, self._read_to + 1))

    def take(self, head: int, answer: Any) -> LogsRead:
        """Keep the logs of blocks that are deep enough; the others come again with the next answer.

        `answer` is what the server said: a list of logs, or an RpcError or nonsense.
        """
        self._unanswered = 0
        deep = head - self._depth
        if self._read_to < 0:
            self._read_to = deep
            self.incomplete = True
            return LogsRead.STARTED
        if not isinstance(answer, list):
            if deep - self._read_to <= _MAX_BLOCKS:
                return LogsRead.NOTHING  # the next answer may have them
            self._read_to = deep
            self.incomplete = True
            return LogsRead.MISSED
        found = [log for log in answer if self._read_to < _block_number(log) <= deep]
        room = max(0, _MAX_LOGS - len(self.waiting))
        self.waiting.extend(found[:room])
        self.incomplete = self.incomplete or len(found) > room
        self._read_to = max(self._read_to, deep)
        return LogsRead.FOUND if found else LogsRead.NOTHING

    def rewind(self, head: int) -> None:
        """Blocks were replaced: read the logs again of all that are not `depth` deep now."""
        self._read_to = min(self._read_to, head - self._depth)
        self.incomplete = True

    def handled(self, count: int) -> None:
        """The first logs of those that wait are handled."""
        for _ in range(count):
            self.waiting.popleft()


def _block_number(log: Any) -> int:
    """The block of a log; -1 when it says none."""
    try:
        return int(log["blockNumber"], 16)
    except (KeyError, TypeError, ValueError):
        return -1
