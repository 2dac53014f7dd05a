from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from infernet_edge.doctor import commands
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.user import this_user, user_named
from tests.support.examining import with_file
from tests.support.running import configuration


def test_root_needs_no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert commands.as_root("rm", "a b") == "rm 'a b'"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert commands.as_root("rm", Path("/a b")) == "sudo rm '/a b'"


def test_the_owner_needs_no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    assert commands.as_owner(this_user(), "chmod", "go=", "x") == "chmod go= x"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert commands.as_owner(user_named("root"), "chmod", "go=", "x") == "sudo chmod go= x"
    assert commands.as_owner(None, "chmod", "go=", "x") == "sudo chmod go= x"


def test_packages_are_those_of_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commands.install_package("podman") == ""
    with_file(tmp_path, "apt-get").joinpath("apt-get").chmod(0o755)
    assert commands.install_package("podman").endswith("apt-get install --yes podman")


def test_this_program_is_named_so_that_every_folder_and_sudo_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands.program() == [sys.executable, "-m", "infernet_edge"]
    script = with_file(tmp_path, "infernet-edge") / "infernet-edge"
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert commands.program() == [str(script)]
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(script))
    assert commands.program() == [str(script)]
    script.chmod(0o755)
    monkeypatch.setattr(commands, "_PUBLIC_FOLDERS", (str(tmp_path),))
    assert commands.program() == ["infernet-edge"]


async def test_the_configuration_is_named_that_was_given(tmp_path: Path) -> None:
    source = tmp_path / "my config.json"
    case = Case(configuration(tmp_path), source)
    assert case.command("run").endswith(f" run --config '{source}'")
    await case.close()
    case = Case(configuration(tmp_path))
    assert case.command("run").endswith(" run")
    await case.close()
