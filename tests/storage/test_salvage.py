"""What is saved from a damaged database, page by page."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from infernet_edge.errors import StartupError, StorageError
from infernet_edge.jobs import contents
from infernet_edge.jobs.table import unfinished
from infernet_edge.storage import damage
from infernet_edge.storage import salvage as salvage_module
from infernet_edge.storage.database import Database
from infernet_edge.storage.migrations import migrate
from infernet_edge.storage.salvage import Part, salvage
from tests.support.parts import CLIENT, made, outcome, result, working
from tests.support.serving import Echo, serving
from tests.test_upgrades import ALL, FIRST

PAGE = 4096
JOBS = 120
KEYS = {
    "jobs": "id",
    "pieces": "job, part, position",
    "deliveries": "number",
    "reports": "id",
}
DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)
Key = tuple[object, ...]


def opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # as that of the node
    migrate(connection, path, ALL)
    return connection


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with jobs of some clients, long results, deliveries and external jobs."""
    path = tmp_path_factory.mktemp("intact") / "file.sqlite"
    fill(path)
    return path


@pytest.fixture(scope="module", params=["now", "first"])
def each_form(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The same, and one whose tables the first version made: they keep their form."""
    path = tmp_path_factory.mktemp("form") / "file.sqlite"
    if request.param == "first":
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.executescript(FIRST.read_text())
            connection.execute("DELETE FROM jobs")
        connection.close()
    fill(path)
    return path


def fill(path: Path) -> None:
    generator = random.Random(1)
    connection = opened(path)
    connection.execute("BEGIN")
    for number in range(JOBS):
        key = (1_800_000_000_000 + 7 * number).to_bytes(6) + generator.randbytes(10)
        unfinished = number % 10 == 0
        result = None if unfinished else b'{"output":"%b"}' % (b"x" * generator.randrange(400))
        connection.execute(
            "INSERT INTO jobs (id, client, kind, status, containers, requires_proof, attempts,"
            " created_at, data, result, ended) VALUES (?, ?, 0, ?, 'echo', 0, 0, 1, ?, ?, 0)",
            (key, f"10.0.0.{number % 7}", int(not unfinished), b"{}", result),
        )
        if number % 30 == 0:
            contents.write(connection, key, contents.RESULT, [b"y" * 70_000])
        connection.execute(
            "INSERT INTO deliveries (key, generation, owner, nonce, interval, containers, state,"
            " request, created_at, changed_at) VALUES (?, '1.x', '0xo', ?, 1, 'a', 'accepted', ?,"
            " 1, 1)",
            (f"key {number}", number, b"r" * 200),
        )
        connection.execute(
            "INSERT INTO reports (id, client, status, containers, created_at, changed_at)"
            " VALUES (?, 'c', 0, 'x', 1, 1)",
            (generator.randbytes(8).hex(),),
        )
    connection.execute("COMMIT")
    connection.close()


def keys(path: Path) -> dict[str, list[Key]]:
    connection = sqlite3.connect(path)
    found = {
        table: connection.execute(f"SELECT {columns} FROM {table}").fetchall()
        for table, columns in KEYS.items()
    }
    connection.close()
    return found


def present(path: Path, wanted: dict[str, list[Key]]) -> int:
    """How many of the rows can be read, each asked for by its key."""
    connection = sqlite3.connect(path)
    count = 0
    for table, some in wanted.items():
        where = " AND ".join(f"{column} = ?" for column in KEYS[table].split(", "))
        for key in some:
            try:
                row = connection.execute(f"SELECT * FROM {table} WHERE {where}", key).fetchone()
                count += row is not None
            except DAMAGED:
                continue
    connection.close()
    return count


def bit_in_header(content: bytearray, page: int, _: random.Random) -> None:
    content[page * PAGE + (100 if page == 0 else 0)] ^= 0x08


def zeros(content: bytearray, page: int, _: random.Random) -> None:
    content[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)


def bits(content: bytearray, page: int, generator: random.Random) -> None:
    for _ in range(3):
        content[page * PAGE + generator.randrange(PAGE)] ^= 1 << generator.randrange(8)


def truncation(content: bytearray, page: int, _: random.Random) -> None:
    del content[page * PAGE :]


@pytest.mark.parametrize("damage", [bit_in_header, zeros, bits, truncation])
def test_nearly_all_that_can_be_read_is_saved(
    each_form: Path, tmp_path: Path, damage: Callable[[bytearray, int, random.Random], None]
) -> None:
    wanted, content = keys(each_form), each_form.read_bytes()
    generator = random.Random(2)
    damaged, target = tmp_path / "damaged.sqlite", tmp_path / "target.sqlite"
    for page in range(len(content) // PAGE):
        changed = bytearray(content)
        damage(changed, page, generator)
        damaged.write_bytes(changed)
        target.unlink(missing_ok=True)
        new = opened(target)
        old = sqlite3.connect(damaged, isolation_level=None)
        saved = salvage(old, new, [Part("jobs", "status = 0"), Part("deliveries")])
        old.close()
        new.close()
        readable = present(damaged, wanted)
        found = present(target, wanted)
        assert found >= 0.95 * readable, f"page {page}: {found} of {readable}"
        assert saved.rows >= found
        assert saved.total is None or saved.total >= saved.rows


def test_what_is_named_comes_first(intact: Path, tmp_path: Path) -> None:
    order: list[str] = []
    new = opened(tmp_path / "target.sqlite")
    new.set_trace_callback(
        lambda text: order.append(text.split()[4]) if text.startswith("INSERT OR IGNORE") else None
    )
    old = sqlite3.connect(intact, isolation_level=None)
    unfinished = Part("jobs", "status = 0", needed=True)
    saved = salvage(old, new, [Part("reports", needed=True), unfinished])
    assert saved.rows == saved.total == JOBS * 3 + 4 * 3
    assert order[:JOBS] == ["reports"] * JOBS
    assert order[JOBS : JOBS + 12] == ["jobs"] * 12
    old.close()
    new.close()


def index_root(path: Path, name: str) -> int:
    connection = sqlite3.connect(path)
    query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
    root = int(connection.execute(query, (name,)).fetchone()[0])
    connection.close()
    return root


@pytest.mark.parametrize("index", ["jobs_by_client", "ended_jobs", "delegated_deliveries"])
async def test_of_a_damaged_index_nothing_is_lost(intact: Path, tmp_path: Path, index: str) -> None:
    """It is created with the new file."""
    folder = tmp_path / "data"
    folder.mkdir()
    content = bytearray(intact.read_bytes())
    zeros(content, index_root(intact, index) - 1, random.Random(1))
    (folder / "file.sqlite").write_bytes(content)
    database = Database(folder / "file.sqlite", ALL)
    await database.open()
    (salvaged,) = await database.salvages()
    assert salvaged.saved == salvaged.total
    await database.close()
    wanted = keys(intact)
    assert present(folder / "file.sqlite", wanted) == sum(map(len, wanted.values()))
    connection = sqlite3.connect(folder / "file.sqlite")
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.close()


def damage_table(path: Path, table: str) -> None:
    """Destroy the first leaf of a table, so that it cannot be read from its beginning."""
    content = bytearray(path.read_bytes())
    root = index_root(path, table) - 1
    page = content[root * PAGE : (root + 1) * PAGE]
    leaf = root
    if page[0] in (2, 5):  # an inner page: its first cell points to the first leaf
        cell = int.from_bytes(page[12:14])
        leaf = int.from_bytes(page[cell : cell + 4]) - 1
    zeros(content, leaf, random.Random(1))
    path.write_bytes(content)


async def test_a_node_continues_with_what_was_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    echo = Echo()
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with working(tmp_path, document) as parts:
            path = parts.database.path
            jobs = [made(parts, data={"n": number, "text": "x" * 500}) for number in range(300)]
            await parts.store.add(jobs)
            for job in jobs[:200]:
                await parts.store.finish(
                    job, 1, b'{"container":"echo","output":"%b"}' % (b"x" * 300)
                )
        damage_table(path, "jobs")
        async with working(tmp_path, document) as parts:
            (salvaged,) = await parts.database.salvages()
            assert salvaged.saved >= 220
            assert salvaged.total is None or salvaged.saved < salvaged.total
            assert salvaged.kept.exists()
            (record,) = [r for r in caplog.records if r.getMessage() == "database.salvaged"]
            assert record.levelname == "ERROR"
            assert (await outcome(parts, jobs[-1]))["status"] == "success"
            assert (await result(parts, jobs[199]))["result"]["output"] == "x" * 300
            listed = await parts.store.identifiers(CLIENT)
            assert len(listed) >= 220
            salvaged.kept.unlink()
            assert await parts.database.salvages() == []


async def test_a_salvage_that_was_interrupted_starts_again(
    intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "infernet-edge.sqlite"
    path.write_bytes(intact.read_bytes())
    damage_table(path, "jobs")

    def killed(rows: int) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        first = Database(path, ALL, on_salvage=killed)
        with pytest.raises(KeyboardInterrupt):
            await first.open()
        await first.close()
        assert not path.exists()
    (folder / "infernet-edge.sqlite.saving").write_bytes(b"half of something")
    again = Database(path, ALL)
    await again.open()
    (salvaged,) = await again.salvages()
    assert salvaged.saved > JOBS * 2.5
    assert not (folder / "infernet-edge.sqlite.saving").exists()
    await again.close()


async def test_each_damaged_file_is_kept(
    intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when two are found within a second, as with a clock that stands still."""
    monkeypatch.setattr("time.time", lambda: 5.0)
    path = tmp_path / "file.sqlite"
    for number in range(3):
        path.write_bytes(intact.read_bytes())
        damage_table(path, "jobs")
        database = Database(path, ALL)
        await database.open()
        await database.close()
        assert len(list(tmp_path.glob("*.corrupt-*"))) == number + 1


def test_of_a_file_that_is_too_short_the_rest_is_saved(each_form: Path, tmp_path: Path) -> None:
    content = each_form.read_bytes()
    for pages, minimum in (
        (1, 0.97),
        (len(content) // PAGE // 10, 0.8),
        (len(content) // PAGE // 2, 0.45),
    ):
        folder = tmp_path / str(pages)
        folder.mkdir()
        path = folder / "file.sqlite"
        path.write_bytes(content[: -pages * PAGE])
        asyncio.run(_open_and_close(path))
        wanted = keys(each_form)
        assert present(path, wanted) >= minimum * sum(map(len, wanted.values()))


def zero_roots(content: bytearray, path: Path) -> int:
    """Destroy the roots of the tables that have inner pages; returns the rows that were in them."""
    lost, found = 0, list[str]()
    for table in sorted(KEYS):
        root = index_root(path, table) - 1
        page = content[root * PAGE : (root + 1) * PAGE]
        if page[0] in (2, 5):
            lost += int.from_bytes(page[3:5]) if page[0] == 2 else 0
            zeros(content, root, random.Random(1))
            found.append(table)
    assert found >= ["deliveries", "jobs"]
    return lost


def test_all_rows_below_a_lost_root_are_saved(each_form: Path, tmp_path: Path) -> None:
    """And none is counted twice; SQLite itself reads none of them, except by an index."""
    content, path = bytearray(each_form.read_bytes()), tmp_path / "file.sqlite"
    lost = zero_roots(content, each_form)
    path.write_bytes(content)
    asyncio.run(_open_and_close(path))
    wanted = keys(each_form)
    assert present(path, wanted) >= sum(map(len, wanted.values())) - lost
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    ((saved, total),) = connection.execute("SELECT saved, total FROM salvages").fetchall()
    assert total is None or total >= saved >= sum(map(len, wanted.values())) - lost
    connection.close()


def test_of_a_file_with_a_lost_block_the_rest_is_saved(each_form: Path, tmp_path: Path) -> None:
    """A card loses the pages of 64 KiB together. In one of the blocks the tables are defined."""
    content, wanted = each_form.read_bytes(), keys(each_form)
    size = len(content) // PAGE
    total = sum(map(len, wanted.values()))
    shares = []
    for first in range(48, size, 16):
        changed = bytearray(content)
        length = min(16, size - first) * PAGE
        changed[first * PAGE : first * PAGE + length] = bytes(length)
        folder = tmp_path / str(first)
        folder.mkdir()
        (folder / "file.sqlite").write_bytes(changed)
        asyncio.run(_open_and_close(folder / "file.sqlite"))
        shares.append(present(folder / "file.sqlite", wanted) / total)
    assert sorted(shares)[1] >= 1 - 2 * 16 / size


def test_a_defect_of_the_last_pass_loses_nothing_else(
    intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(*_: object) -> object:
        raise ValueError("a defect")

    monkeypatch.setattr("infernet_edge.storage.salvage.leaf_rows", defect)
    path = tmp_path / "file.sqlite"
    path.write_bytes(intact.read_bytes())
    damage_table(path, "jobs")
    asyncio.run(_open_and_close(path))
    assert "database.table_copy_failed" in [record.getMessage() for record in caplog.records]
    wanted = keys(intact)
    assert present(path, wanted) >= 0.8 * sum(map(len, wanted.values()))


def test_the_last_pass_ends_without_space_too(intact: Path, tmp_path: Path) -> None:
    content, damaged = bytearray(intact.read_bytes()), tmp_path / "damaged.sqlite"
    zero_roots(content, intact)
    damaged.write_bytes(content)
    counts: list[tuple[int, int]] = []
    for room in (True, False):
        old = sqlite3.connect(damaged, isolation_level=None)
        new = opened(tmp_path / f"{room}.sqlite")
        calls = iter([True] * (1000 if room else counts[0][1] - 1))
        asked: list[int] = []

        def has_space(calls: Iterator[bool] = calls, asked: list[int] = asked) -> bool:
            asked.append(1)
            return next(calls, False)

        saved = salvage(old, new, [Part("jobs", "status = 0", needed=True)], has_space=has_space)
        assert saved.all_read == room
        counts.append((saved.rows, len(asked)))
        old.close()
        new.close()
    assert 0 < counts[1][0] < counts[0][0]


async def _open_and_close(path: Path) -> None:
    database = Database(path, ALL)
    await database.open()
    await database.close()


@pytest.mark.parametrize("seed", range(40))
async def test_no_damage_keeps_the_node_from_starting(
    intact: Path, tmp_path: Path, seed: int
) -> None:
    generator = random.Random(seed)
    content = bytearray(intact.read_bytes())
    pages = len(content) // PAGE
    for _ in range(generator.choice((1, 3, 30))):
        page = generator.choice((0, 0, generator.randrange(pages)))
        content[page * PAGE + generator.randrange(PAGE)] ^= 1 << generator.randrange(8)
    if seed % 4 == 0:
        del content[generator.randrange(len(content)) :]
    path = tmp_path / "file.sqlite"
    path.write_bytes(content)
    await _open_and_close(path)
    await _open_and_close(path)


async def test_a_damaged_format_number_is_damage(intact: Path, tmp_path: Path) -> None:
    """The schema's format in the file's header (https://sqlite.org/fileformat.html, 1.3)."""
    path = tmp_path / "file.sqlite"
    content = bytearray(intact.read_bytes())
    content[44:48] = bytes((0, 0, 0, 9))
    path.write_bytes(content)
    await _open_and_close(path)
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1


@pytest.mark.parametrize("damage", ["UPDATE schema_versions SET owner = 'x'", "SELECT 1"])
async def test_tables_of_a_part_that_is_switched_off_are_saved(
    intact: Path, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "file.sqlite"
    path.write_bytes(intact.read_bytes())
    with sqlite3.connect(path) as connection:
        connection.execute(f"{damage} WHERE owner = 'deliveries'" if "UPDATE" in damage else damage)
    connection.close()
    damage_table(path, "jobs")
    without = {owner: ALL[owner] for owner in ("jobs", "reports", "elapsed")}
    database = Database(path, without, dormant=lambda: ALL)
    await database.open()
    await database.close()
    await _open_and_close(path)  # with the part switched on again
    wanted = {"deliveries": keys(intact)["deliveries"]}
    assert present(path, wanted) == JOBS


async def test_what_a_newer_version_added_is_saved_by_an_older_one(
    intact: Path, tmp_path: Path
) -> None:
    """A roll-back, damage, and the upgrade again."""
    newer = dict(ALL) | {
        "jobs": (
            *ALL["jobs"],
            "ALTER TABLE jobs ADD COLUMN tag TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE jobs ADD COLUMN cost INTEGER",
            "CREATE TABLE tokens (name TEXT PRIMARY KEY, hash BLOB NOT NULL) STRICT",
            "CREATE INDEX tagged_jobs ON jobs (tag)",
        ),
        "events": ("CREATE TABLE events (number INTEGER PRIMARY KEY) STRICT",),
    }
    path = tmp_path / "file.sqlite"
    path.write_bytes(intact.read_bytes())
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, path, newer)
    connection.execute("UPDATE jobs SET tag = 'mine', cost = 7")
    connection.execute("INSERT INTO tokens VALUES ('name', x'01')")
    connection.execute("INSERT INTO events VALUES (5)")
    connection.close()
    damage_table(path, "reports")
    await _open_and_close(path)
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1
    database = Database(path, newer)
    await database.open()
    await database.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT DISTINCT tag, cost FROM jobs").fetchall() == [("mine", 7)]
    assert connection.execute("SELECT * FROM tokens").fetchall() == [("name", b"\x01")]
    assert connection.execute("SELECT * FROM events").fetchall() == [(5,)]
    assert connection.execute("SELECT count(*) FROM jobs INDEXED BY tagged_jobs").fetchone()[0]
    connection.close()


def test_without_space_for_all_what_is_needed_is_saved_first(intact: Path, tmp_path: Path) -> None:
    old = sqlite3.connect(intact, isolation_level=None)
    for batches, enough in ((1, False), (3, True), (1000, True)):
        new = opened(tmp_path / f"{batches}.sqlite")
        room = partial(next, iter([True] * batches), False)
        first = [Part("jobs", "status = 0", True), Part("deliveries", needed=True)]
        if not enough:
            with pytest.raises(OSError, match="space"):
                salvage(old, new, first, has_space=room)
        else:
            saved = salvage(old, new, first, has_space=room)
            assert saved.all_read == (batches == 1000)
            assert saved.rows < (saved.total or 0) or saved.all_read
            (count,) = new.execute("SELECT count(*) FROM deliveries").fetchone()
            assert count == JOBS
        new.close()
    old.close()


async def test_what_belongs_to_unfinished_jobs_is_needed_too(intact: Path, tmp_path: Path) -> None:
    """Also where the index that names them, or another page of the table, is damaged."""
    damaged = tmp_path / "damaged.sqlite"
    content = bytearray(intact.read_bytes())
    zeros(content, index_root(intact, "unfinished_jobs") - 1, random.Random(1))
    damaged.write_bytes(content)
    old = sqlite3.connect(damaged, isolation_level=None)
    new = opened(tmp_path / "new.sqlite")
    room = partial(next, iter([True] * 2), False)
    pieces = Part("pieces", needed=True, keys_from="SELECT id FROM jobs WHERE status = 0")
    saved = salvage(old, new, [Part("jobs", "status = 0", needed=True), pieces], has_space=room)
    assert not saved.all_read
    (count,) = new.execute("SELECT count(*) FROM pieces").fetchone()
    assert count == 4 * 3
    old.close()
    new.close()


async def test_what_cannot_be_written_is_not_damage(intact: Path, tmp_path: Path) -> None:
    """Nothing that is needed is left out in silence."""
    new = opened(tmp_path / "new.sqlite")
    (pages,) = new.execute("PRAGMA page_count").fetchone()
    new.execute(f"PRAGMA max_page_count = {pages + 4}")
    old = sqlite3.connect(intact, isolation_level=None)
    with pytest.raises(OSError, match="full"):
        salvage(old, new, [Part("deliveries", needed=True)])
    old.close()
    new.close()


async def test_a_disk_without_space_for_unfinished_jobs_is_reported(
    intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost: the next start tries again."""
    path = tmp_path / "file.sqlite"
    path.write_bytes(intact.read_bytes())
    damage_table(path, "reports")
    first = [Part("jobs", "status = 0", True)]
    with monkeypatch.context() as patch:
        patch.setattr("infernet_edge.storage.salvage._MIN_FREE", 2**60)
        database = Database(path, ALL, first=first)
        with pytest.raises(StartupError, match=r"No space left on device.*has space"):
            await database.open()
        await database.close()
        assert not path.exists()
        assert not path.with_name(f"{path.name}.saving").exists()
    await _open_and_close(path)
    assert present(path, {"jobs": keys(intact)["jobs"]}) == JOBS


async def test_a_result_of_which_a_piece_is_missing_is_an_error(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        jobs = [made(parts) for _ in range(2)]
        await parts.store.add(jobs)
        for job in jobs:
            await parts.store.finish(job, 1, b'"%b"' % (b"x" * 200_000))
        await parts.database.write(
            lambda connection: (
                connection.execute(
                    "DELETE FROM pieces WHERE job = ? AND position = 1", (jobs[0].key,)
                )
                and None
            )
        )
        await parts.database.write(
            lambda connection: (
                connection.execute(
                    "DELETE FROM pieces WHERE job = ? AND position >= 3", (jobs[1].key,)
                )
                and None
            )
        )
        for job in jobs:
            found = await result(parts, job)
            assert found["status"] == "failed"
            assert "damaged" in found["result"]["error"]


async def test_an_input_of_which_a_piece_is_missing_is_the_jobs_failure(tmp_path: Path) -> None:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with working(tmp_path, document) as parts:
            job = made(parts, data={"text": "x" * 200_000})
            await parts.store.add([job])
            await parts.store.take_data(job)  # from now on it is read from the disk
            await parts.database.write(
                lambda connection: (
                    connection.execute("DELETE FROM pieces WHERE position = 1") and None
                )
            )
            parts.orchestrator.submit(job)
            found = await outcome(parts, job)
            assert "damaged" in found["result"]["error"]


def flip_type(path: Path, containers: str) -> None:
    """Change one bit of a job's header, so that a text becomes bytes; SQLite reads on.

    It has serial types (https://sqlite.org/fileformat.html, 2.1): of the id, the client, the kind
    and the status, which are 0, and of the containers.
    """
    head = bytes([12 + 2 * 16, 13 + 2 * len(CLIENT), 8, 8, 13 + 2 * len(containers)])
    content = bytearray(path.read_bytes())
    assert content.count(head) == 1
    content[content.index(head) + len(head) - 1] ^= 1
    path.write_bytes(content)


async def test_a_value_of_a_wrong_type_is_damage(tmp_path: Path) -> None:
    """In a file that is too large to be checked at its start."""
    async with working(tmp_path) as parts:
        path = parts.database.path
        jobs = [made(parts, containers=("echo" + "o" * number,)) for number in range(4)]
        await parts.store.add(jobs)
    flip_type(path, "echoo")
    database = Database(path, ALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infernet_edge.storage.database._MAX_CHECKED", -1)
        await database.open()
        with pytest.raises(StorageError, match="another type"):
            await database.read(unfinished)
        await database.close()
        assert database.damaged.is_set()
        again = Database(path, ALL)
        await again.open()
        assert len((await again.read(unfinished))[1]) == 3
        await again.close()


@pytest.mark.parametrize("content", [b"\xff", b"", b"reason\n"])
async def test_any_mark_makes_a_new_file_once(intact: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.sqlite"
    path.write_bytes(intact.read_bytes())
    mark = tmp_path / "file.sqlite.damaged"
    mark.write_bytes(content)
    for _ in range(2):
        await _open_and_close(path)
        assert not mark.exists()
        assert len(list(tmp_path.glob("*.corrupt-*"))) == 1
    assert present(path, keys(intact)) == sum(map(len, keys(intact).values()))


async def test_a_mark_without_a_file_is_over(tmp_path: Path) -> None:
    mark = tmp_path / "file.sqlite.damaged"
    mark.write_text("reason")
    await _open_and_close(tmp_path / "file.sqlite")
    assert not mark.exists()


def test_a_mark_stores_any_text_of_sqlite(tmp_path: Path) -> None:
    damage.mark(tmp_path / "file.sqlite", "Could not decode '\udcff\ufffd'")
    assert (tmp_path / "file.sqlite.damaged").read_bytes().decode("ascii", "replace")


async def test_damage_is_noticed_when_no_caller_waits(intact: Path, tmp_path: Path) -> None:
    """Also when the caller was cancelled, and when pages are released."""
    for number in range(2):
        path = tmp_path / f"{number}.sqlite"
        path.write_bytes(intact.read_bytes())
        database = Database(path, ALL)
        await database.open()

        def damaged(connection: sqlite3.Connection) -> None:
            raise damage.corrupt("here")

        if number:
            database.read(damaged).cancel()
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("infernet_edge.storage.database._release_pages", damaged)
                with pytest.raises(StorageError):
                    await database.release_space()
        await database.close()
        assert database.damaged.is_set()
        assert path.with_name(f"{path.name}.damaged").exists()


def test_a_long_search_that_finds_no_row_is_not_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # systemd would end the start, and each further one at the same place.
    monkeypatch.setattr(salvage_module, "_STEPS_AT_ONCE", 1000)
    damaged, target = (opened(tmp_path / name) for name in ("damaged", "target"))
    for each in (damaged, target):
        each.execute("CREATE TABLE items (number INTEGER PRIMARY KEY, name TEXT) STRICT")
    rows = ((number, "x") for number in range(20_000))
    damaged.execute("BEGIN")
    damaged.executemany("INSERT INTO items VALUES (?, ?)", rows)
    damaged.execute("COMMIT")
    calls: list[int] = []
    salvage(damaged, target, [Part("items", "name = 'y'")], calls.append)
    assert calls.count(20_000) > 50
    damaged.close()
    target.close()
