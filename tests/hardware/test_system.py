from __future__ import annotations

import platform
from pathlib import Path

import pytest

from infernet_edge.hardware.system import in_container, read_os
from tests.support.machines import root_of


@pytest.mark.parametrize(
    ("machine", "name", "version"),
    [
        ("raspberry-pi-5", "Debian GNU/Linux", "12 (bookworm)"),
        ("raspberry-pi-4", "Raspbian GNU/Linux", "11 (bullseye)"),
        ("jetson-orin-nano", "Ubuntu", "22.04.4 LTS (Jammy Jellyfish)"),
    ],
)
def test_distributions(machine: str, name: str, version: str) -> None:
    system = read_os(root_of(machine))

    assert (system.name, system.version) == (name, version)


def test_without_os_release_it_is_the_kernel(tmp_path: Path) -> None:
    system = read_os(tmp_path)

    assert (system.name, system.version) == (platform.system(), platform.release())


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NAME=Alpine\nVERSION_ID=3.20.1\n", "3.20.1"),
        ("# rolling\nNAME='Arch Linux'\nBUILD_ID=rolling\n", "rolling"),
        ("NAME=Void\n", platform.release()),
        ('NAME="not closed\nVERSION="1"\n', "1"),
    ],
)
def test_versions(tmp_path: Path, text: str, version: str) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text(text)

    assert read_os(tmp_path).version == version


def test_this_machine() -> None:
    system = read_os(Path("/"))

    assert system.name
    assert system.version


@pytest.mark.parametrize(
    "mark", [".dockerenv", "run/.containerenv", "var/run/secrets/kubernetes.io"]
)
def test_containers_are_recognized(mark: str, tmp_path: Path) -> None:
    assert not in_container(tmp_path)
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).touch()
    assert in_container(tmp_path)
