"""Databases that earlier versions wrote, and going back to an earlier version."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from infernet_edge.chain.delivery import proofs
from infernet_edge.chain.delivery import table as deliveries
from infernet_edge.chain.delivery.delegated_data import DelegatedData
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.chain.subscriptions import store as subscriptions
from infernet_edge.chain.txm import store as transaction_store
from infernet_edge.chain.txm.store import TransactionStore
from infernet_edge.errors import StartupError
from infernet_edge.jobs import external_jobs, table
from infernet_edge.storage import elapsed
from infernet_edge.storage.database import Database
from infernet_edge.storage.migrations import Breaking, unreadable
from tests.support.parts import CLIENT, outcome, result, working
from tests.support.process import ROOT
from tests.support.serving import Echo, serving

FIRST = ROOT / "tests/fixtures/databases/0.1.0-first.sql"
LOCAL = "127.0.0.1"
ALL: Mapping[str, Sequence[str]] = {
    "jobs": table.MIGRATIONS,
    "reports": external_jobs.MIGRATIONS,
    "elapsed": elapsed.MIGRATIONS,
    "transactions": transaction_store.MIGRATIONS,
    "deliveries": deliveries.MIGRATIONS,
    "subscriptions": subscriptions.MIGRATIONS,
    "proofs": proofs.MIGRATIONS,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a node that the first version left, with jobs in work."""
    path = tmp_path / "data"
    path.mkdir()
    with sqlite3.connect(path / "infernet-edge.sqlite") as connection:
        connection.executescript(FIRST.read_text())
    connection.close()
    return tmp_path


def ids(folder: Path) -> list[str]:
    connection = sqlite3.connect(folder / "data" / "infernet-edge.sqlite")
    rows = connection.execute("SELECT id FROM jobs ORDER BY id").fetchall()
    connection.close()
    texts = [bytes(row[0]).hex() for row in rows]
    return [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts]


async def test_jobs_of_the_first_version_are_resumed(folder: Path) -> None:
    first, chain, failed, stream, *pending = ids(folder)
    echo = Echo()
    async with serving(echo) as url:
        document = {
            "containers": [{"id": "echo", "url": url}],
            "storage": {"path": str(folder / "data")},
        }
        async with working(folder, document) as parts:
            assert (await result(parts, first, LOCAL))["result"]["output"] == {"output": {"n": 1}}
            long = await result(parts, chain, LOCAL)
            assert long["result"]["output"] == {"output": "x" * 66_000}
            assert long["intermediate_results"] == [
                {"container": "echo", "output": {"output": {"n": 2}}}
            ]
            assert (await result(parts, failed, LOCAL))["result"]["error"] == "out of order"
            assert (await result(parts, stream, LOCAL))["status"] == "success"
            for number, identifier in enumerate(pending, 5):
                found = await outcome(parts, identifier, LOCAL)
                assert found["status"] == "success"
                assert f"'n': {number}" in str(found["result"]["output"])
            assert {call["data"].get("text", "")[:3] for call in echo.calls} == {"", "yyy"}
            assert parts.external_jobs.count == 1
            now = parts.elapsed.now()
            assert await parts.store.delete_finished(now + 1, 100) == 7
            assert await parts.store.identifiers(CLIENT) == []


async def test_deliveries_and_transactions_of_the_first_version_are_resumed(folder: Path) -> None:
    database = Database(folder / "data" / "infernet-edge.sqlite", ALL)
    await database.open()
    try:
        kept = DeliveryStore(database, 10)
        accepted, sending = await kept.load()
        assert (accepted.state, sending.state) == ("accepted", "sending")
        assert accepted.anchor == "0x5fbdb2315678afecb367f032d93f642f64180aa3"
        assert (accepted.planned_interval, accepted.active_at) == (None, 0)
        assert (await kept.answer(sending)).output == b"output"
        found = await DelegatedData(database).find(accepted.request_key)
        if found is None:  # it was short enough to stay with the request
            assert b'"n"' in accepted.request
        transactions = TransactionStore(database)
        (unfinished,) = await transactions.unfinished()
        assert unfinished.key == "delivery:2:0"
        assert (await transactions.outcomes(10))["delivery:3:0"].block == 7
        assert await transactions.chain_id("a b") == 31337
    finally:
        await database.close()


OLD = {"things": ("CREATE TABLE things (n INTEGER) STRICT",)}
ADD = "ALTER TABLE things ADD COLUMN m INTEGER DEFAULT 0"
ADDED = {"things": (*OLD["things"], ADD)}
CHANGED = {"things": (*OLD["things"], Breaking(ADD))}


async def opened(path: Path, migrations: Mapping[str, Sequence[str]]) -> None:
    database = Database(path, migrations)
    try:
        await database.open()
        await database.write(
            lambda connection: connection.execute("INSERT INTO things (n) VALUES (1)") and None
        )
    finally:
        await database.close()


async def test_an_upgrade_that_only_added_can_be_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite"
    await opened(path, OLD)
    await opened(path, ADDED)
    await opened(path, OLD)  # the earlier version again
    await opened(path, ADDED)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT n, m FROM things").fetchall() == [(1, 0)] * 4
    connection.close()


async def test_an_upgrade_that_changed_more_cannot(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite"
    await opened(path, OLD)
    await opened(path, CHANGED)
    with pytest.raises(StartupError, match="newer"):
        await opened(path, OLD)
    await opened(path, CHANGED)
    with sqlite3.connect(path) as connection:
        assert unreadable(connection, {"things": 1, "others": 0}) == ["things"]
        assert unreadable(connection, {"things": 2}) == []
    connection.close()


@pytest.mark.parametrize("owner", ALL)
def test_a_step_that_does_more_than_add_is_marked_as_breaking(owner: str) -> None:
    """Else an upgrade could not be rolled back, or the earlier version would read nonsense."""
    added = re.compile(
        r"CREATE (TABLE|(UNIQUE )?INDEX|TRIGGER)|DROP INDEX|UPDATE"
        r"|ALTER TABLE \w+ ADD COLUMN (?!.*NOT NULL(?!.*DEFAULT))"
    )
    for step in ALL[owner]:
        assert isinstance(step, Breaking) or added.match(step), step


async def test_what_is_readable_is_asked_of_each_owner(tmp_path: Path) -> None:
    """Steps are counted by owner, so that one with changes does not block the others."""
    path = tmp_path / "file.sqlite"
    other = {"others": ("CREATE TABLE others (n INTEGER) STRICT",)}
    await opened(path, OLD | other)
    await opened(path, ADDED)
    await opened(path, OLD | other)
