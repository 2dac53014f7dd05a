"""What the executable does for itself, tried without one; with one: tests/executable/."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from infernet_edge.executable import PROGRAM, is_frozen, restore_environment, unpack


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a running executable, with the permissions that the bootloader sets."""
    folder = tmp_path / "bundle"
    (folder / "package").mkdir(parents=True, mode=0o700)
    for path in (folder / PROGRAM, folder / "package/library.so"):
        path.write_text(path.name)
        path.chmod(0o700)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(folder / PROGRAM))
    return folder


def test_a_python_is_not_the_executable(tmp_path: Path) -> None:
    assert not is_frozen()
    with pytest.raises(RuntimeError):
        unpack(tmp_path / "there")


def test_child_processes_get_the_environment_that_was() -> None:
    environment = {
        "PATH": "/bin",
        "LD_LIBRARY_PATH": "/bundle",
        "LD_LIBRARY_PATH_ORIG": "/own",
        "_PYI_ARCHIVE_FILE": "/bundle/infernet-edge",
    }
    restore_environment(environment)
    assert environment == {"PATH": "/bin", "LD_LIBRARY_PATH": "/own"}
    environment = {"LD_LIBRARY_PATH": "/bundle"}
    restore_environment(environment)
    assert environment == {}


@pytest.mark.usefixtures("bundle")
def test_all_users_may_start_the_unpacked_form(tmp_path: Path) -> None:
    folder = tmp_path / "opt" / "1.0"
    assert unpack(folder) == folder / PROGRAM
    permissions = {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in [folder, *folder.rglob("*")]
    }
    assert permissions == {
        ".": 0o755,
        PROGRAM: 0o755,
        "package": 0o755,
        "package/library.so": 0o644,
    }
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.usefixtures("bundle")
def test_what_is_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "1.0"
    folder.mkdir()
    (folder / "mine").touch()
    with pytest.raises(FileExistsError):
        unpack(folder)
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_failure_leaves_nothing_behind(bundle: Path, tmp_path: Path) -> None:
    (bundle / "package/gone").symlink_to("nowhere")
    with pytest.raises(OSError, match="gone"):
        unpack(tmp_path / "opt" / "1.0")
    assert list((tmp_path / "opt").iterdir()) == []
