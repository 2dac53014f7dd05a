"""The copy of the database at the control socket."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from infernet_edge.control import backup
from infernet_edge.storage import copying
from tests.support.archives import make_database, marks
from tests.support.managing import eventually
from tests.support.running import RunningNode, running

LARGE = 64  # MiB


@asynccontextmanager
async def node_with(folder: Path, mebibytes: int = 1) -> AsyncIterator[RunningNode]:
    make_database(folder / "data/infernet-edge.sqlite", range(mebibytes), numbered=2**20)
    async with running(folder) as node:
        yield node


@asynccontextmanager
async def database_of(folder: Path) -> AsyncIterator[aiohttp.ClientResponse]:
    connector = aiohttp.UnixConnector(str(folder / "data/control.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://node/database") as response,
    ):
        yield response


def left(folder: Path) -> list[str]:
    return [path.name for path in (folder / "data").iterdir() if ".copying" in path.name]


async def test_it_has_progress_then_the_file(tmp_path: Path) -> None:
    async with node_with(tmp_path, 3):
        async with database_of(tmp_path) as response:
            lines = []
            while "size" not in (line := json.loads(await response.content.readline())):
                lines.append(line)
            content = await response.read()
        assert left(tmp_path) == []
    assert all(set(each) == {"copied", "total"} for each in lines)
    assert line["size"] == len(content)
    assert line["tables"]["jobs"]["version"] > 0
    (tmp_path / "copy").write_bytes(content)
    assert marks(tmp_path / "copy") == [0, 1, 2]


async def test_a_reader_that_leaves_ends_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_PAGES_AT_ONCE", 8)
    monkeypatch.setattr(copying, "_STEPS_PER_SYNC", 1)  # slow
    async with node_with(tmp_path, LARGE) as node:
        async with database_of(tmp_path) as response:
            await response.content.readline()
            await eventually(lambda: left(tmp_path))
            response.close()
        await eventually(lambda: not left(tmp_path))
        await eventually(lambda: not node.parts.database.is_being_copied)
        assert (await node.get("/health")).status == 200
        async with database_of(tmp_path) as response:
            assert b"SQLite format 3" in await response.read()


async def test_a_reader_that_takes_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_SEND_TIME", 0.3)
    async with node_with(tmp_path, LARGE) as node:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "data/control.sock"))
        writer.write(b"GET /database HTTP/1.1\r\nHost: node\r\n\r\n")
        await eventually(lambda: node.parts.database.is_being_copied)
        await eventually(lambda: not node.parts.database.is_being_copied)
        await asyncio.sleep(1)
        assert left(tmp_path) == []
        received = 0
        async with asyncio.timeout(20):
            while part := await reader.read(2**20):
                received += len(part)
        assert received < LARGE * 2**20
        writer.close()


async def test_why_it_is_not_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_MIN_FREE", 2**60)
    async with node_with(tmp_path):
        async with database_of(tmp_path) as response:
            answer = json.loads((await response.text()).splitlines()[-1])
        assert "There is not enough space" in answer["error"]
        assert left(tmp_path) == []


async def test_the_next_start_removes_what_a_killed_node_left(tmp_path: Path) -> None:
    make_database(tmp_path / "data/infernet-edge.sqlite")
    (tmp_path / "data/infernet-edge.sqlite.copying-0123").write_text("x")
    async with running(tmp_path):
        assert left(tmp_path) == []


async def test_stopping_the_node_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_PAGES_AT_ONCE", 8)
    monkeypatch.setattr(copying, "_STEPS_PER_SYNC", 1)
    async with node_with(tmp_path, LARGE) as node, database_of(tmp_path) as response:
        await response.content.readline()
        await eventually(lambda: left(tmp_path))
        async with asyncio.timeout(20):
            await node.node.stop()
    assert left(tmp_path) == []
    connection = sqlite3.connect(tmp_path / "data/infernet-edge.sqlite")
    assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    connection.close()
