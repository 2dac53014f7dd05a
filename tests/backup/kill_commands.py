"""Kills `backup` and `restore` at each step; run by test_kills.py in a process of its own.

python -m tests.backup.kill_commands backup|restore FOLDER
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

from infernet_edge.backup import restoring  # noqa: F401 - imported before the steps are counted
from infernet_edge.backup.archive import Verification, read_archive
from infernet_edge.cli.main import main
from infernet_edge.config.model import DATABASE
from infernet_edge.node import all_migrations
from infernet_edge.storage.database import Database
from tests.support.archives import make_archive, make_database, marks
from tests.support.killed_steps import kill_at_each_step

OLD, NEW = [1, 2, 3], [1, 2, 3, 4, 5]


def run(*words: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return main(words)


def start(folder: Path) -> list[int]:
    """What the next start of the node finds; it opens the database as the node does."""

    async def opened() -> None:
        database = Database(folder / DATABASE, all_migrations(chain=False))
        await database.open()
        await database.close()

    asyncio.run(opened())
    return marks(folder / DATABASE)


def kill_restore(base: Path) -> int:
    data, config, archive = base / "data", base / "config.json", base / "b.tar"
    config.write_text(json.dumps({"storage": {"path": str(data)}}))
    made = make_database(base / "new" / DATABASE, NEW)
    archive.write_bytes(make_archive(made.read_bytes(), {"tokens.json": b"new"}))
    seen = set()

    def set_up() -> None:
        shutil.rmtree(data, ignore_errors=True)
        make_database(data / DATABASE, OLD)
        (data / "tokens.json").write_text("old")
        (data / "log").write_text("mine")

    def check(step: int) -> None:
        found = start(data)
        tokens = (data / "tokens.json").read_text()
        assert (found, tokens) in ((OLD, "old"), (NEW, "new")), (step, found, tokens)
        assert (data / "log").read_text() == "mine"
        kept = list(data.glob("before-restore-*"))
        names = {path.name for path in data.iterdir()} - {path.name for path in kept}
        assert names == {DATABASE, "tokens.json", "log", "lock"}, (step, names)
        if found == NEW:
            [folder] = kept
            assert marks(folder / DATABASE) == OLD
            assert (folder / "tokens.json").read_text() == "old"
        seen.add(tokens)

    steps = kill_at_each_step(
        set_up, lambda: run("restore", str(archive), "--config", str(config)), check
    )
    assert seen == {"old", "new"}
    return steps


def kill_backup(base: Path) -> int:
    data, config, folder = base / "data", base / "config.json", base / "out"
    config.write_text(json.dumps({"storage": {"path": str(data)}}))
    target = folder / "b.tar"
    folder.mkdir()

    def set_up() -> None:
        target.unlink(missing_ok=True)
        shutil.rmtree(data, ignore_errors=True)
        make_database(data / DATABASE, OLD)

    def check(step: int) -> None:
        assert start(data) == OLD
        names = {path.name for path in folder.iterdir()}
        assert names <= {"b.tar", ".b.tar.partial"}, (step, names)
        if target.exists():
            checked = Verification()
            with target.open("rb") as file:
                for opened in read_archive(file):
                    checked.copy(opened, None)
            checked.finish()

    steps = kill_at_each_step(
        set_up, lambda: run("backup", str(target), "--config", str(config)), check
    )
    assert {path.name for path in folder.iterdir()} == {"b.tar"}  # the last run was whole
    return steps


if __name__ == "__main__":
    all_migrations(chain=True)  # imports what the children need
    print({"backup": kill_backup, "restore": kill_restore}[sys.argv[1]](Path(sys.argv[2])))
