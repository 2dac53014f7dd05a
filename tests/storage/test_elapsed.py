"""The node's own time does not depend on the wall clock."""

from __future__ import annotations

import ast
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infernet_edge.storage import elapsed
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import AgeMarks, ElapsedTime, read_latest_wall
from tests.support.process import ROOT

DAY = 24 * 3600 * 1000
YEAR = 365 * DAY
NOW = 1_800_000_000_000


class Clocks:
    """The two clocks of a machine, in milliseconds."""

    def __init__(self) -> None:
        self.wall, self.running = NOW, 5_000

    def pass_by(self, milliseconds: int) -> None:
        self.wall += milliseconds
        self.running += milliseconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(elapsed, "milliseconds", lambda: clocks.wall)
    monkeypatch.setattr(elapsed, "_running", lambda: clocks.running)
    return clocks


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    table = ("CREATE TABLE things (number INTEGER PRIMARY KEY) STRICT",)
    opened = Database(tmp_path / "node.sqlite", {"elapsed": elapsed.MIGRATIONS, "things": table})
    await opened.open()
    yield opened
    await opened.close()


async def loaded(database: Database) -> ElapsedTime:
    passed = ElapsedTime(database)
    await passed.load()
    return passed


async def test_it_continues_after_a_restart(database: Database, clocks: Clocks) -> None:
    passed = await loaded(database)
    assert passed.now() == 0
    clocks.pass_by(10_000)
    assert passed.now() == 10_000
    await passed.save()
    clocks.running = 0  # the machine is restarted
    again = await loaded(database)
    assert again.now() == 10_000
    clocks.pass_by(5)
    assert again.now() == 10_005


@pytest.mark.parametrize(
    ("away", "counted"),
    [(0, 0), (3_600_000, 3_600_000), (YEAR, DAY), (-YEAR, 0), (-NOW, 0), (50 * YEAR, DAY)],
)
async def test_time_between_two_runs_counts_within_limits(
    database: Database, clocks: Clocks, away: int, counted: int
) -> None:
    passed = await loaded(database)
    clocks.pass_by(1000)
    await passed.save()
    clocks.wall += away
    assert (await loaded(database)).now() == 1000 + counted


async def test_the_credit_is_no_more_than_half_of_what_matters(
    database: Database, clocks: Clocks
) -> None:
    await loaded(database)
    clocks.wall += YEAR
    passed = ElapsedTime(database, 60.0)
    await passed.load()
    assert passed.now() == 30_000


