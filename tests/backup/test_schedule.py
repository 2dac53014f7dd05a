"""Scheduled backups: when they are made, how many are kept, and what stops them."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infernet_edge.backup import schedule
from infernet_edge.backup.archive import Verification, read_archive
from infernet_edge.backup.contents import gather, node_id
from infernet_edge.backup.database import content_of
from infernet_edge.backup.record import LastBackup, read_last, store_last
from infernet_edge.backup.schedule import BackupSchedule
from infernet_edge.config.model import Config
from infernet_edge.node import all_migrations
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import ElapsedTime
from tests.support.disks import small_disk
from tests.support.managing import eventually
from tests.support.running import configuration, running

EVERY = 0.3  # seconds
SOON = 0.1


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_AFTER_START", SOON)
    monkeypatch.setattr(schedule, "_AFTER_FAILURE", SOON)


def config_of(folder: Path, every: float = EVERY, **keys: Any) -> Config:
    config = configuration(folder, {"backup": {"path": str(folder / "out"), **keys}})
    return msgspec.structs.replace(
        config, backup=msgspec.structs.replace(config.backup, every=every)
    )


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[tuple[Database, ElapsedTime]]:
    database = Database(config.database_path, all_migrations(chain=False))
    await database.open()
    elapsed = ElapsedTime(database)
    await elapsed.load()
    try:
        yield database, elapsed
    finally:
        await elapsed.save()
        await database.close()


@asynccontextmanager
async def scheduled(config: Config, source: Path | None = None) -> AsyncIterator[BackupSchedule]:
    async with opened(config) as (database, elapsed):
        made = BackupSchedule(config, source, database, elapsed)
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir())


def numbers(folder: Path) -> list[int]:
    return [int(name.split("-")[3]) for name in names(folder) if name.endswith(".tar")]


async def test_they_are_made_regularly_and_the_newest_are_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    source = tmp_path / "config.json"
    source.write_text(json.dumps({"server": {"tokens": {"a": "a-secret-token-of-mine"}}}))
    async with scheduled(config_of(tmp_path, keep=2), source) as made:
        assert names(tmp_path) == []  # not at once
        await eventually(lambda: (numbers(tmp_path) or [0])[-1] >= 4)
        await eventually(lambda: len(numbers(tmp_path)) == 2)
        assert made.problem == ""
        assert made.report["last"]["file"].startswith("infernet-edge-")
    kept = numbers(tmp_path)
    assert kept == [kept[0], kept[0] + 1]
    for path in (tmp_path / "out").iterdir():
        assert path.suffix == ".tar"
        assert path.stat().st_mode & 0o777 == 0o600
        checked = Verification()
        with path.open("rb") as file:
            for each in read_archive(file):
                checked.copy(each, None)
        checked.finish()
        assert b"a-secret-token" not in path.read_bytes()


async def test_numbers_decide_which_are_old_not_dates(tmp_path: Path) -> None:
    """A clock that was years ahead gave the first ones late dates."""
    config = config_of(tmp_path, every=60, keep=2)
    prefix = f"infernet-edge-{node_id(config.storage_path)}"
    (tmp_path / "out").mkdir()
    old = [f"{prefix}-00000{n}-20990101T000000Z.tar" for n in (1, 2, 3)]
    others = ["infernet-edge-00000000-000001-20200101T000000Z.tar", "notes.txt", "x.tar"]
    for name in [*old, *others]:
        (tmp_path / "out" / name).touch()
    async with scheduled(config):
        await eventually(lambda: len(names(tmp_path)) == 5)
    assert set(names(tmp_path)) > {old[2], *others}
    [new] = set(names(tmp_path)) - {old[2], *others}
    assert new.startswith(f"{prefix}-000004-2")


async def test_a_restart_does_not_make_one_earlier_or_later(tmp_path: Path) -> None:
    config = config_of(tmp_path, every=1000)
    (tmp_path / "out").mkdir()
    async with scheduled(config) as made:
        await eventually(lambda: len(names(tmp_path)) == 1)
        await eventually(lambda: made.report["next_in"] > 900)
    async with scheduled(config) as made:
        await asyncio.sleep(5 * SOON)
        assert len(names(tmp_path)) == 1
        assert made.report["next_in"] > 900
        assert made.report["last"]["file"] == names(tmp_path)[0]
    async with opened(config) as (database, elapsed):
        last = await database.read(read_last)
        assert last is not None
        past = last._replace(elapsed=elapsed.now() - 1001 * 1000)
        await database.write(store_last, past)
    async with scheduled(config):
        await eventually(lambda: len(names(tmp_path)) == 2)


async def test_a_number_of_a_damaged_database_does_not_put_it_off(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    (tmp_path / "out").mkdir()
    async with opened(config) as (database, _):
        await database.write(store_last, LastBackup(7, 2**50, 0, "x", 1))
    async with scheduled(config):
        await eventually(lambda: 8 in numbers(tmp_path))


async def test_a_missing_folder_is_logged_once_until_it_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that is not connected: nothing is written to the place where it is mounted."""
    caplog.set_level(logging.INFO, "infernet_edge")
    async with scheduled(config_of(tmp_path)) as made:
        await eventually(lambda: made.problem)
        await asyncio.sleep(5 * SOON)
        logged = [each.getMessage() for each in caplog.records]
        assert logged.count("backup.failed") == 1
        assert "There is no folder" in made.problem
        assert not (tmp_path / "out").exists()
        (tmp_path / "out").mkdir()
        await eventually(lambda: not made.problem)
        await eventually(lambda: numbers(tmp_path))
    assert "backup.made" in [each.getMessage() for each in caplog.records]


