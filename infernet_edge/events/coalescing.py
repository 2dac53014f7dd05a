"""Changes of one period, each subject as it was last: for readers that need no single event."""

from __future__ import annotations

from typing import Any, Final

from infernet_edge.clock import iso_time, milliseconds
from infernet_edge.events.bus import Event, Events, encode
from infernet_edge.events.text import event_text

MAX_CHANGED: Final = 50
"""Subjects in one frame."""

_MAX_SUBJECTS: Final = 1000  # of a type that are distinguished; more are counted as they come


class Changes:
    """What changed since the last frames, by type and subject."""

    def __init__(self, events: Events, types: tuple[str, ...], *, in_full: bool = True) -> None:
        """`in_full`: they are for operators, see `Event.fields`."""
        self._events = events
        self._types = types
        self._in_full = in_full
        self._changed: dict[str, dict[object, Event]] = {}
        self._more: dict[str, int] = {}

    def add(self, batch: list[Event]) -> None:
        """Take events, oldest first."""
        for event in batch:
            changed = self._changed.setdefault(event.type, {})
            if self._events.topics[event.type].type.is_snapshot:
                changed[""] = event
                continue
            subject = event.subject
            changed.pop(subject, None)  # inserted again: the newest are last
            changed[subject] = event
            if len(changed) > _MAX_SUBJECTS:
                del changed[next(iter(changed))]
                self._more[event.type] = self._more.get(event.type, 0) + 1

    def take(self, number: int) -> bytes:
        """One frame for each type that changed, and begin a new period; b"" for no change.

        `number` is that of the newest event that was added. The last frame has it as its id, and
        the others have none: a reader that gets only some of them resumes before all of them.
        """
        changed, self._changed = self._changed, {}
        more, self._more = self._more, {}
        names = [name for name in self._types if name in changed]
        return b"".join(
            self._frame(
                name,
                list(changed[name].values()),
                more.get(name, 0),
                self._events.identifier(number) if name == names[-1] else "",
            )
            for name in names
        )

    def _frame(self, name: str, changed: list[Event], more: int, identifier: str) -> bytes:
        topic = self._events.topics[name].type
        if topic.is_snapshot:
            last = changed[-1].fields(in_full=self._in_full)
            return event_text(topic.frame, encode(last), identifier)
        fields: dict[str, Any] = {"time": iso_time(milliseconds())}
        if (summary := self._events.summaries.get(name)) is not None:
            fields |= summary()
        shown = changed[-MAX_CHANGED:]
        fields["changed"] = [
            {"event": each.name} | each.fields(in_full=self._in_full) for each in shown
        ]
        fields["more"] = more + len(changed) - len(shown)
        return event_text(topic.frame, encode(fields), identifier)
