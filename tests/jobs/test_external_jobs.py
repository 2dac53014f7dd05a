"""Jobs that run elsewhere, as containers report them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infernet_edge.errors import Conflict, StorageError, Unavailable
from infernet_edge.jobs.job import FAILED, RUNNING, SUCCESS
from tests.support.breaking import read_only
from tests.support.parts import Parts, working

END = (100, "")  # after all that is reported here


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with working(tmp_path, {"jobs": {"max_pending": 3}}) as working_parts:
        yield working_parts


async def report(
    parts: Parts,
    identifier: str,
    status: int = RUNNING,
    *,
    client: str = "a",
    owner: str = "loopback",
    now: int = 1000,
) -> None:
    await parts.external_jobs.record(identifier, client, owner, status, ["x", "y"], now)


def counts(parts: Parts) -> tuple[int, int]:
    return parts.external_jobs.count, parts.external_jobs.pending


async def statuses(parts: Parts, *identifiers: str) -> dict[str, str]:
    return dict(await parts.external_jobs.statuses(identifiers))


async def test_counts_follow_what_is_reported(parts: Parts) -> None:
    assert counts(parts) == (0, 0)
    for status, expected in (
        (RUNNING, (1, 1)),
        (RUNNING, (1, 1)),
        (SUCCESS, (1, 0)),
        (FAILED, (1, 0)),
        (RUNNING, (1, 1)),
    ):
        await report(parts, "one", status)
        assert counts(parts) == expected
    await report(parts, "two", SUCCESS)
    assert counts(parts) == (2, 1)


async def test_results(parts: Parts) -> None:
    assert await statuses(parts, "one") == {}
    await report(parts, "one")
    await report(parts, "two", FAILED)
    assert await statuses(parts, "two", "none", "one") == {"one": "running", "two": "failed"}


async def test_lists_are_the_reporters_own(parts: Parts) -> None:
    await report(parts, "one", now=1)
    await report(parts, "two", SUCCESS, now=2)
    await report(parts, "other", client="b", now=3)
    listed = parts.external_jobs.identifiers
    assert sorted(await listed("a", None, 10, END)) == [(1, "one"), (2, "two")]
    assert await listed("a", True, 10, END) == [(1, "one")]
    assert await listed("a", False, 10, END) == [(2, "two")]
    assert await listed("a", None, 1, END) == [(2, "two")]
    assert await listed("a", None, 10, (2, "")) == [(1, "one")]
    assert await listed("a", None, 10, (2, "two")) == [(1, "one")]
    assert len(await listed("a", None, 10, (2, "twos"))) == 2
    assert await listed("c", None, 10, END) == []


async def test_a_report_by_another_client_keeps_its_first_reporter(parts: Parts) -> None:
    await report(parts, "one", client="a", now=1)
    await report(parts, "one", SUCCESS, client="b", now=2)
    assert await parts.external_jobs.identifiers("a", None, 10, END) == [(1, "one")]
    assert await parts.external_jobs.identifiers("b", None, 10, END) == []


async def test_only_the_owner_changes_a_job(parts: Parts) -> None:
    await report(parts, "one", owner="container:a")
    with pytest.raises(Conflict, match="Another client"):
        await report(parts, "one", FAILED, owner="container:b")
    assert await statuses(parts, "one") == {"one": "running"}
    assert counts(parts) == (1, 1)
    await report(parts, "one", SUCCESS, client="b", owner="container:a")
    assert await statuses(parts, "one") == {"one": "success"}


async def test_the_limit_holds_for_those_that_come_at_once(parts: Parts) -> None:
    coming = [report(parts, f"{number % 20}") for number in range(60)]
    ended = await asyncio.gather(*coming, return_exceptions=True)
    assert {type(each) for each in ended} == {type(None), Unavailable}
    stored = await parts.database.read(
        lambda connection: connection.execute("SELECT count(*) FROM reports").fetchone()[0]
    )
    assert counts(parts) == (stored, stored)
    assert stored <= 3
    await parts.external_jobs.delete_unchanged(5000)
    for identifier in ("one", "two", "three"):
        await report(parts, identifier)  # nothing is held back for those that were refused
    assert counts(parts) == (3, 3)


async def test_a_job_of_an_older_version_gets_an_owner(parts: Parts) -> None:
    await report(parts, "one", owner="")
    await report(parts, "one", owner="loopback")
    with pytest.raises(Conflict):
        await report(parts, "one", owner="container:a")


async def test_new_ones_are_limited_but_known_ones_can_be_updated(parts: Parts) -> None:
    for identifier in ("one", "two", "three"):
        await report(parts, identifier)
    with pytest.raises(Unavailable, match="Too many reported jobs"):
        await report(parts, "four")
    assert counts(parts) == (3, 3)
    await report(parts, "one", SUCCESS)
    assert counts(parts) == (3, 2)


async def test_old_ones_are_deleted(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the node's own time; the wall clock does not matter."""
    passed = iter([1, 2, 3, 9])
    monkeypatch.setattr(parts.elapsed, "now", lambda: next(passed))
    await report(parts, "one", now=10**15)
    await report(parts, "two", SUCCESS, now=2)
    await report(parts, "three", now=10**15)
    await report(parts, "one", now=1)  # reported again
    assert await parts.external_jobs.delete_unchanged(4) == 2
    assert counts(parts) == (1, 1)
    assert await statuses(parts, "one", "two", "three") == {"one": "running"}
    assert await parts.external_jobs.delete_unchanged(100) == 1
    assert counts(parts) == (0, 0)


async def test_counts_are_right_after_a_restart(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        await report(parts, "one")
        await report(parts, "two", SUCCESS)
    async with working(tmp_path) as parts:
        assert counts(parts) == (2, 1)


async def test_a_report_that_cannot_be_written_is_not_counted(parts: Parts) -> None:
    with read_only(parts.database), pytest.raises(StorageError):
        await report(parts, "one")
    assert counts(parts) == (0, 0)
