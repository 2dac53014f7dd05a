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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("noexec", "/tmp/_MEI"),
        ("noexec", "failed to map segment from shared object"),
        ("size=10m", "Set TMPDIR (needs 40 MB)"),
        ("nr_inodes=4", "Set TMPDIR"),
    ],
)
def test_a_tmp_that_cannot_be_used(bare_root: BareRoot, options: str, words: str) -> None:
    """The text says what to do; that for noexec, of the C library, is in the troubleshooting."""
    mounted = [f"-t tmpfs -o {options} tmpfs {{root}}/tmp"]
    told = bare_root.run("version", mounted=mounted)
    assert told.returncode != 0
    assert words in told.stderr
    told = bare_root.run("version", mounted=mounted, environment={"TMPDIR": "/var/tmp"})
    assert told.returncode == 0, told.stderr


def test_a_tmp_that_is_read_only(bare_root: BareRoot) -> None:
    """Another place is found then."""
    told = bare_root.run("version", mounted=["-t tmpfs -o ro tmpfs {root}/tmp"])
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("command", ["check", "run", "doctor", "status", "jobs", "wallet show"])
def test_without_a_home_every_command_says_what_to_do(bare_root: BareRoot, command: str) -> None:
    assert not (bare_root.folder / "etc/passwd").exists()  # so the user has no account
    told = bare_root.run(*command.split(), environment={"HOME": None})
    assert told.returncode == 78
    assert "set storage.path" in told.stdout + told.stderr
    assert "Traceback" not in told.stderr


def test_without_a_home_the_rest_works(bare_root: BareRoot) -> None:
    storage = {"HOME": None, "INFERNET_EDGE_STORAGE__PATH": "/var/tmp/data"}
    for command, code in (("check", 0), ("status", 1), ("init --yes --output /tmp/c.toml", 0)):
        told = bare_root.run(*command.split(), environment=storage)
        assert told.returncode == code, told.stderr
        assert "Traceback" not in told.stderr
    told = bare_root.run("demo", "--once", environment={"HOME": None})
    assert told.returncode == 0, told.stderr
