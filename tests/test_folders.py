from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from infernet_edge.folders import (
    MARK,
    TemporaryFolder,
    abandoned_folders,
    remove_abandoned_folders,
    runtime_folders,
)

_HOLDER = """
import sys, time
from infernet_edge.folders import TemporaryFolder
print(TemporaryFolder(parent=sys.argv[1]).path, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders are made, apart from those of other programs."""
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_for_its_process_alone_and_removed_at_the_end(temporary: Path) -> None:
    with TemporaryFolder() as path:
        assert path.parent == temporary
        assert path.name.startswith("infernet-edge-")
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "below").mkdir()
        assert abandoned_folders() == []
        assert remove_abandoned_folders() == []
    assert not path.exists()
    folder = TemporaryFolder()
    folder.remove()
    folder.remove()


def test_that_of_a_killed_process_is_abandoned_at_once(temporary: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(temporary)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    path = Path(holder.stdout.readline().strip())
    assert path.is_dir()
    assert abandoned_folders() == []
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    holder.stdout.close()
    assert abandoned_folders() == [path]
    assert remove_abandoned_folders() == [path]
    assert list(temporary.iterdir()) == []


def test_only_what_is_certainly_of_no_use_is_removed(temporary: Path) -> None:
    kept = temporary / "infernet-edge-demo-abcdefgh"  # of `demo --keep`
    (kept / "data").mkdir(parents=True)
    named = temporary / "infernet-edge-backupss"
    named.mkdir()
    (named / "file").touch()
    (temporary / "infernet-edge-link").symlink_to(kept)
    (temporary / "infernet-edge-file").touch()
    other = temporary / "other-folder"
    other.mkdir()
    (other / MARK).touch()
    unmarked = temporary / "infernet-edge-a1_b2c3d"  # of earlier versions
    unmarked.mkdir()
    (unmarked / "podman.sock").touch()
    assert remove_abandoned_folders([other, temporary / "absent"]) == [unmarked]
    assert len(list(temporary.iterdir())) == 5
    assert (kept / "data").is_dir()


def test_folders_elsewhere_are_found_when_they_are_named(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = temporary / "elsewhere"
    left = elsewhere / "infernet-edge-demo-x"
    left.mkdir(parents=True)
    (left / MARK).touch()
    assert abandoned_folders() == []
    assert abandoned_folders([left]) == [left]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(elsewhere))
    assert runtime_folders() == [str(elsewhere)]
    assert abandoned_folders([left]) == [left]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_those_of_others_are_left_alone(temporary: Path) -> None:
    theirs = temporary / "infernet-edge-theirs"
    theirs.mkdir()
    (theirs / MARK).touch()
    os.chown(theirs, 65534, 65534)
    assert remove_abandoned_folders() == []


def test_one_that_is_removed_before_it_is_locked_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node may check it after it is made and before it is locked."""
    real = tempfile.mkdtemp
    taken: list[int] = []

    def mkdtemp(**given: str) -> str:
        path = real(**given)
        if not taken:
            taken.append(os.open(path, os.O_RDONLY))
            fcntl.flock(taken[0], fcntl.LOCK_EX)
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with TemporaryFolder() as path:
        os.close(taken[0])
        assert [each.name for each in temporary.iterdir()] == [path.name]
        assert abandoned_folders() == []


def test_many_are_bounded(temporary: Path) -> None:
    for number in range(300):
        folder = temporary / f"infernet-edge-{number:03}"
        folder.mkdir()
        (folder / MARK).touch()
    begin = time.monotonic()
    assert len(remove_abandoned_folders()) == 256
    assert time.monotonic() - begin < 60
