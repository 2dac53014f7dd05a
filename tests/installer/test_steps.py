"""Steps: each is done when it is needed, told in a dry run, and done but once."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from infernet_edge.installer.commands import CommandFailed, Output, must, run
from infernet_edge.installer.steps import (
    Step,
    carry_out,
    make_folder,
    make_link,
    never,
    remove,
    run_command,
    set_rights,
    write_file,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def twice(step: Step) -> list[str]:
    """What is told when the step is carried out, and then once more."""
    told: list[str] = []
    carry_out([step], told.append)
    carry_out([step], told.append)
    return told


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "below" / "file"
    assert len(twice(write_file(path, "text\n", 0o600))) == 1
    assert path.read_text() == "text\n"
    assert mode(path) == 0o600
    assert list(path.parent.iterdir()) == [path]
    path.chmod(0o644)
    assert len(twice(write_file(path, "text\n", 0o600))) == 1
    assert mode(path) == 0o600
    assert len(twice(write_file(path, "other\n", 0o600))) == 1
    assert path.read_text() == "other\n"
    path.write_bytes(b"\xff")
    assert len(twice(write_file(path, "other\n", 0o600))) == 1


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(LookupError):
        carry_out([write_file(path, "x", owner="no-such-user")], print)
    assert list(tmp_path.iterdir()) == []


def test_folders_links_rights_and_removal(tmp_path: Path) -> None:
    folder, link = tmp_path / "a/b", tmp_path / "link"
    assert len(twice(make_folder(folder, 0o700))) == 1
    assert mode(folder) == 0o700
    assert len(twice(set_rights(folder, 0o750, ""))) == 1
    assert mode(folder) == 0o750
    assert len(twice(make_link(link, Path("a/b")))) == 1
    assert len(twice(make_link(link, Path("a")))) == 1
    assert link.readlink() == Path("a")
    assert len(twice(remove(link))) == 1
    assert folder.is_dir()
    assert len(twice(remove(tmp_path / "a"))) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_tells_the_same_and_changes_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "file"
    assert carry_out([write_file(path, "one\ntwo\n")], told.append, dry_run=True) == 1
    assert told == [f"Write {path} (mode 0644)", "    one", "    two"]
    assert not path.exists()


def test_a_step_follows_those_that_were_done(tmp_path: Path) -> None:
    commands: list[list[str]] = []

    def note(arguments: object, timeout: float, environment: object = None) -> Output:
        commands.append(list(arguments))  # type: ignore[call-overload]
        return Output(0, "")

    file = write_file(tmp_path / "unit", "x")
    reload = run_command(note, ["systemctl", "daemon-reload"], never, [file])
    for _ in range(2):
        carry_out([file, reload], lambda text: None)
    assert commands == [["systemctl", "daemon-reload"]]


def test_a_program_gets_a_plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/bundle")
    told = run(["env"], 10, {"TMPDIR": "/there"}).text.splitlines()
    names = {line.partition("=")[0] for line in told}
    assert names == {"PATH", "LC_ALL", "SYSTEMD_COLORS", "SYSTEMD_PAGER", "TMPDIR"}


def test_programs_that_fail() -> None:
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"], 10) == Output(3, "out\nerr")
    with pytest.raises(CommandFailed, match=r"sleep 5 did not end within 0\.1 seconds"):
        run(["sleep", "5"], 0.1)
    with pytest.raises(CommandFailed, match="/no/such cannot be started: No such file"):
        run(["/no/such"], 1)
    with pytest.raises(CommandFailed, match="x y failed: words"):
        must(Output(1, "words"), ["x", "y"])
    with pytest.raises(CommandFailed, match="x failed: exit code 4"):
        must(Output(4, ""), ["x"])
