"""The store within its bounds."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.errors import StorageError
from infernet_edge.jobs import housekeeping
from infernet_edge.jobs.housekeeping import Housekeeper, Space, measure
from infernet_edge.jobs.job import RUNNING, SUCCESS, Job
from infernet_edge.statistics.disk_pace import DiskPace
from infernet_edge.storage.pages import MAX_LOG_BYTES
from tests.support.breaking import read_only
from tests.support.managing import eventually
from tests.support.parts import CLIENT, Parts, made, working

RESULT = b'{"container":"echo","output":"%b"}' % (b"x" * 20_000)
DAY = 24 * 3600 * 1000
FETCHED = 10_001  # milliseconds after which a client has had its time


class Clock:
    """The time that passes for the node, in milliseconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("infernet_edge.storage.elapsed._running", clock)
    return clock


class Disk:
    """Free bytes as statvfs returns them; `free` None: those of the real disk."""

    def __init__(self) -> None:
        self.free: int | None = None


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk, real = Disk(), os.statvfs

    def statvfs(path: Any) -> Any:
        status = real(path)
        if disk.free is None:
            return status
        blocks = list(status)
        blocks[1], blocks[4] = 1, disk.free  # f_frsize, f_bavail
        return os.statvfs_result(blocks)

    monkeypatch.setattr(os, "statvfs", statvfs)
    return disk


def keeper(parts: Parts) -> Housekeeper:
    return Housekeeper(
        parts.config,
        parts.database,
        parts.store,
        parts.external_jobs,
        parts.memory,
        parts.elapsed,
        DiskPace(),
    )


async def finished(parts: Parts, count: int) -> list[Job]:
    jobs = [made(parts) for _ in range(count)]
    await parts.store.add(jobs)
    await asyncio.gather(*(parts.store.finish(job, SUCCESS, RESULT) for job in jobs))
    return jobs


async def left(parts: Parts) -> int:
    return len(await parts.store.identifiers(CLIENT))


async def test_finished_jobs_are_deleted_after_their_retention(
    tmp_path: Path, clock: Clock
) -> None:
    async with working(tmp_path, {"jobs": {"retention": 7 * 24 * 3600}}) as parts:
        await finished(parts, 250)
        unfinished = made(parts)
        await parts.store.add([unfinished])
        await parts.external_jobs.record("old", CLIENT, "loopback", RUNNING, [], clock.now)
        clock.now += 3 * DAY
        await finished(parts, 2)
        clock.now += 4 * DAY - 1
        await keeper(parts).check()
        assert await left(parts) == 250 + 1 + 2 + 1
        clock.now += 2
        await keeper(parts).check()
        assert await left(parts) == 1 + 2
        assert parts.external_jobs.count == 0
        clock.now += 300 * DAY
        await keeper(parts).check()
        assert await parts.store.identifiers(CLIENT) == [unfinished.id]
        assert parts.store.refusal == ""


async def test_over_the_limit_the_oldest_finished_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(housekeeping, "_AT_ONCE", 5)
    async with working(tmp_path, {"storage": {"max_bytes": 2**20}}) as parts:
        jobs = await finished(parts, 60)
        unfinished = made(parts)
        await parts.store.add([unfinished])
        more = await finished(parts, 140)
        clock.now += FETCHED
        await keeper(parts).check()
        kept = await parts.store.identifiers(CLIENT)
        assert jobs[0].id not in kept
        assert unfinished.id in kept
        assert len(kept) > 10
        assert kept[1:] == [job.id for job in more][-len(kept) + 1 :]
        assert parts.store.refusal == ""
        space = await parts.database.read(measure, parts.config.storage_path)
        assert space.used <= 2**20


