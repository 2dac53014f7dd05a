"""Which containers are to be started and stopped, when not all of them may run.

A container that jobs wait for takes the place of one that is idle, least recently used first. Where
all are busy, one of them goes on for its turn, then finishes the jobs that are in it and takes no
further ones. So jobs that wait for the same container run together, and none waits forever: the
container that was asked for first is the next one.

One that starts keeps its place, unless all jobs that it is started for were cancelled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

State = Literal["asleep", "waking", "awake", "stopping"]


class Standing(NamedTuple):
    """One container. Times are seconds of a clock that cannot be set.

    `is_running`: jobs are in it; `is_waiting`: jobs wait for it. `turn` is for how long it goes on
    while another is waited for. `wanted_since` is since when one that is asleep is wanted, None
    when it is not; only for jobs and operators others are stopped (`may_displace`). `is_abandoned`:
    it is waking for jobs, and none of them waits any more.
    """

    id: str
    state: State
    group: str = ""
    is_running: bool = False
    is_waiting: bool = False
    idle_since: float = 0.0
    idle_timeout: float | None = None
    ready_since: float = 0.0
    turn: float = 0.0
    wanted_since: float | None = None
    may_displace: bool = True
    is_abandoned: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether it has jobs."""
        return self.is_running or self.is_waiting


class Decision(NamedTuple):
    """Ids of containers to start, to stop, and of those that take no further jobs before that.

    `again` is when to decide again, if nothing changes before; None for never.
    """

    wake: list[str]
    stop: list[str]
    hold: list[str]
    again: float | None


def decide(containers: Sequence[Standing], max_running: int | None, now: float) -> Decision:
    """Decide what is done now; at most `max_running` run, and at most one of each group."""
    plan = _Plan(containers, max_running, now)
    plan.stop_idle()
    plan.stop_excess()
    wanted = [each for each in containers if each.state == "asleep"]
    for each in sorted(wanted, key=lambda each: (not each.may_displace, each.wanted_since or 0.0)):
        if each.wanted_since is not None:
            plan.admit(each, each.wanted_since)
    return Decision(plan.wake, plan.stop, plan.hold, plan.again)


class _Plan:
    def __init__(self, containers: Sequence[Standing], max_running: int | None, now: float) -> None:
        self._limit = len(containers) if max_running is None else max_running
        self._now = now
        # Those that are to run, and those that still do, or are about to begin.
        self._staying = {each.id: each for each in containers if each.state in ("awake", "waking")}
        self._present = {each.id: each for each in containers if each.state != "asleep"}
        self.wake: list[str] = []
        self.stop: list[str] = []
        self.hold: list[str] = []
        self.again: float | None = None

    def stop_idle(self) -> None:
        """Stop what had no job for its `idle_timeout`."""
        for each in list(self._staying.values()):
            if each.state == "awake" and not each.is_busy and each.idle_timeout is not None:
                end = each.idle_since + each.idle_timeout
                if end <= self._now:
                    self._dismiss(each)
                else:
                    self._look_again(end)

    def stop_excess(self) -> None:
        """Stop what a changed configuration does not let run any more."""
        for group in {each.group for each in self._staying.values() if each.group}:
            members = [each for each in self._staying.values() if each.group == group]
            self._dismiss_all(self._by_use(members), len(members) - 1)
        staying = list(self._staying.values())
        self._dismiss_all(self._by_use(staying), len(staying) - self._limit)

    def admit(self, wanted: Standing, since: float) -> None:
        """Start one, or stop others for it; nothing when those may go on for now."""
        others = self._staying.values()
        leaving = [each for each in others if wanted.group and each.group == wanted.group]
        free = self._limit - (len(others) - len(leaving))
        if free < 1:
            rest = [each for each in others if each not in leaving]
            leaving += self._by_turn(rest, since)[: 1 - free]
        if len(others) - len(leaving) >= self._limit:
            return
        if leaving and not wanted.may_displace:
            return
        ends = [self._may_leave_at(each, since) for each in leaving]
        if any(end is None for end in ends):
            return  # it is starting for jobs: its start is waited for
        latest = max((end for end in ends if end is not None), default=self._now)
        if latest > self._now:
            self._look_again(latest)
            return
        for each in leaving:
            self._dismiss(each)
        self._staying[wanted.id] = wanted
        in_group = wanted.group and any(x.group == wanted.group for x in self._present.values())
        if not in_group and len(self._present) < self._limit:
            self._present[wanted.id] = wanted
            self.wake.append(wanted.id)

    def _may_leave_at(self, each: Standing, since: float) -> float | None:
        """When it may be stopped for one that is wanted `since` then; None while it starts."""
        if each.is_abandoned:
            return self._now
        if each.state != "awake":
            return None
        return max(each.ready_since, since) + each.turn if each.is_busy else self._now

    def _by_turn(self, containers: Iterable[Standing], since: float) -> list[Standing]:
        """Those that may leave, starts that are of no use first.

        Then those that are idle, least recently used first; then those with jobs, by their turns.
        """

        def place(each: Standing) -> tuple[bool, float]:
            if each.is_abandoned:
                return False, -math.inf
            if each.is_busy:
                return True, max(each.ready_since, since) + each.turn
            return False, each.idle_since

        may_leave = (each for each in containers if each.state == "awake" or each.is_abandoned)
        return sorted(may_leave, key=place)

    def _by_use(self, containers: Iterable[Standing]) -> list[Standing]:
        return self._by_turn(containers, 0.0)

    def _dismiss_all(self, containers: list[Standing], count: int) -> None:
        for each in containers[: max(0, count)]:
            self._dismiss(each)

    def _dismiss(self, each: Standing) -> None:
        del self._staying[each.id]
        (self.hold if each.is_running else self.stop).append(each.id)

    def _look_again(self, moment: float) -> None:
        self.again = moment if self.again is None else min(self.again, moment)
