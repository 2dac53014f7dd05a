"""Which folders of a killed executable are removed; with one: executable/test_leftovers.py."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infernet_edge import unpacked
from infernet_edge.executable import MARK, PROGRAM, lock_folder
from tests.support.client import eventually


def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def folder(parent: Path, process: int | None = None) -> Path:
    """A folder as the bootloader makes it."""
    path = parent / f"_MEI{dead() if process is None else process:08x}aBc123"
    (path / "package").mkdir(parents=True)
    path.chmod(0o700)
    for file in (path / MARK, path / PROGRAM, path / "package/library.so"):
        file.write_bytes(bytes(1000))
    return path


@contextmanager
def running(*command: str, **environment: str) -> Iterator[int]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def remove(parent: Path) -> list[Path]:
    return unpacked.remove_abandoned({"TMPDIR": str(parent)}, root=parent / "no-root")


def found(parent: Path) -> list[Path]:
    return unpacked.abandoned({"TMPDIR": str(parent)}, root=parent / "no-root")


def test_what_killed_programs_left_is_removed(tmp_path: Path) -> None:
    left = [folder(tmp_path), folder(tmp_path)]
    assert found(tmp_path) == sorted(left)
    assert unpacked.size_of(left[0]) == 3000
    assert remove(tmp_path) == sorted(left)
    assert list(tmp_path.iterdir()) == []
    assert remove(tmp_path) == found(tmp_path) == []


def test_one_that_was_not_unpacked_to_its_end(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / PROGRAM).unlink()
    shutil.rmtree(path / "package")
    assert remove(tmp_path) == [path]


def test_all_folders_of_the_bootloader(tmp_path: Path) -> None:
    names = ("tmp", "var/tmp", "TMPDIR", "TEMP", "TMP")
    left = {folder(tmp_path / name) for name in names}
    environment = {name: str(tmp_path / name) for name in ("TMPDIR", "TEMP", "TMP")}
    assert set(unpacked.remove_abandoned(environment, root=tmp_path)) == left
    nowhere = {"TMPDIR": str(tmp_path / "none"), "TEMP": "", "TMP": str(tmp_path / ("a" * 300))}
    assert unpacked.remove_abandoned(nowhere, root=tmp_path) == []


def test_while_the_bootloader_lives(tmp_path: Path) -> None:
    with running("sleep", "60") as process:
        path = folder(tmp_path, process)
        assert remove(tmp_path) == []
    assert remove(tmp_path) == [path]


def test_nothing_to_remove_costs_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A one-file executable always sees at least its own folder."""
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits"))
    folder(tmp_path, os.getpid())
    assert remove(tmp_path) == []


def test_a_bootloader_that_is_a_zombie(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    path = folder(tmp_path, process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{process.pid}").exists()
    assert remove(tmp_path) == [path]
    process.wait()


def test_while_a_program_holds_it(tmp_path: Path) -> None:
    path = folder(tmp_path)
    hold = (
        "import sys, time; from infernet_edge.executable import lock_folder;"
        f"sys.frozen = True; sys.executable = {str(path / PROGRAM)!r}; lock_folder();"
        "print('held', flush=True); time.sleep(60)"
    )
    with running(sys.executable, "-c", hold, PYTHONPATH=str(Path.cwd())) as process:
        eventually(lambda: _has_open(process, path / MARK))
        assert remove(tmp_path) == found(tmp_path) == []
    assert remove(tmp_path) == [path]


def _has_open(process: int, file: Path) -> bool:
    descriptors = Path(f"/proc/{process}/fd").iterdir()
    return any(os.path.realpath(descriptor) == str(file) for descriptor in descriptors)


def test_two_programs_may_hold_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(path / PROGRAM))
    lock_folder()
    with (path / MARK).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_while_a_program_is_started(tmp_path: Path) -> None:
    path = folder(tmp_path)
    with running("sleep", "60", _PYI_APPLICATION_HOME_DIR=str(path)):
        assert remove(tmp_path) == []
    assert remove(tmp_path) == [path]


def test_while_a_program_runs_from_it(tmp_path: Path) -> None:
    path = folder(tmp_path)
    program = path / PROGRAM
    shutil.copy("/bin/sleep", program)
    with running(str(program), "60"):
        assert remove(tmp_path) == []
    assert remove(tmp_path) == [path]


def test_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere, parent = tmp_path / "elsewhere", tmp_path / "parent"
    target = folder(elsewhere)
    parent.mkdir()
    (parent / target.name).symlink_to(target)
    marked = folder(parent)
    (marked / MARK).unlink()
    (marked / MARK).symlink_to(target / MARK)
    assert remove(parent) == []
    left = folder(parent)
    (left / "link").symlink_to(elsewhere)
    (left / "package/link").symlink_to(target / PROGRAM)
    assert unpacked.size_of(left) == 3000
    assert remove(parent) == [left]
    assert (target / PROGRAM).exists()
    assert (target / "package/library.so").exists()
    assert marked.exists()


def test_what_is_not_surely_of_this_program_stays(tmp_path: Path) -> None:
    for name in ("_MEIabc123", "_MEI0000zzzzabcdef", "_MEI00001234abcdefg", "other"):
        shutil.copytree(folder(tmp_path / "made"), tmp_path / name)
    other = folder(tmp_path)
    (other / MARK).unlink()
    (tmp_path / f"_MEI{dead():08x}abcdef").write_text("a file")
    pipe = folder(tmp_path)
    (pipe / MARK).unlink()
    os.mkfifo(pipe / MARK)
    before = sorted(tmp_path.rglob("*"))
    assert remove(tmp_path) == found(tmp_path) == []
    assert sorted(tmp_path.rglob("*")) == before


def test_what_others_own_or_may_enter_stays(tmp_path: Path) -> None:
    path = folder(tmp_path)
    path.chmod(0o755)
    assert remove(tmp_path) == []
    path.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        assert remove(tmp_path) == []
        os.chown(path, 0, 0)
    assert remove(tmp_path) == [path]
