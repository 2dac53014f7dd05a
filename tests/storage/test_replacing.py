"""The replacement of files of the storage folder; test_kills.py has the kills at each step."""

from __future__ import annotations

from pathlib import Path

from infernet_edge.config.model import DATABASE
from infernet_edge.storage import replacing


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_named_files_are_replaced_and_kept(tmp_path: Path) -> None:
    for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}.damaged", "tokens.json", "log"):
        (tmp_path / name).write_text("old")
    prepared = replacing.prepare(tmp_path)
    for name in (DATABASE, "tokens.json"):
        (prepared / name).write_text("new")
    kept = replacing.replace(tmp_path)
    assert kept is not None
    assert files(kept) == dict.fromkeys(
        (DATABASE, f"{DATABASE}-wal", f"{DATABASE}.damaged", "tokens.json"), "old"
    )
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {DATABASE, "tokens.json", "log", kept.name}
    assert (tmp_path / DATABASE).read_text() == "new"
    assert (tmp_path / "log").read_text() == "old"


def test_a_wal_of_the_previous_database_is_never_beside_the_new_one(tmp_path: Path) -> None:
    """Interrupted after the previous database was moved away."""
    decided = tmp_path / "restored-20260101T000000Z"
    decided.mkdir()
    (decided / DATABASE).write_text("new")
    (tmp_path / f"{DATABASE}-wal").write_text("old")
    replacing.finish(tmp_path)
    assert files(tmp_path) == {
        DATABASE: "new",
        f"before-restore-20260101T000000Z/{DATABASE}-wal": "old",
    }


def test_what_the_new_database_wrote_stays(tmp_path: Path) -> None:
    """Interrupted when only the folder was left."""
    (tmp_path / "restored-20260101T000000Z").mkdir()
    for name in (DATABASE, f"{DATABASE}-wal"):
        (tmp_path / name).write_text("new")
    replacing.finish(tmp_path)
    assert files(tmp_path) == {DATABASE: "new", f"{DATABASE}-wal": "new"}
    assert {path.name for path in tmp_path.iterdir()} == {DATABASE, f"{DATABASE}-wal"}


def test_without_previous_files_none_are_kept(tmp_path: Path) -> None:
    (replacing.prepare(tmp_path) / DATABASE).write_text("new")
    assert replacing.replace(tmp_path) is None
    assert files(tmp_path) == {DATABASE: "new"}


def test_two_in_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    kept = set()
    for number in range(4):
        (replacing.prepare(tmp_path) / DATABASE).write_text(str(number))
        kept.add(replacing.replace(tmp_path))
    assert len(kept) == 4
    assert (tmp_path / DATABASE).read_text() == "3"


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("mine")
    (tmp_path / replacing.PREPARED).symlink_to(tmp_path / "other")
    (tmp_path / "restored-x").symlink_to(tmp_path / "other")
    replacing.finish(tmp_path)
    replacing.discard(tmp_path)
    assert (tmp_path / "other/file").read_text() == "mine"
    assert not (tmp_path / replacing.PREPARED).is_symlink()
