"""What a row of the table is: a declared line, and what was measured for it in each round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from msgspec import Struct

BARE = "bare handler"
"""The usual floor: `bare.py`, measured in the same round on the same core."""


class Line(Struct, frozen=True):
    """The declaration of a row.

    `name` is its key in the stored table. `floor` says what the node is compared with, in words;
    empty: with nothing, and the figure itself is compared with the stored one. `goal` is a bound
    of the ratio to the floor, or of the figure itself where `goal_of_figure`: the least if
    `more` is better, otherwise the most. Figures that differ by up to `resolution`, in the unit,
    are the same.
    """

    name: str
    title: str
    unit: str
    floor: str = BARE
    more: bool = False
    goal: float | None = None
    goal_of_figure: bool = False
    resolution: float = 0.0


class Row(Struct, frozen=True):
    """A line with its figures, one for each round; `floor` is empty or as long as `node`."""

    line: Line
    node: list[float]
    floor: list[float] = []

    @property
    def figure(self) -> float:
        """The median of the node, in the line's unit."""
        return statistics.median(self.node)

    @property
    def floor_figure(self) -> float | None:
        """The median of the floor."""
        return statistics.median(self.floor) if self.floor else None

    def _measures(self) -> list[float]:
        if self.floor and all(each > 0 for each in self.floor):
            return [one / floor for one, floor in zip(self.node, self.floor, strict=True)]
        return list(self.node)

    @property
    def is_ratio(self) -> bool:
        """Whether `measure` is a ratio; not without a floor, nor where the floor is 0."""
        return bool(self.floor) and all(each > 0 for each in self.floor)

    @property
    def measure(self) -> float:
        """What is compared: the median of the rounds' ratios, or of the figures."""
        return statistics.median(self._measures())

    @property
    def spread(self) -> float:
        """How far the rounds are apart: the middle half of them, as a part of the median.

        0 with one round.
        """
        measures = self._measures()
        middle = self.measure
        if not middle:
            return 0.0
        lower, upper = middle, middle
        if len(measures) > 1:
            lower, _, upper = statistics.quantiles(measures, n=4, method="inclusive")
        return (upper - lower) / abs(middle)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one, or without the floor that it needs."""
        line = self.line
        if line.goal is None or not (line.goal_of_figure or self.is_ratio):
            return None
        value = self.figure if line.goal_of_figure else self.measure
        return value >= line.goal if line.more else value <= line.goal


class Samples:
    """Collects what the rounds find, by the name of the line and by what was measured."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[float]] = {}

    def add(self, name: str, value: float, subject: str = "node") -> None:
        """Add a round's figure of "node" or "floor"."""
        self._found.setdefault((name, subject), []).append(value)

    def rows(self, lines: Iterable[Line]) -> list[Row]:
        """The rows of the lines for which something was found, in the order of the lines."""
        return [
            Row(line, found, self._found.get((line.name, "floor"), []))
            for line in lines
            if (found := self._found.get((line.name, "node")))
        ]