async def test_a_disk_without_room_keeps_what_it_has(tmp_path: Path) -> None:
    config = config_of(tmp_path, keep=1)
    with small_disk(tmp_path / "out", 33 * 2**20):
        old = (
            tmp_path
            / "out"
            / f"infernet-edge-{node_id(config.storage_path)}-000001-20260101T000000Z.tar"
        )
        old.write_bytes(b"x" * 2**20)
        async with scheduled(config) as made:
            await eventually(lambda: made.problem)
            assert "not enough space" in made.problem
            assert names(tmp_path) == [old.name]


async def test_what_a_killed_node_left_is_removed(tmp_path: Path) -> None:
    config = config_of(tmp_path, every=60)
    prefix = f".infernet-edge-{node_id(config.storage_path)}-"
    (tmp_path / "out").mkdir()
    for name in ("database.copying", "000001-20260101T000000Z.tar.partial"):
        (tmp_path / "out" / f"{prefix}{name}").write_text("x")
    async with scheduled(config):
        await eventually(lambda: numbers(tmp_path) == [1])
        await eventually(lambda: len(names(tmp_path)) == 1)


async def test_stopping_in_the_middle_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(path: Path) -> Any:
        loop.call_soon_threadsafe(began.set)
        time.sleep(0.3)
        yield from content_of(path)

    monkeypatch.setattr(schedule, "content_of", slowly)
    async with scheduled(config_of(tmp_path)):
        await asyncio.wait_for(began.wait(), 20)
    assert names(tmp_path) == []


async def test_a_node_makes_them_and_shows_its_problem(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    document = {"backup": {"path": str(tmp_path / "out"), "every": 60}}
    async with running(tmp_path, document) as node:
        await eventually(lambda: numbers(tmp_path) == [1])
        status = await node.node.report_status()
        assert status["backup"]["problem"] == ""
        assert status["backup"]["folder"] == str(tmp_path / "out")
    document["backup"]["path"] = str(tmp_path / "nowhere")
    async with running(tmp_path / "two", document) as node:
        for _ in range(100):
            status = await node.node.report_status()
            if status["problems"]:
                break
            await asyncio.sleep(0.1)
        assert "The last scheduled backup failed: There is no folder" in status["problems"][0]
    async with running(tmp_path / "three") as node:
        assert (await node.node.report_status())["backup"] is None


async def test_a_disk_that_does_not_answer_does_not_hold_up_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup fails in time and is tried again; its thread does not keep the process alive."""
    (tmp_path / "out").mkdir()
    answers, held = threading.Event(), list[threading.Thread]()

    def hanging(*arguments: Any) -> Any:
        held.append(threading.current_thread())
        answers.wait(30)
        return gather(*arguments)

    monkeypatch.setattr(schedule, "gather", hanging)
    monkeypatch.setattr(schedule, "_READING", 0.3)
    async with scheduled(config_of(tmp_path)) as made:
        await eventually(lambda: "do their disks answer?" in made.problem)
        assert names(tmp_path) == []  # the copy is removed
        assert [thread.daemon for thread in held] == [True]
        await asyncio.sleep(1)  # several tries
        assert len(held) == 1
        answers.set()
        await eventually(lambda: made.problem == "")
        assert numbers(tmp_path) != []


async def test_a_stop_while_a_disk_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    answers, reached = threading.Event(), threading.Event()

    def hanging(*arguments: Any) -> Any:
        reached.set()
        answers.wait(30)

    monkeypatch.setattr(BackupSchedule, "_write", hanging)
    monkeypatch.setattr(schedule, "_WHILE_BUSY", 0.3)
    monkeypatch.setattr(schedule, "_CLEANING", 0.3)
    try:
        async with asyncio.timeout(10):
            async with scheduled(config_of(tmp_path)):
                await eventually(reached.is_set)
    finally:
        answers.set()
