"""The events `attention`, `minute` and `machine`, which are made only while they are read."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from msgspec import structs

from infernet_edge.api.overview.attention import for_others
from infernet_edge.api.overview.forms import Attention, Intake
from infernet_edge.api.overview.overview import OverviewSource
from infernet_edge.events.bus import Events
from infernet_edge.logs import log_exception
from infernet_edge.statistics.last_hour import LastHour
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

OPERATORS: Final = "operator"
"""In place of a client: an event that only operators read."""

_CAUSES: Final = ("container", "storage", "chain")  # types of events that change what is shown
_PACE: Final = 1.0  # seconds between two checks of what needs attention, at least
_PERIOD: Final = 10.0  # and at most, and between two measurements of a machine that works
_FACTS_KEPT: Final = 60.0  # seconds for which what the machine says is used again
_QUIET_PERIODS: Final = 6  # between two measurements of a machine on which nothing runs
_AFTER_MINUTE: Final = 0.05  # seconds: the two clocks need not agree exactly
_RETRY: Final = 10.0  # seconds after a failure


class OverviewEvents:
    """Publishes what the overview shows; has no task while no client reads."""

    def __init__(self, source: OverviewSource, hour: LastHour, events: Events) -> None:
        self._source = source
        self._hour = hour
        self._events = events
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        work: Mapping[str, Callable[[], Awaitable[None]]] = {
            "attention": self._watch_attention,
            "minute": self._count_minutes,
            "machine": self._measure_machine,
        }
        for name, each in work.items():
            events.on_interest[name] = functools.partial(self._on_interest, name, each)

    def _on_interest(self, name: str, work: Callable[[], Awaitable[None]], wanted: bool) -> None:
        if wanted:
            self._tasks[name] = asyncio.create_task(self._run(name, work), name=f"events {name}")
        elif (task := self._tasks.pop(name, None)) is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Stop all tasks; may be called twice."""
        tasks = [*self._tasks.values(), *self._ending]
        self._tasks = {}
        await cancel(*tasks)

    async def _run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the readers get the next ones
                log_exception(logger, "overview.publish_failed", error, type=name)
                await asyncio.sleep(_RETRY)

    async def _watch_attention(self) -> None:
        """Publish the list and the intake when one changes, for operators and for all others.

        They are checked after an event that may change them, and regularly for what has no
        event; often only while jobs are pending, since the intake closes when there are too many.
        """
        before: tuple[list[Attention], Intake] | None = None
        joined, refreshed = 0, float("-inf")
        topic = self._events.topics["attention"]
        changed = asyncio.Event()
        with self._events.watched(_CAUSES, ("job",), changed.set):
            while True:
                changed.clear()
                if (now := time.monotonic()) - refreshed < _FACTS_KEPT:
                    items = self._source.note()
                else:
                    refreshed, items = now, await self._source.attention()
                state = (items, self._source.intake())
                # A reader that came in between has a list of an earlier moment.
                if state != before or topic.joined != joined:
                    before, joined = state, topic.joined
                    self._publish_attention(*state)
                was_pending = self._source.has_pending
                await asyncio.sleep(_PACE)
                if was_pending or self._source.has_pending:
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PERIOD - _PACE):
                        await changed.wait()

    def _publish_attention(self, items: list[Attention], intake: Intake) -> None:
        others = for_others(items)
        data = {"items": others, "intake": structs.asdict(intake)}
        self._events.publish("attention.changed", data)
        if others != items:  # the second one is what an operator sees last
            self._events.publish("attention.changed", data | {"items": items}, client=OPERATORS)

    async def _count_minutes(self) -> None:
        """Publish each minute when it has ended."""
        while True:
            await asyncio.sleep(self._hour.seconds_left + _AFTER_MINUTE)
            self._events.publish("minute.ended", structs.asdict(self._hour.last_minute()))

    async def _measure_machine(self) -> None:
        """Publish what is used of the machine; less often while nothing runs on it."""
        while True:
            before = self._source.calls
            usage = structs.asdict(await self._source.usage())
            containers = await self._source.uses()
            self._events.publish("machine.measured", usage | {"containers": containers})
            await asyncio.sleep(_PERIOD)
            for _ in range(_QUIET_PERIODS - 1):
                if self._source.calls != before or self._source.has_pending:
                    break
                await asyncio.sleep(_PERIOD)
