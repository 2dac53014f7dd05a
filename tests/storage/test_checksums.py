"""Values that changed on the disk are errors, never results."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.chain.delivery import table as deliveries
from infernet_edge.chain.delivery.delegated_data import DelegatedData
from infernet_edge.chain.delivery.record import open_delivery
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.jobs.contents import Content
from infernet_edge.jobs.job import SUCCESS, Job
from infernet_edge.storage.checksums import Damaged, check, checksum
from infernet_edge.storage.database import Database
from tests.support.deliveries import delivery
from tests.support.parts import CLIENT, Parts, made, outcome, result, working
from tests.support.serving import Echo, serving
from tests.support.signed import signed_v0


def test_each_bit_counts() -> None:
    text = b"some text of a container"
    sums = {checksum(text)}
    for index in range(len(text)):
        for bit in range(8):
            changed = bytearray(text)
            changed[index] ^= 1 << bit
            sums.add(checksum(changed))
    assert len(sums) == 1 + 8 * len(text)


def test_a_text_is_valid_only_at_its_location() -> None:
    assert checksum(b"text", 1) != checksum(b"text", 2)
    assert checksum(b"text", 1, 2) != checksum(b"text", 12)
    assert checksum(b"text", b"a") != checksum(b"text", b"b")
    assert checksum(None) != checksum(b"")


def test_what_has_no_checksum_is_not_checked() -> None:
    check(None, b"text", what="It")
    check(checksum(b"text", 1), b"text", 1, what="It")
    with pytest.raises(Damaged, match="It was damaged on the disk"):
        check(checksum(b"text", 1), b"test", 1, what="It")


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with working(tmp_path, document) as working_parts:
            yield working_parts


async def change(parts: Parts, statement: str, *values: Any) -> None:
    def run(connection: sqlite3.Connection) -> None:
        assert connection.execute(statement, values).rowcount == 1

    await parts.database.write(run)


async def finished(parts: Parts, size: int) -> Job:
    job = made(parts)
    await parts.store.add([job])
    text = b'{"container":"echo","output":"%b"}' % (b"x" * size)
    await parts.store.finish(job, SUCCESS, text, b"[%b]" % text)
    return job


@pytest.mark.parametrize(
    "damage",
    [
        "result = replace(result, 'x', 'y')",
        "intermediate = replace(intermediate, 'x', 'y')",
        "status = 2",
        "result = x'7b7d'",
    ],
)
async def test_a_result_that_changed_is_an_error(parts: Parts, damage: str) -> None:
    job, intact = await finished(parts, 10), await finished(parts, 10)
    if "replace" in damage:
        column = damage.split(" ")[0]
        damage = f"{column} = CAST(replace(CAST({column} AS TEXT), 'x', 'y') AS BLOB)"
    await change(parts, f"UPDATE jobs SET {damage} WHERE id = ?", job.key)
    found = await result(parts, job)
    assert found["status"] == "failed"
    assert "damaged" in found["result"]["error"]
    assert (await result(parts, intact))["status"] == "success"


async def test_a_piece_that_changed_is_not_sent(parts: Parts) -> None:
    job = await finished(parts, 200_000)
    damage = "UPDATE pieces SET data = zeroblob(length(data)) WHERE job = ? AND position = 1"
    await change(parts, f"{damage} AND part = 1", job.key)
    (found,) = await parts.store.results(CLIENT, [job.id], intermediate=False)
    assert isinstance(found.result, Content)
    with pytest.raises(Damaged):
        [piece async for piece in parts.store.read(found.result)]


@pytest.mark.parametrize("size", [10, 200_000])
async def test_an_input_that_changed_is_not_run(parts: Parts, size: int) -> None:
    job = made(parts, data={"text": "x" * size})
    await parts.store.add([job])
    await parts.store.take_data(job)  # from now on it is read from the disk
    if size < 1000:
        await change(parts, "UPDATE jobs SET data = ? WHERE id = ?", b'{"text":"y"}', job.key)
    else:
        where = "WHERE job = ? AND position = 2"
        await change(parts, f"UPDATE pieces SET data = zeroblob(1) {where}", job.key)
    parts.orchestrator.submit(job)
    found = await outcome(parts, job)
    assert found["status"] == "failed"
    assert "damaged on the disk" in found["result"]["error"]


async def test_an_answer_of_a_delivery_that_changed_is_not_sent(tmp_path: Path) -> None:
    database = Database(tmp_path / "node.sqlite", {"deliveries": deliveries.MIGRATIONS})
    await database.open()
    store = DeliveryStore(database, 10)
    one = delivery()
    await store.add(one, b"x" * 1000)
    one.state, one.input, one.output, one.proof = "sending", b"i", b"output", b"p"
    await store.save(one)
    assert (await store.answer(one)).output == b"output"
    await database.write(
        lambda connection: connection.execute("UPDATE deliveries SET output = x'00'") and None
    )
    with pytest.raises(Damaged, match="answer"):
        await store.answer(one)
    await database.write(
        lambda connection: (
            connection.execute("UPDATE delegated_data SET data = x'00' WHERE position = 0") and None
        )
    )
    found = await DelegatedData(database).find(one.request_key)
    assert found is not None
    with pytest.raises(Damaged, match="delegated"):
        [piece async for piece in found.pieces()]
    await database.close()


async def test_a_request_that_changed_is_damaged(tmp_path: Path) -> None:
    database = Database(tmp_path / "node.sqlite", {"deliveries": deliveries.MIGRATIONS})
    await database.open()
    store = DeliveryStore(database, 10)
    one = delivery(request=signed_v0())
    await store.add(one, b"x")
    assert [each.damaged for each in await store.load()] == [False]
    assert await store.delegated_by(one.owner) == [(1, open_delivery(one).subscription)]
    await database.write(
        lambda connection: connection.execute("UPDATE deliveries SET request = x'7b7c'") and None
    )
    assert [each.damaged for each in await store.load()] == [True]
    assert await store.delegated_by(one.owner) == [(1, None)]
    await database.close()