async def test_new_jobs_are_refused_before_deleting_which_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """Writing zeros over each deleted byte would take twice the space that is short already."""
    async with working(tmp_path, {"storage": {"max_bytes": 2**20}}) as parts:
        await finished(parts, 400)
        await parts.database.release_space()
        journal = parts.database.path.with_name(parts.database.path.name + "-wal")
        seen: list[tuple[str, int]] = []
        real = parts.store.delete_finished

        async def watched(before: int, limit: int) -> int:
            seen.append((parts.store.refusal, journal.stat().st_size))
            return await real(before, limit)

        monkeypatch.setattr(parts.store, "delete_finished", watched)
        full = parts.database.path.stat().st_size
        clock.now += FETCHED
        await keeper(parts).check()
        assert len(seen) > 2
        assert seen[0][0] == "The storage limit is reached (storage.max_bytes)"
        assert max(size for _, size in seen) <= max(seen[0][1], MAX_LOG_BYTES)
        assert parts.store.refusal == ""
        assert parts.database.path.stat().st_size < full / 4
        assert journal.stat().st_size < 8 * 2**20  # what one step moves; the next write shortens it


async def test_what_finished_just_now_is_not_deleted_before_its_client_asks(
    tmp_path: Path, clock: Clock
) -> None:
    async with working(tmp_path, {"storage": {"max_bytes": 2**20}}) as parts:
        await finished(parts, 200)
        clock.now += FETCHED
        fresh = await finished(parts, 200)
        await keeper(parts).check()
        kept = await parts.store.identifiers(CLIENT)
        assert kept == [job.id for job in fresh]
        assert parts.store.refusal == "The storage limit is reached (storage.max_bytes)"
        clock.now += FETCHED
        await keeper(parts).check()
        assert parts.store.refusal == ""


async def test_clients_can_read_that_new_jobs_are_refused(tmp_path: Path, clock: Clock) -> None:
    async with working(tmp_path, {"storage": {"max_bytes": 2**20}}) as parts:
        parts.store.events.add_reader("storage")
        published = parts.store.events.topics["storage"].ring
        housekeeper = keeper(parts)
        await finished(parts, 200)
        clock.now += FETCHED
        await housekeeper.check()  # deleting is enough
        assert not published
        await finished(parts, 300)
        for _ in range(2):
            await housekeeper.check()
        clock.now += FETCHED
        await housekeeper.check()
        full, available = published
        assert (full.name, available.name) == ("storage.full", "storage.available")
        assert full.fields()["reason"] == "The storage limit is reached (storage.max_bytes)"
        assert full.fields()["used"] > 2**20
        assert available.fields()["reason"] == ""


async def test_unfinished_jobs_over_the_limit_refuse_new_ones(tmp_path: Path, clock: Clock) -> None:
    async with working(tmp_path, {"storage": {"max_bytes": 2**20}}) as parts:
        jobs = [made(parts, data={"a": "x" * 100_000}) for _ in range(15)]
        await parts.store.add(jobs)
        await finished(parts, 5)
        clock.now += FETCHED
        await keeper(parts).check()
        assert parts.store.refusal == "The storage limit is reached (storage.max_bytes)"
        assert await left(parts) == 15
        for job in jobs:
            await parts.store.finish(job, SUCCESS, b"{}")
        clock.now += FETCHED
        await keeper(parts).check()
        assert parts.store.refusal == ""


