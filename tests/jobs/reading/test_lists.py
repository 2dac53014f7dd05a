"""Lists of ids."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

from infernet_edge.jobs.identifiers import to_text
from infernet_edge.jobs.job import SUCCESS
from infernet_edge.jobs.reading import lists
from tests.support.parts import CLIENT, made, working

END = b"\xff" * 16


async def test_stored_ids_are_texts_in_their_order(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        jobs = [made(parts, data={}) for _ in range(2000)]
        await parts.store.add(jobs)
        for job in jobs[::100]:
            await parts.store.finish(job, SUCCESS, b"{}")

        async def listed(limit: int, *, finished: bool = False) -> list[str]:
            return await parts.database.read(lists.stored_ids, CLIENT, END, limit, finished)

        every = [job.id for job in jobs]
        assert await listed(10_000) == every
        assert await listed(3) == every[-3:]
        assert await listed(10_000, finished=True) == every[::100]
        assert await parts.database.read(lists.stored_ids, "other", END, 10, False) == []
        for text in every[:10]:
            assert str(uuid.UUID(text)) == text


async def test_stored_ids_are_read_by_the_index_of_clients(tmp_path: Path) -> None:
    def plan(connection: sqlite3.Connection, query: str) -> str:
        rows = connection.execute("EXPLAIN QUERY PLAN " + query, ("x", b"y", 5))
        return " ".join(row[3] for row in rows)

    async with working(tmp_path) as parts:
        for query in (lists.ALL, lists.FINISHED):
            steps = await parts.database.read(plan, query)
            assert "USING INDEX jobs_by_client" in steps or "COVERING INDEX jobs_by_client" in steps
            assert "TEMP B-TREE" not in steps


def test_external_jobs_are_among_the_others_by_their_time() -> None:
    own = [to_text(moment.to_bytes(6) + b"x" * 10) for moment in (10, 20, 2**40)]
    external = [(5, "early"), (20, "z"), (20, "0"), (2**40 + 1, "late")]
    expected = ["early", own[0], "0", own[1], "z", own[2], "late"]
    assert lists.with_external(own, external, 100) == expected
    assert lists.with_external(own, external, 2) == expected[-2:]
