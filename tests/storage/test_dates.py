"""When the wall clock is believed, and which date is used when it is not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from infernet_edge import RELEASED
from infernet_edge.storage import dates
from infernet_edge.storage.dates import Dates
from infernet_edge.storage.token_file import Anchor

MINUTE, DAY = 60_000, 24 * 3600 * 1000
YEAR = 365 * DAY
MADE = int(datetime.fromisoformat(RELEASED).replace(tzinfo=UTC).timestamp() * 1000)
TODAY = MADE + 100 * DAY


class Machine:
    """The clocks of a machine, and the node's own time."""

    def __init__(self) -> None:
        self.wall, self.elapsed, self.times_set = TODAY, 5 * DAY, 0
        self.synchronised = False

    def now(self) -> int:
        return self.elapsed

    def pass_by(self, milliseconds: int) -> None:
        self.wall += milliseconds
        self.elapsed += milliseconds

    def set_while_it_runs(self, wall: int) -> None:
        self.wall = wall
        self.times_set += 1

    def restart(self, wall: int) -> Dates:
        self.wall, self.times_set = wall, 0
        return Dates(self)  # type: ignore[arg-type]  # what it needs of ElapsedTime


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(dates, "milliseconds", lambda: machine.wall)
    monkeypatch.setattr(dates, "follows_a_server", lambda: machine.synchronised)
    return machine


def test_a_clock_that_may_be_right_is_believed(machine: Machine) -> None:
    found = machine.restart(TODAY)
    assert (found.now(), found.flaw) == (TODAY, "")
    machine.pass_by(DAY)
    assert found.anchor() == Anchor(TODAY + DAY, 6 * DAY)
    machine.wall += 3 * YEAR  # it was off
    assert found.now() == TODAY + DAY + 3 * YEAR
    machine.wall -= MINUTE // 2  # time servers set clocks back a little
    assert found.now() == machine.wall


@pytest.mark.parametrize("wrong", [0, DAY, MADE - DAY, TODAY - 2 * DAY, MADE + 31 * YEAR])
def test_a_clock_that_is_evidently_wrong_is_not(machine: Machine, wrong: int) -> None:
    found = machine.restart(wrong)
    found.load(Anchor(TODAY, 5 * DAY))
    assert found.now() == TODAY
    assert "the clock of this machine shows" in found.flaw
    machine.pass_by(3 * DAY)  # time passes while the node runs
    assert found.now() == TODAY + 3 * DAY
    assert found.anchor() == Anchor(TODAY + 3 * DAY, 8 * DAY)
    machine.synchronised = machine.wall >= MADE
    assert found.now() == (machine.wall if machine.synchronised else TODAY + 3 * DAY)


def test_a_kernel_in_1970_is_not_believed_whatever_it_says(machine: Machine) -> None:
    machine.synchronised = True
    found = machine.restart(DAY)
    assert found.now() == MADE
    assert "1970-01-02" in found.flaw


def test_without_a_stored_date_that_of_the_version_counts(machine: Machine) -> None:
    assert machine.restart(0).now() == MADE


def test_who_sets_the_clock_while_the_node_runs_may_set_it_back(machine: Machine) -> None:
    found = machine.restart(TODAY + 5 * YEAR)  # wrong, but it could be right
    assert found.now() == TODAY + 5 * YEAR
    machine.wall = TODAY
    assert found.now() == TODAY + 5 * YEAR
    machine.set_while_it_runs(TODAY)
    assert found.now() == TODAY
    machine.set_while_it_runs(DAY)  # to 1970: not by a person
    assert found.now() == TODAY


def test_an_old_database_does_not_set_the_date_back(machine: Machine) -> None:
    found = machine.restart(0)
    found.load(Anchor(TODAY, 900 * DAY))  # of a database that was lost
    assert found.now() == TODAY


def test_without_a_node_the_stored_date_stays(machine: Machine) -> None:
    found = Dates(None)
    machine.wall = TODAY
    found.load(Anchor(TODAY - DAY, 3))
    assert found.now() == TODAY
    assert found.anchor() == Anchor(TODAY - DAY, 3)
    machine.wall = 0
    assert found.now() == TODAY - DAY
