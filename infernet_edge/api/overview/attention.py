"""What needs a person, now: collected from all parts, with the time since when it lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import structs

from infernet_edge.api.overview.conditions import FoundCondition
from infernet_edge.api.overview.forms import Attention
from infernet_edge.clock import milliseconds
from infernet_edge.events.public_text import has_path, public, without_paths

MAX_ATTENTION: Final = 20
"""Items that are shown; problems are before warnings."""

MAX_TEXT: Final = 500
"""Characters of a text of an item."""

_MAX_REMEMBERED: Final = 1000  # conditions whose begin is remembered
# What only operators see: it names clients, or what a client sent.
_PRIVATE: Final = ("hosts.refused", "token")


class AttentionList:
    """Remembers since when each condition lasts, as long as it is found each time."""

    def __init__(
        self,
        collect: Callable[[], Iterable[FoundCondition]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`collect` gives all that is found now, of the memory alone."""
        self._collect = collect
        self._clock = clock
        self._began: dict[str, tuple[float, int]] = {}  # by both clocks

    def items(self) -> list[Attention]:
        """What needs attention now, for an operator: problems first, at most MAX_ATTENTION.

        To be called regularly: a condition counts from the call that found it first.
        """
        return self.all()[:MAX_ATTENTION]

    def all(self) -> list[Attention]:
        """The same without a limit."""
        now, wall = self._clock(), milliseconds()
        began: dict[str, tuple[float, int]] = {}
        items: list[Attention] = []
        for item, after in self._collect():
            if len(began) < _MAX_REMEMBERED:
                began[item.id] = self._began.get(item.id, (now, wall))
            first, since = began.get(item.id, (now, wall))
            if now - first >= after:
                items.append(_shortened(item, since))
        self._began = began
        return sorted(items, key=lambda item: item.level != "problem")


def for_others(items: Iterable[Attention]) -> list[Attention]:
    """What a caller sees who is no operator: no clients, no paths, no output of containers."""
    return [_public(item) for item in items if not item.id.startswith(_PRIVATE)]


def _public(item: Attention) -> Attention:
    command = "" if has_path(item.command) else item.command
    return structs.replace(
        item,
        id=item.id,
        title=without_paths(item.title),
        text=public(item.text),
        fix=without_paths(item.fix),
        command=command,
        actions=[],
    )


def _shortened(item: Attention, since: int) -> Attention:
    return structs.replace(
        item,
        text=_cut(item.text),
        fix=_cut(item.fix),
        since=item.since or since,  # its part may know better
        title=_cut(item.title),
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
