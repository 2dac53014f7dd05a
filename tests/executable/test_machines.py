"""The one-file executable on a bare Debian 12: no Python, no Podman, and some hardships."""

from __future__ import annotations

import pytest

from tests.support.executable import BareRoot


def test_there_is_no_python(bare_root: BareRoot) -> None:
    assert not list(bare_root.folder.rglob("*python*"))
    told = bare_root.run("version")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("infernet-edge ")


def test_demo(bare_root: BareRoot) -> None:
    told = bare_root.run("demo", "--once")
    assert told.returncode == 0, told.stderr
    assert "Podman is not installed" in told.stdout.replace("\n", " ")
    assert '{"rating": "positive", "confidence": ' in told.stdout


@pytest.mark.parametrize(
    "locale",
    [{}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LANG": "xx_XX"}, {"LANG": "ja_JP.eucJP"}],
    ids=str,
)
def test_any_locale_will_do(bare_root: BareRoot, locale: dict[str, str]) -> None:
    told = bare_root.run("check", environment=locale)
    assert (told.returncode, told.stderr) == (0, "")


def test_a_home_that_cannot_be_written(bare_root: BareRoot) -> None:
    read_only = ["--bind {root}/home {root}/home", "-o remount,ro,bind {root}/home"]
    assert bare_root.run("check", mounted=read_only).returncode == 0
    told = bare_root.run("run", mounted=read_only)
    assert told.returncode == 1
    assert "set storage.path" in told.stderr
    assert "Traceback" not in told.stderr


def test_where_nothing_in_tmp_may_be_executed(bare_root: BareRoot) -> None:
    noexec = ["-t tmpfs -o noexec tmpfs {root}/tmp"]
    told = bare_root.run("version", mounted=noexec)
    assert told.returncode != 0
    # The README names these words, and what to do.
    assert "failed to map segment from shared object" in told.stderr
    told = bare_root.run("version", mounted=noexec, environment={"TMPDIR": "/var/tmp"})
    assert told.returncode == 0, told.stderr
