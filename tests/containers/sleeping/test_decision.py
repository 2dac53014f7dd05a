"""Which containers are started and stopped."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from infernet_edge.containers.sleeping.decision import Decision, Standing, State, decide


def asleep(name: str, since: float | None = None, **more: Any) -> Standing:
    return Standing(name, "asleep", wanted_since=since, is_waiting=since is not None, **more)


def idle(name: str, since: float = 0, **more: Any) -> Standing:
    return Standing(name, "awake", idle_since=since, turn=30, **more)


def busy(name: str, ready: float = 0, **more: Any) -> Standing:
    return Standing(name, "awake", is_running=True, ready_since=ready, turn=30, **more)


@pytest.mark.parametrize(
    ("containers", "limit", "expected"),
    [
        # Nothing is wanted.
        ([asleep("a"), idle("b"), busy("c")], 2, Decision([], [], [], None)),
        # There is room.
        ([asleep("a", 5), busy("b")], 2, Decision(["a"], [], [], None)),
        ([asleep("a", 5), busy("b")], None, Decision(["a"], [], [], None)),
        ([asleep("a", 9), asleep("b", 5)], 1, Decision(["b"], [], [], None)),
        # The least recently used idle one goes; the wanted one starts when it has gone.
        ([idle("a", 50), idle("b", 40), asleep("c", 90)], 2, Decision([], ["b"], [], None)),
        ([idle("a"), Standing("b", "stopping"), asleep("c", 90)], 2, Decision([], [], [], None)),
        ([idle("a"), asleep("b"), asleep("c", 90)], 2, Decision(["c"], [], [], None)),
        # A busy one goes on for its turn, then takes no further jobs; others are not affected.
        ([busy("a"), asleep("b", 90)], 1, Decision([], [], [], 120)),
        ([busy("a", 80), asleep("b", 70)], 1, Decision([], [], [], 110)),
        ([busy("a"), asleep("b", 70)], 1, Decision([], [], ["a"], None)),
        ([busy("a"), idle("b"), asleep("c", 70)], 2, Decision([], ["b"], [], None)),
        # One whose jobs only wait has none to finish.
        (
            [Standing("a", "awake", is_waiting=True, turn=30), asleep("b", 70)],
            1,
            Decision([], ["a"], [], None),
        ),
        # One that starts has its turn before it.
        ([Standing("a", "waking", is_waiting=True), asleep("b", 1)], 1, Decision([], [], [], None)),
        # All jobs that it starts for were cancelled: it leaves, before those that are ready.
        (
            [idle("a"), Standing("b", "waking", is_abandoned=True), asleep("c", 90)],
            2,
            Decision([], ["b"], [], None),
        ),
        (
            [idle("a", group="g"), Standing("b", "waking", is_abandoned=True), asleep("c", 90)],
            None,
            Decision(["c"], [], [], None),
        ),
        (
            [Standing("b", "waking", group="g", is_abandoned=True), asleep("c", 90, group="g")],
            None,
            Decision([], ["b"], [], None),
        ),
        # A group has one place, whatever the limit.
        (
            [idle("a", group="g"), idle("b"), asleep("c", 90, group="g")],
            3,
            Decision([], ["a"], [], None),
        ),
        (
            [busy("a", group="g"), asleep("b", 90, group="g"), asleep("c", 95)],
            None,
            Decision(["c"], [], [], 120),
        ),
        (
            [asleep("a", 90, group="g"), asleep("b", 80, group="g"), asleep("c", 95, group="h")],
            None,
            Decision(["b", "c"], [], [], None),
        ),
        (
            [Standing("a", "stopping", group="g"), asleep("b", 80, group="g"), asleep("c", 95)],
            2,
            Decision(["c"], [], [], None),
        ),
        # What is only to be started with the node displaces nothing, and jobs come first.
        ([idle("a"), asleep("b", 1, may_displace=False)], 1, Decision([], [], [], None)),
        ([asleep("a", 1, may_displace=False), asleep("b", 2)], 1, Decision(["b"], [], [], None)),
        ([asleep("a", 1, may_displace=False), asleep("b")], 1, Decision(["a"], [], [], None)),
        # idle_timeout
        ([idle("a", 80, idle_timeout=20), busy("b")], None, Decision([], ["a"], [], None)),
        ([idle("a", 81, idle_timeout=20)], None, Decision([], [], [], 101)),
        ([busy("a", idle_timeout=20)], None, Decision([], [], [], None)),
        # A smaller limit, or a new group, after a reload.
        ([idle("a", 5), idle("b", 4), busy("c")], 1, Decision([], ["b", "a"], [], None)),
        ([busy("a", 9), busy("b", 8)], 1, Decision([], [], ["b"], None)),
        ([idle("a", group="g"), busy("b", group="g")], None, Decision([], ["a"], [], None)),
    ],
)
def test_decisions(containers: list[Standing], limit: int | None, expected: Decision) -> None:
    assert decide(containers, limit, 100) == expected


class Simulation:
    """Containers with jobs of random length, on a clock of whole seconds."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        count = self.random.randint(2, 6)
        self.limit = self.random.choice([None, 1, 1, 2, 3])
        self.names = [f"c{number}" for number in range(count)]
        self.groups = {name: self.random.choice(["", "g", "g", "h"]) for name in self.names}
        self.slots = {name: self.random.randint(1, 3) for name in self.names}
        self.state: dict[str, State] = dict.fromkeys(self.names, "asleep")
        self.until = dict.fromkeys(self.names, 0)  # the end of a start or a stop
        self.ready = dict.fromkeys(self.names, 0.0)
        self.idle = dict.fromkeys(self.names, 0.0)
        self.wanted: dict[str, float | None] = dict.fromkeys(self.names)
        self.waiting: dict[str, list[int]] = {name: [] for name in self.names}
        self.running: dict[str, list[int]] = {name: [] for name in self.names}
        self.held: set[str] = set()
        self.waits: list[int] = []
        self.starts = 0
        self.now = 0

    def standings(self) -> Iterator[Standing]:
        for name in self.names:
            yield Standing(
                name,
                self.state[name],
                group=self.groups[name],
                is_running=bool(self.running[name]),
                is_waiting=bool(self.waiting[name]),
                idle_since=self.idle[name],
                ready_since=self.ready[name],
                turn=20,
                wanted_since=self.wanted[name],
            )

    def step(self, *, arrive: bool) -> None:
        self.now += 1
        for name in self.names:
            if self.now == self.until[name] and self.state[name] == "waking":
                self.state[name] = "awake"
                self.ready[name] = self.idle[name] = self.now
            elif self.now == self.until[name] and self.state[name] == "stopping":
                self.state[name] = "asleep"
            ended = [end for end in self.running[name] if end <= self.now]
            for end in ended:
                self.running[name].remove(end)
                self.idle[name] = self.now
        if arrive and self.random.random() < 0.4:
            name = self.random.choice(self.names)
            self.waiting[name] += [self.now] * self.random.choice([1, 1, 1, 8])
        for name in self.names:
            if self.state[name] in ("awake", "waking") or not self.waiting[name]:
                self.wanted[name] = None
            elif self.wanted[name] is None:
                self.wanted[name] = self.now
        self.apply(decide(list(self.standings()), self.limit, self.now))
        for name in self.names:
            while (
                self.state[name] == "awake"
                and name not in self.held
                and self.waiting[name]
                and len(self.running[name]) < self.slots[name]
            ):
                self.waits.append(self.now - self.waiting[name].pop(0))
                self.running[name].append(self.now + self.random.randint(1, 10))

    def apply(self, decision: Decision) -> None:
        self.held = set(decision.hold)
        for name in decision.stop:
            assert not self.running[name], "a container with a job is not stopped"
            assert self.state[name] == "awake"
            self.state[name], self.until[name] = "stopping", self.now + self.random.randint(1, 3)
        for name in decision.wake:
            assert self.waiting[name], "only what has jobs is started"
            self.state[name], self.until[name] = "waking", self.now + self.random.randint(1, 5)
            self.starts += 1
        present = [name for name in self.names if self.state[name] != "asleep"]
        assert self.limit is None or len(present) <= self.limit
        groups = [self.groups[name] for name in present if self.groups[name]]
        assert len(groups) == len(set(groups))


@pytest.mark.parametrize("seed", range(24))
def test_no_container_waits_forever_and_the_limits_hold(seed: int) -> None:
    simulation = Simulation(seed)
    longest = 0.0
    for _ in range(400):
        simulation.step(arrive=True)
        since = [each for each in simulation.wanted.values() if each is not None]
        longest = max([longest, *(simulation.now - each for each in since)])
    # Each of the others has a turn, a start, a stop, and jobs to finish, at most.
    assert longest <= len(simulation.names) * (20 + 5 + 3 + 10)
    for _ in range(6000):
        if not any(simulation.waiting.values()):
            break
        simulation.step(arrive=False)
    assert not any(simulation.waiting.values()), "all jobs have run"
    assert simulation.waits


def test_jobs_for_one_container_run_together() -> None:
    """40 jobs for two containers in turns: not one start for each."""
    simulation = Simulation(0)
    simulation.limit, simulation.groups = 1, dict.fromkeys(simulation.names, "")
    for name in simulation.names[:2]:
        simulation.waiting[name] = [0] * 20
    for _ in range(2000):
        simulation.step(arrive=False)
    assert not any(simulation.waiting.values())
    assert simulation.starts <= 12
