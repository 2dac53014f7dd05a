"""The jobs table."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.errors import StorageError, Unavailable
from infernet_edge.jobs.contents import INPUT, PIECE, Content
from infernet_edge.jobs.job import FAILED, SUCCESS, Job
from infernet_edge.memory import SMALL
from tests.support.breaking import full_disk, read_only, slow_disk
from tests.support.parts import CLIENT, Parts, made, result, working

OUTPUT = b'{"container":"echo","output":{"wide":%d}}' % (2**256)
LIMIT = {"jobs": {"max_pending": 5}}


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with working(tmp_path) as working_parts:
        yield working_parts


async def stored(parts: Parts, count: int = 1, client: str = CLIENT) -> list[Job]:
    jobs = [made(parts, client=client, data={"n": number}) for number in range(count)]
    await parts.store.add(jobs)
    return jobs


async def test_a_job_from_its_acceptance_to_its_end(parts: Parts) -> None:
    (job,) = await stored(parts)
    assert parts.store.pending == {job.key: job}
    expected: dict[str, Any] = {
        "id": job.id,
        "status": "running",
        "result": None,
        "intermediate_results": [],
    }
    assert await result(parts, job) == expected
    assert await parts.store.take_data(job) == b'{"n":0}'
    await parts.store.finish(job, SUCCESS, OUTPUT, b"[1]")
    assert parts.store.pending == {}
    assert await result(parts, job) == {
        "id": job.id,
        "status": "success",
        "result": {"container": "echo", "output": {"wide": 2**256}},
        "intermediate_results": [1],
    }


@pytest.mark.parametrize(
    ("rule", "status", "kept"),
    [
        ("failed", SUCCESS, False),
        ("failed", FAILED, True),
        ("all", SUCCESS, True),
        ("all", FAILED, True),
        ("none", SUCCESS, False),
        ("none", FAILED, False),
    ],
)
@pytest.mark.parametrize("size", [10, PIECE, PIECE + 1, 3 * PIECE])
async def test_which_inputs_are_kept(
    parts: Parts, rule: str, status: int, kept: bool, size: int
) -> None:
    """Long ones never are; with the input goes its checksum."""
    parts.store.keep_inputs = rule
    job = made(parts, data={"x": "y" * (size - len('{"x":""}'))})
    assert len(job.data or b"") == size
    await parts.store.add([job])
    await parts.store.finish(job, status, OUTPUT)

    def stored(connection: sqlite3.Connection) -> tuple[int | None, bool, int]:
        (row,) = connection.execute("SELECT length(data), data_sum IS NOT NULL FROM jobs")
        (pieces,) = connection.execute("SELECT count(*) FROM pieces").fetchone()
        return row[0], bool(row[1]), pieces

    kept = kept and size <= PIECE
    assert await parts.database.read(stored) == (size if kept else None, kept, 0)
    failures = parts.store.recent.failures(1, lambda client: True)
    if status == FAILED:
        assert failures[0].input_bytes == (size if kept else None)


async def test_kept_inputs_are_deleted_with_their_jobs(parts: Parts) -> None:
    parts.store.keep_inputs = "all"
    (job,) = await stored(parts)
    await parts.store.finish(job, SUCCESS, OUTPUT)
    assert await parts.store.delete_finished(2**60, 10) == 1

    def count(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT count(*) FROM jobs").fetchone()[0])

    assert await parts.database.read(count) == 0


async def test_unfinished_jobs_are_loaded_in_their_order(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        jobs = [
            made(parts, ["a", "b"], {"n": 1}, requires_proof=True),
            made(parts, ["b"], client="token:bob"),
            made(parts, ["a"], stream=True),
            made(parts, ["a"]),
        ]
        await parts.store.add(jobs)
        await parts.store.finish(jobs[3], SUCCESS, OUTPUT)
    async with working(tmp_path) as parts:
        # None of the containers is configured, so the orchestrator ends all of them.
        summaries = await parts.store.newest(10)
    assert [summary.id for summary in summaries] == [job.id for job in reversed(jobs)]
    assert [summary.containers for summary in summaries[::-1]] == [["a", "b"], ["b"], ["a"], ["a"]]
    assert [summary.kind for summary in summaries[::-1]] == ["direct", "direct", "stream", "direct"]
    assert summaries[2].client == "token:bob"


async def test_load_returns_what_was_stored(parts: Parts, tmp_path: Path) -> None:
    job = made(parts, ["a", "b"], {"n": 1}, client="x", requires_proof=True, attempts=2)
    await parts.store.add([job])
    parts.store.pending.clear()
    (loaded,) = await parts.store.load()
    for name in ("key", "client", "containers", "requires_proof", "kind", "attempts"):
        assert getattr(loaded, name) == getattr(job, name)
    assert loaded.data is None
    assert await parts.store.take_data(loaded) == b'{"n":1}'
    assert parts.store.new_key() > job.key


async def test_the_number_of_pending_jobs_is_bounded(tmp_path: Path) -> None:
    async with working(tmp_path, LIMIT) as parts:
        jobs = await stored(parts, 4)
        assert parts.store.room == 1
        with pytest.raises(Unavailable, match="Too many pending jobs") as refused:
            await stored(parts, 2)
        assert refused.value.params == {"pending": 4, "limit": 5}
        await stored(parts, 1)
        assert parts.store.room == 0
        with pytest.raises(Unavailable):
            await stored(parts)
        await parts.store.finish(jobs[0], SUCCESS, OUTPUT)
        await stored(parts)


async def test_requests_at_the_same_time_do_not_pass_the_bound(tmp_path: Path) -> None:
    async with working(tmp_path, LIMIT) as parts:
        outcomes = await asyncio.gather(*(stored(parts) for _ in range(20)), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
        assert len(refused) == 15
        assert len(parts.store.pending) == 5


async def test_a_closed_intake_and_a_refusal(parts: Parts) -> None:
    parts.store.refusal = "The disk is nearly full"
    with pytest.raises(Unavailable, match="nearly full") as refused:
        await stored(parts)
    assert refused.value.headers == {"retry-after": "60"}
    parts.store.refusal = ""
    await stored(parts)
    parts.store.close_intake("The node is shutting down")
    with pytest.raises(Unavailable, match="shutting down"):
        await stored(parts)


@pytest.mark.parametrize("broken", [read_only, full_disk])
async def test_a_job_that_cannot_be_written_is_not_pending(parts: Parts, broken: object) -> None:
    big = made(parts, data={"a": "x" * 100_000})
    with broken(parts.database), pytest.raises(StorageError):  # type: ignore[operator]
        await parts.store.add([big])
    assert parts.store.pending == {}
    assert await parts.store.results(CLIENT, [big.id], intermediate=False) == []


async def test_an_end_that_cannot_be_written_leaves_the_job_pending(parts: Parts) -> None:
    (job,) = await stored(parts)
    with read_only(parts.database), pytest.raises(StorageError):
        await parts.store.finish(job, SUCCESS, OUTPUT)
    assert job.key in parts.store.pending
    await parts.store.finish(job, SUCCESS, OUTPUT)
    assert parts.store.pending == {}


async def test_inputs_in_memory_have_a_bound(parts: Parts) -> None:
    others = [parts.memory.reserve("inputs")]
    while others[-1].try_take(SMALL):  # as many small ones as there is room for
        others.append(parts.memory.reserve("inputs"))
    others[-1].try_take(parts.memory.limit // 4 - parts.memory.total)
    others[0].release(20)
    jobs = await stored(parts, 5)  # 7 bytes each
    assert [job.data is None for job in jobs] == [False, False, True, True, True]
    for number, job in enumerate(jobs):
        assert await parts.store.take_data(job) == b'{"n":%d}' % number
        assert job.data is None
    for each in others:
        each.release()
    assert parts.memory.total == 0
    (job,) = await stored(parts)
    assert job.data is not None
    await parts.store.finish(job, FAILED, OUTPUT)  # without having run
    assert parts.memory.total == 0


async def test_long_inputs_in_memory_have_a_bound_of_their_own(parts: Parts) -> None:
    size = parts.memory.limit // 40
    jobs = [made(parts, data={"x": "y" * size}) for _ in range(3)]
    await parts.store.add(jobs)
    assert [job.data is None for job in jobs] == [False, False, True]
    text = b'{"x":"%b"}' % (b"y" * size)
    with parts.memory.reserve("inputs") as held:
        assert await parts.store.take_data(jobs[0], held) == text
        assert held.size == len(text)
        stored = Content(jobs[1].key, INPUT, len(text))
        assert await parts.store.take_data(jobs[1]) == stored
        assert b"".join([piece async for piece in parts.store.read(stored, 10**9)]) == text
        assert await parts.store.take_data(jobs[2], held) == Content(jobs[2].key, INPUT, len(text))
    assert parts.memory.total == 0
    more = made(parts, data={"x": "y" * size})
    await parts.store.add([more])
    assert more.data is not None
    await parts.store.finish(more, SUCCESS, OUTPUT)
    assert parts.memory.total == 0


async def test_starts_of_unfinished_jobs_are_kept(parts: Parts) -> None:
    first, second, third = await stored(parts, 3)
    first.attempts, second.attempts = 2, 1
    await parts.store.finish(second, SUCCESS, OUTPUT)
    second.attempts = 5
    await parts.store.save_attempts([first, second, third])
    summaries = {summary.id: summary.attempts for summary in await parts.store.newest(3)}
    assert summaries == {first.id: 2, second.id: 1, third.id: 0}


async def test_results_belong_to_their_client(parts: Parts) -> None:
    (mine,) = await stored(parts, client="10.0.0.1")
    (yours,) = await stored(parts, client="10.0.0.2")
    for client, own in (("10.0.0.1", mine), ("10.0.0.2", yours)):
        found = await parts.store.results(client, [mine.id, yours.id], intermediate=False)
        assert [job.id for job in found] == [own.id]
        assert await parts.store.identifiers(client) == [own.id]
        assert await parts.store.identifiers(client, pending=True) == [own.id]
    assert await parts.store.identifiers("10.0.0.3") == []


async def test_many_ids_in_one_question(parts: Parts) -> None:
    jobs = await stored(parts, 1300)
    await asyncio.gather(*(parts.store.finish(job, SUCCESS, OUTPUT) for job in jobs[:1200]))
    asked = [job.id for job in reversed(jobs)]
    found = await parts.store.results(CLIENT, asked, intermediate=False)
    assert [job.id for job in found] == asked


async def test_the_state_of_unfinished_jobs_is_not_read_from_the_disk(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = await stored(parts, 2)

    def read(*_: Any) -> Any:
        raise AssertionError("the disk was read")

    monkeypatch.setattr(parts.database, "read", read)
    found = await parts.store.results(CLIENT, [job.id for job in jobs], intermediate=True)
    assert [each.status for each in found] == ["running", "running"]
    assert [each.intermediate for each in found] == [b"[]", b"[]"]
    detailed = await parts.store.detailed(CLIENT, jobs[0].id, intermediate=False)
    assert detailed is not None
    assert (detailed[0].status, detailed[1].attempts) == ("running", 0)


async def test_the_course_of_a_job_is_the_same_in_memory_and_on_the_disk(parts: Parts) -> None:
    (job,) = await stored(parts)
    job.note_start()
    running = await parts.store.detailed(CLIENT, job.id, intermediate=False)
    await parts.store.finish(job, SUCCESS, OUTPUT)
    ended = await parts.store.detailed(CLIENT, job.id, intermediate=False)
    assert running is not None
    assert ended is not None
    (_, during), (_, after) = running, ended
    assert during.is_running
    assert not after.is_running
    assert (during.created_at, during.started_at) == (after.created_at, after.started_at)
    assert during.attempts == after.attempts == 1


async def test_a_job_is_shown_when_it_is_on_the_disk(parts: Parts) -> None:
    """Before, neither its id nor its result is given to anyone."""
    job = made(parts, data={})
    seen = []

    async def look() -> None:
        results = await parts.store.results(CLIENT, [job.id], intermediate=False)
        listed = await parts.store.identifiers(CLIENT, pending=True)
        detailed = await parts.store.detailed(CLIENT, job.id, intermediate=False)
        seen.append(([each.status for each in results], listed, detailed and detailed[0].status))

    with slow_disk(parts.database):
        adding = asyncio.create_task(parts.store.add([job]))
        await asyncio.sleep(0.05)
        await look()
    await adding
    await look()
    with slow_disk(parts.database):
        ending = parts.store.finish(job, SUCCESS, OUTPUT)
        await asyncio.sleep(0.05)
        await look()
    await ending
    await look()
    assert seen == [
        ([], [], None),
        (["running"], [job.id], "running"),
        (["running"], [job.id], "running"),
        (["success"], [], "success"),
    ]


async def test_an_id_asked_twice_is_answered_twice(parts: Parts) -> None:
    (job,) = await stored(parts)
    found = await parts.store.results(CLIENT, [job.id, job.id], intermediate=False)
    assert [one.id for one in found] == [job.id, job.id]


async def test_has(parts: Parts) -> None:
    (job,) = await stored(parts, client="one")
    assert await parts.store.has(job.id)
    assert await parts.store.has(job.id.upper())
    assert not await parts.store.has("no id")
    assert not await parts.store.has("00000000-0000-4000-8000-000000000000")


async def test_lists(parts: Parts) -> None:
    jobs = await stored(parts, 10)
    await stored(parts, 3, client="another")
    for job in jobs[::2]:
        await parts.store.finish(job, SUCCESS, OUTPUT)
    every = [job.id for job in jobs]
    finished, pending = every[::2], every[1::2]
    listed = parts.store.identifiers
    assert await listed(CLIENT) == every
    assert await listed(CLIENT, pending=True) == pending
    assert await listed(CLIENT, pending=False) == finished
    assert await listed(CLIENT, limit=3) == every[-3:]
    assert await listed(CLIENT, pending=True, limit=2) == pending[-2:]
    assert await listed(CLIENT, pending=False, limit=2) == finished[-2:]
    assert await listed(CLIENT, before=every[5]) == every[:5]
    assert await listed(CLIENT, before=every[5], limit=2) == every[3:5]
    assert await listed(CLIENT, before=every[5], pending=False) == finished[:3]
    assert await listed(CLIENT, before=every[5], pending=True) == pending[:2]
    # Pages of two, from the newest to the oldest, are everything.
    pages: list[str] = []
    before = ""
    while page := await listed(CLIENT, before=before, limit=2):
        pages, before = page + pages, page[0]
    assert pages == every


async def test_only_finished_jobs_are_deleted_oldest_first(parts: Parts) -> None:
    jobs = await stored(parts, 6)
    for job in jobs[:5]:
        await parts.store.finish(job, SUCCESS, OUTPUT)
    now = parts.elapsed.now()
    assert await parts.store.delete_finished(now - 60_000, 100) == 0
    assert await parts.store.delete_finished(now + 60_000, 2) == 2
    assert await parts.store.identifiers(CLIENT) == [job.id for job in jobs[2:]]
    assert await parts.store.delete_finished(now + 60_000, 100) == 3
    assert await parts.store.identifiers(CLIENT) == [jobs[5].id]
    assert await parts.store.delete_finished(now + 60_000, 100) == 0


async def test_the_newest_of_all_clients(parts: Parts) -> None:
    (first,) = await stored(parts, client="a")
    (second,) = await stored(parts, client="b")
    await parts.store.finish(second, FAILED, OUTPUT)
    newest = await parts.store.newest(10)
    assert [summary.id for summary in newest] == [second.id, first.id]
    assert [summary.status for summary in newest] == ["failed", "running"]
    assert newest[1].finished_at is None
    assert (newest[0].finished_at or 0) >= newest[0].created_at
    assert [summary.id for summary in await parts.store.newest(1)] == [second.id]


async def test_the_space_of_deleted_jobs_is_released(parts: Parts) -> None:
    async def size() -> int:
        def pages(connection: sqlite3.Connection) -> int:
            return int(connection.execute("PRAGMA page_count").fetchone()[0])

        return await parts.database.read(pages)

    before = await size()
    jobs = [made(parts, data={"a": "x" * 50_000}) for _ in range(20)]
    await parts.store.add(jobs)
    assert await size() > before + 200
    for job in jobs:
        await parts.store.finish(job, SUCCESS, OUTPUT)
    await parts.store.delete_finished(2**62, 100)
    await parts.database.release_space()
    assert await size() < before + 20


async def test_ids_in_the_table_are_found_by_an_index(parts: Parts) -> None:
    """A list, a result and the start of the node must not read the whole table."""

    def plans(connection: sqlite3.Connection) -> list[str]:
        questions = (
            "SELECT id FROM jobs WHERE client = 'x' AND id < x'ff' ORDER BY id DESC LIMIT 5",
            "SELECT id FROM jobs WHERE client = 'x' AND id IN (x'01', x'02')",
            "SELECT id FROM jobs WHERE status = 0 ORDER BY id",
            "SELECT max(id) FROM jobs",
        )
        return [
            " ".join(row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + question))
            for question in questions
        ]

    for plan in await parts.database.read(plans):
        assert "SEARCH" in plan or "USING COVERING INDEX" in plan or "unfinished" in plan, plan
        assert "TEMP B-TREE" not in plan


async def test_a_job_is_not_deleted_while_its_result_is_sent(parts: Parts) -> None:
    jobs = await stored(parts, 3)
    for job in jobs:
        await parts.store.finish(job, SUCCESS, b'"%b"' % (b"x" * 200_000))
    later = parts.elapsed.now() + 1000
    with parts.store.kept([jobs[0].id, "no id"]), parts.store.kept([jobs[0].id]):
        (found,) = await parts.store.results(CLIENT, [jobs[0].id], intermediate=False)
        assert isinstance(found.result, Content)
        assert await parts.store.delete_finished(later, 100) == 2
        pieces = [piece async for piece in parts.store.read(found.result)]
        assert len(b"".join(pieces)) == 200_002
    assert await parts.store.delete_finished(later, 100) == 1


async def test_a_deletion_that_has_begun_is_waited_for(parts: Parts) -> None:
    """It started before these jobs were protected; what is found has to stay."""
    (job,) = await stored(parts)
    await parts.store.finish(job, SUCCESS, b'"%b"' % (b"x" * 200_000))
    deleting = asyncio.create_task(parts.store.delete_finished(parts.elapsed.now() + 1000, 100))
    await asyncio.sleep(0)
    with parts.store.kept([job.id]):
        assert await parts.store.results(CLIENT, [job.id], intermediate=False) == []
    assert await deleting == 1