@pytest.mark.parametrize("jump", [YEAR, -YEAR, -NOW])
async def test_a_clock_that_is_set_changes_no_age(
    database: Database, clocks: Clocks, jump: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    passed = await loaded(database)
    clocks.pass_by(10_000)
    clocks.wall += jump
    await passed.check()
    assert passed.now() == 10_000
    (record,) = caplog.records
    assert record.getMessage() == "clock.set"
    clocks.pass_by(10_000)
    await passed.check()
    assert len(caplog.records) == 1


async def test_a_clock_that_was_ahead_is_remembered(database: Database, clocks: Clocks) -> None:
    passed = await loaded(database)
    clocks.wall += YEAR
    await passed.check()
    clocks.wall -= YEAR
    await passed.check()
    assert passed.latest_wall == NOW + YEAR
    again = await loaded(database)
    assert again.latest_wall == NOW + YEAR
    assert await database.read(read_latest_wall) == NOW + YEAR


async def test_it_is_stored_now_and_then(database: Database, clocks: Clocks) -> None:
    """Seldom, for each time wears an SD card."""
    passed = await loaded(database)
    for _ in range(6 * 60 - 1):
        clocks.pass_by(60_000)
        await passed.check()
    assert (await loaded(database)).now() < 6 * 3_600_000 + 60_000
    clocks.pass_by(60_000)
    await passed.check()
    clocks.wall = 0
    assert (await loaded(database)).now() == 6 * 3_600_000


async def test_marks_tell_which_rows_are_old(database: Database, clocks: Clocks) -> None:
    passed = await loaded(database)
    marks = AgeMarks(database, passed)

    async def add(count: int) -> None:
        for _ in range(count):
            await database.write(
                lambda connection: connection.execute("INSERT INTO things VALUES (NULL)") and None
            )

    assert await marks.older_than("things", DAY) == 0
    await add(3)
    assert await marks.older_than("things", DAY) == 0
    clocks.pass_by(DAY // 2)
    await add(4)
    clocks.wall += 10 * YEAR
    assert await marks.older_than("things", DAY) == 0
    clocks.pass_by(DAY // 2)
    assert await marks.older_than("things", DAY) == 3
    clocks.pass_by(DAY // 2)
    assert await marks.older_than("things", DAY) == 7
    clocks.pass_by(DAY)
    assert await marks.older_than("things", DAY) == 7


# Where the wall clock may be read, and what for. Whatever deletes, refuses, waits or prunes uses
# elapsed.py, a steady clock, or the chain's time.
ALLOWED = {
    "infernet_edge/storage/elapsed.py": "to notice that it was set, and a limited credit at start",
    "infernet_edge/storage/dates.py": "expiry of tokens, where the clock is not evidently wrong",
    "infernet_edge/storage/damage.py": "the name of a damaged file",
    "infernet_edge/storage/replacing.py": "the name of the previous files",
    "infernet_edge/backup/archive.py": "times in the archive",
    "infernet_edge/backup/contents.py": "times that are shown to people",
    "infernet_edge/backup/schedule.py": "names of files, whose numbers give the order",
    "infernet_edge/logs.py": "times in the log",
    "infernet_edge/jobs/identifiers.py": "the order of ids, which only grow",
    "infernet_edge/clock.py": "times that are shown",
    "infernet_edge/jobs/store.py": "times that are shown to people",
    "infernet_edge/api/status.py": "times that are shown to people",
    "infernet_edge/api/openai/front.py": "times of answers, which clients may show",
    "infernet_edge/chain/delivery/store.py": "times that are shown to people",
    "infernet_edge/chain/txm/store.py": "times that are shown to people",
    "infernet_edge/chain/delivery/proofs.py": "times that are shown to people",
    "infernet_edge/chain/subscriptions/store.py": "times that are shown to people",
    "infernet_edge/chain/txm/confirmer.py": "a name that is used once",
    "infernet_edge/chain/rpc/head_tracker.py": "before the first block, when nothing begins",
    "infernet_edge/chain/rpc/replies.py": "a server's Retry-After as a date, with a limit",
    "infernet_edge/installer/trial.py": "times that are shown to people",
    "infernet_edge/doctor/clock.py": "the doctor's check of it",
    "infernet_edge/doctor/rpc.py": "the age of a block that is shown",
    "infernet_edge/chain/status.py": "the age of a block that is shown",
    "infernet_edge/jobs/job.py": "times that are shown to people",
    "infernet_edge/cli/jobs.py": "to show stored times",
    "infernet_edge/jobs/reading/recent.py": "times that are shown to people",
    "infernet_edge/jobs/running/job_events.py": "times that are shown to people",
    "infernet_edge/containers/service.py": "times that are shown to people",
    "infernet_edge/containers/supervision/restarts.py": "a time that is shown",
    "infernet_edge/containers/operating/logs.py": "which lines of Podman are new",
    "infernet_edge/statistics/last_hour.py": "times that are shown to people",
    "infernet_edge/api/overview/conditions.py": "expiry of the certificate",
    "infernet_edge/api/overview/attention.py": "times that are shown to people",
    "infernet_edge/api/overview/overview.py": "times that are shown to people",
    "infernet_edge/discovery/nodes.py": "times that are shown to people",
    "infernet_edge/events/coalescing.py": "times that are shown to people",
    "infernet_edge/events/bus.py": "the first id, and times that are shown",
    "infernet_edge/events/readers.py": "times that are shown to people",
}
READS = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime", "milliseconds"}


def test_the_wall_clock_is_read_only_in_these_modules() -> None:
    found = set()
    for file in (ROOT / "infernet_edge").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            module, _, name = called.rpartition(".")
            of_clock = module in ("time", "datetime", "date", "") and name in READS
            if of_clock and not (module == "" and name != "milliseconds"):
                found.add(str(file.relative_to(ROOT)))
    assert found <= set(ALLOWED)
    stale = {name for name in ALLOWED if name not in found} - {"infernet_edge/logs.py"}
    assert stale <= {"infernet_edge/cli/jobs.py"}, "no longer needed"