async def test_a_disk_that_others_filled_refuses_jobs_and_keeps_those_stored(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """All jobs together would not be enough: they would be lost for nothing."""
    async with working(tmp_path, {"storage": {"min_free_bytes": 200 * 2**20}}) as parts:
        await finished(parts, 10)
        disk.free = 10 * 2**20
        for _ in range(3):
            await keeper(parts).check()
        assert parts.store.refusal == "The disk is nearly full (storage.min_free_bytes)"
        assert await left(parts) == 10
        assert "storage.low" in caplog.text
        disk.free = 200 * 2**20
        await keeper(parts).check()
        assert parts.store.refusal == ""


async def test_a_disk_that_the_jobs_filled_gets_free_space(
    tmp_path: Path, disk: Disk, clock: Clock
) -> None:
    async with working(tmp_path, {"storage": {"min_free_bytes": 200 * 2**20}}) as parts:
        await finished(parts, 400)
        disk.free = 200 * 2**20 - 2**20
        clock.now += 4 * 60 * 1000
        await keeper(parts).check()
        assert await left(parts) == 400  # results that just came may still be fetched
        clock.now += 6 * 60 * 1000
        await keeper(parts).check()
        assert 0 < await left(parts) < 400


async def test_a_refusal_is_logged_once(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(tmp_path, {"storage": {"min_free_bytes": 2**20}}) as parts:
        housekeeper = keeper(parts)
        disk.free = 0
        for _ in range(5):
            await housekeeper.check()
        assert caplog.text.count("storage.low") == 1


async def test_a_file_that_cannot_be_written_is_logged_once_and_is_used_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "infernet_edge")
    async with working(tmp_path, {"jobs": {"retention": 1}}) as parts:
        housekeeper = keeper(parts)
        with read_only(parts.database):
            with pytest.raises(StorageError):
                await parts.store.add([made(parts)])
            for _ in range(3):
                await housekeeper.check()
            assert not parts.database.writable
        assert caplog.text.count("storage.failed") == 1
        await housekeeper.check()
        assert parts.database.writable
        assert caplog.text.count("storage.recovered") == 1


async def test_a_folder_that_is_gone_does_not_end_the_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_PERIOD", 0.01)
    checks = 0

    async with working(tmp_path) as parts:

        def gone(path: Any) -> Any:
            nonlocal checks
            checks += 1
            raise FileNotFoundError(path)

        with monkeypatch.context() as patch:
            patch.setattr(os, "statvfs", gone)
            task = asyncio.create_task(keeper(parts).run())
            await eventually(lambda: checks > 3)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_written_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    """An idle node leaves its card alone."""
    async with working(tmp_path) as parts:
        await finished(parts, 10)
        housekeeper = keeper(parts)
        await housekeeper.check()
        before = written(parts)
        for _ in range(5):
            await housekeeper.check()
        assert written(parts) == before


def written(parts: Parts) -> list[tuple[int, int]]:
    """Size and time of change of the database's files."""
    path = parts.database.path
    files = (path, path.with_name(path.name + "-wal"))
    return [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]


async def test_measure(tmp_path: Path, disk: Disk) -> None:
    async with working(tmp_path) as parts:
        disk.free = 12345
        before = await parts.database.read(measure, tmp_path)
        assert before == Space(before.used, 12345)
        await finished(parts, 50)
        after = await parts.database.read(measure, tmp_path)
        assert before.used + 50 * 20_000 < after.used < before.used + 50 * 40_000


async def test_deleting_keeps_up_and_writes_little(tmp_path: Path, clock: Clock) -> None:
    """Jobs of many clients stand in many pages of their index: each is written once for many."""
    count = 25_000  # more than one check deletes for space
    document = {"jobs": {"retention": 3600, "max_pending": count}}
    async with working(tmp_path, document) as parts:
        for start in range(0, count, 5000):
            jobs = [made(parts, client=f"10.0.0.{n % 100}") for n in range(start, start + 5000)]
            await parts.store.add(jobs)
            await asyncio.gather(*(parts.store.finish(job, SUCCESS, b"{}") for job in jobs))
        clock.now += 2 * 3600 * 1000
        before = written_bytes()
        await keeper(parts).check()
        assert await parts.store.newest(10) == []
        assert written_bytes() - before <= 1000 * count


def written_bytes() -> int:
    """What this process has written into files and pipes so far (proc(5), io)."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


async def test_what_is_due_is_deleted_in_large_batches(tmp_path: Path, clock: Clock) -> None:
    """Not at each check: deleted one by one, a job costs several pages."""
    async with working(tmp_path, {"jobs": {"retention": 24 * 3600}}) as parts:
        housekeeper = keeper(parts)
        await housekeeper.check()
        await finished(parts, 3)
        clock.now += DAY + 1
        await housekeeper.check()
        assert await left(parts) == 0
        await finished(parts, 3)
        clock.now += DAY + 1 - 3600 * 1000
        await housekeeper.check()
        assert await left(parts) == 3
        clock.now += 3600 * 1000
        await housekeeper.check()
        assert await left(parts) == 0
