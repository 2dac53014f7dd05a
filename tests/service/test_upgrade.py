"""Installation and upgrades below a folder of the test's, with a systemd that is played."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.service import commands, unit
from infernet_edge.service.access import CannotGrant, drop_in
from infernet_edge.service.commands import Output
from infernet_edge.service.installation import Installer, OtherVersion
from infernet_edge.service.paths import Paths
from infernet_edge.service.programs import NotOurs, Program, Programs, digest_of_file
from infernet_edge.service.steps import carry_out
from infernet_edge.service.upgrade import Upgrade, UpgradeFailed, expected_digest
from tests.support.process import ROOT

# In the place of the executable; what its node does is decided by the file `behaviour` beside it.
PROGRAM = """\
#!/bin/sh
case "$1 $2" in
"version ") echo "infernet-edge {version} (speaks Infernet 1.4.0)" ;;
"service unpack")
    mkdir -p "$3/infernet_edge/service"
    cp "$0" "$3/infernet-edge"
    cp -r {root}/systemd "$3/infernet_edge/service/units"
    echo "# {version}" >> "$3/infernet_edge/service/units/infernet-edge.service" ;;
"check --config") echo checked; exit {check} ;;
*) exit 9 ;;
esac
"""


class Systemd:
    """Answers for systemctl and journalctl; `broken` holds the versions that do not start."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.broken: set[str] = set()
        self.active = ""
        self.enabled: set[str] = set()
        self.commands: list[list[str]] = []

    def __call__(
        self,
        arguments: Sequence[str],
        timeout: float,
        environment: Mapping[str, str] | None = None,
    ) -> Output:
        if Path(arguments[0]).is_absolute():
            return commands.run(arguments, timeout, environment)
        self.commands.append(list(arguments))
        answer = getattr(self, f"_{arguments[1].replace('-', '_')}", None)
        return answer(arguments) if answer else Output(0, "a last line")

    def _restart(self, arguments: Sequence[str]) -> Output:
        version = self.paths.current.readlink().name
        self.active = "" if version in self.broken else version
        return Output(0 if self.active else 1, "")

    def _show(self, arguments: Sequence[str]) -> Output:
        state = "active" if self.active else "failed"
        return Output(0, f"ActiveState={state}\nInvocationID={self.active}\nResult=exit-code")

    def _is_enabled(self, arguments: Sequence[str]) -> Output:
        return Output(0, "enabled" if arguments[2] in self.enabled else "disabled")

    def _enable(self, arguments: Sequence[str]) -> Output:
        self.enabled.add(arguments[-1])
        return Output(0, "")


class Place:
    """A machine, as far as files go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = Paths(folder / "root")
        self.systemd = Systemd(self.paths)
        me = pwd.getpwuid(os.getuid()).pw_name
        self.installer = Installer(self.paths, self.systemd, owner=me)
        self.programs = Programs(self.paths, self.systemd)
        self.told: list[str] = []

    def binary(self, version: str, check: int = 0) -> Path:
        """An executable of this version."""
        path = self.folder / f"infernet-edge-{version}"
        path.write_text(PROGRAM.format(version=version, check=check, root=ROOT))
        path.chmod(0o755)
        return path

    def install(
        self, version: str = "1.0", given: Path | None = None, *, dry_run: bool = False
    ) -> int:
        """Install as the running executable would; returns how many steps that took."""
        unpacked = self.folder / f"unpacked-{version}"
        if not unpacked.exists():
            commands.run([str(self.binary(version)), "service", "unpack", str(unpacked)], 10)
        steps = self.installer.install(Program(unpacked, version), given, rootless=False)
        return carry_out(steps, self.told.append, dry_run=dry_run)

    def upgrade(self, binary: Path, sha256: str = "") -> None:
        Upgrade(self.installer, self.paths, self.systemd, self.told.append).to(binary, sha256, 5)

    def installed(self) -> list[str]:
        return sorted(path.name for path in self.paths.programs.iterdir())

    def unit(self) -> str:
        return (self.paths.units / "infernet-edge.service").read_text()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(unit, "_STEADY", 0.01)
    monkeypatch.setattr("infernet_edge.service.installation._has_account", lambda: True)
    return Place(tmp_path)


@pytest.fixture
def installed(place: Place) -> Place:
    place.install()
    place.told.clear()
    return place


def test_installed_once(place: Place) -> None:
    assert place.install() > 10
    assert place.installed() == ["1.0", "current"]
    assert place.systemd.active == "1.0"
    assert place.systemd.enabled == {"infernet-edge.service", "infernet-edge-podman.socket"}
    config = place.paths.settings / "config.toml"
    assert f'path = "{place.paths.state}"' in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o600
    assert place.paths.command.resolve() == place.paths.programs / "1.0/infernet-edge"
    assert place.install() == 0


def test_a_given_configuration_is_copied_once(place: Place) -> None:
    given = place.folder / "my.conf"
    given.write_text('{"jobs": {"max_pending": 5}}')
    place.install(given=given)
    copied = place.paths.settings / "config.json"
    assert copied.read_text() == given.read_text()
    given.write_text("{}")
    assert place.install(given=given) == 0
    assert not (place.paths.settings / "config.toml").exists()


def test_a_dry_run_shows_no_secrets(place: Place) -> None:
    given = place.folder / "my.json"
    given.write_text('{"chain": {"wallet": {"private_key": "%s"}}}' % ("5ec2e7" * 10 + "abcd"))
    assert place.install(given=given, dry_run=True) > 10
    told = "\n".join(place.told)
    assert f"a copy of {given}" in told
    assert "5ec2e7" not in told


def test_what_somebody_removed_comes_back(installed: Place) -> None:
    shutil.rmtree(installed.paths.programs / "1.0")
    (installed.paths.units / "infernet-edge.service").write_text("changed")
    assert installed.install() >= 3
    assert installed.unit().endswith("# 1.0\n")
    assert installed.programs.current() is not None


def test_another_version_is_not_installed_over_it(installed: Place) -> None:
    with pytest.raises(OtherVersion, match="service upgrade"):
        installed.install("2.0")


def test_an_upgrade_brings_its_unit_files(installed: Place) -> None:
    binary = installed.binary("2.0")
    installed.upgrade(binary, digest_of_file(binary))
    assert installed.installed() == ["1.0", "2.0", "current"]
    assert installed.systemd.active == "2.0"
    assert installed.unit().endswith("# 2.0\n")
    installed.upgrade(installed.binary("3.0"))
    assert installed.installed() == ["2.0", "3.0", "current"]


def test_a_version_that_does_not_start_is_taken_back(installed: Place) -> None:
    installed.systemd.broken = {"2.0"}
    with pytest.raises(UpgradeFailed, match=r"2\.0 was taken back and 1\.0 runs again") as failed:
        installed.upgrade(installed.binary("2.0"))
    assert "a last line" in str(failed.value)
    assert installed.systemd.active == "1.0"
    assert installed.installed() == ["1.0", "current"]
    assert installed.unit().endswith("# 1.0\n")
    assert ["systemctl", "daemon-reload"] in installed.systemd.commands


def test_when_both_do_not_start_both_are_told(installed: Place) -> None:
    installed.systemd.broken = {"1.0", "2.0"}
    with pytest.raises(UpgradeFailed, match=r"1\.0 does not start any more either"):
        installed.upgrade(installed.binary("2.0"))
    assert installed.paths.current.readlink() == Path("1.0")


def test_an_interrupted_upgrade_goes_back(
    installed: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, times = unit.restart, []

    def restart(*arguments: Any) -> None:
        times.append(1)
        if len(times) == 1:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(unit, "restart", restart)
    with pytest.raises(UpgradeFailed):
        installed.upgrade(installed.binary("2.0"))
    assert installed.systemd.active == "1.0"
    assert installed.installed() == ["1.0", "current"]


def test_the_kept_version_survives_a_failed_way_back_to_it(installed: Place) -> None:
    installed.upgrade(installed.binary("2.0"))
    installed.systemd.broken = {"1.0"}
    with pytest.raises(UpgradeFailed, match="taken back"):
        installed.upgrade(installed.binary("1.0"))
    assert installed.installed() == ["1.0", "2.0", "current"]


def test_a_version_that_does_not_take_the_configuration(installed: Place) -> None:
    with pytest.raises(UpgradeFailed, match="cannot use this configuration"):
        installed.upgrade(installed.binary("2.0", check=78))
    assert installed.systemd.active == "1.0"
    assert installed.installed() == ["1.0", "current"]


def test_files_that_are_no_upgrade(installed: Place) -> None:
    wrong = installed.folder / "wrong"
    wrong.write_text("#!/bin/sh\necho something else\n")
    with pytest.raises(NotOurs, match="something else"):
        installed.upgrade(wrong)
    with pytest.raises(UpgradeFailed, match="cannot be read"):
        installed.upgrade(installed.folder / "absent")
    with pytest.raises(UpgradeFailed, match="not the file it should be"):
        installed.upgrade(installed.binary("2.0"), "0" * 64)
    installed.upgrade(installed.binary("1.0"))
    assert installed.told[-1] == "Version 1.0 runs already; nothing was changed."
    assert installed.installed() == ["1.0", "current"]


def test_another_build_of_the_same_version(installed: Place) -> None:
    binary = installed.binary("1.0")
    binary.write_text(binary.read_text() + "# built again\n")
    installed.upgrade(binary)
    other = next(name for name in installed.installed() if "+" in name)
    assert other.startswith("1.0+")
    assert installed.paths.current.readlink() == Path(other)


def test_nothing_to_upgrade(place: Place) -> None:
    with pytest.raises(UpgradeFailed, match="service install"):
        place.upgrade(place.binary("2.0"))


def test_the_digest_to_compare_with(tmp_path: Path) -> None:
    binary, digest = tmp_path / "x", "aB" * 32
    assert expected_digest(binary, None) == ""
    assert expected_digest(binary, f" {digest} ") == digest.lower()
    (tmp_path / "x.sha256").write_text(f"{'c' * 64}  x\n")
    assert expected_digest(binary, None) == "c" * 64
    for wrong in ("", "abc", "g" * 64):
        (tmp_path / "x.sha256").write_text(wrong)
        for given in (wrong, None):
            with pytest.raises(UpgradeFailed, match="64 hexadecimal digits"):
                expected_digest(binary, given)


def test_what_the_configuration_names_is_granted(installed: Place, tmp_path: Path) -> None:
    paths = installed.paths
    assert drop_in(paths) == ""
    (paths.credentials / "server.tokens.phone").write_text("0123456789abcdef")
    (paths.settings / "config.toml").write_text(
        '[storage]\npath = "/mnt/disk/node"\n[log]\npath = "/mnt/log/node.log"\n'
    )
    assert drop_in(paths).splitlines()[1:] == [
        "[Service]",
        f"LoadCredential=server.tokens.phone:{paths.credentials}/server.tokens.phone",
        "ReadWritePaths=-/mnt/disk/node",
        "ReadWritePaths=-/mnt/log",
    ]
    assert installed.install() > 0
    assert "LoadCredential" in paths.access.read_text()
    (paths.credentials / "a:b").touch()
    with pytest.raises(CannotGrant, match="Rename it"):
        drop_in(paths)


@pytest.mark.parametrize("purge", [False, True])
def test_uninstalled(installed: Place, purge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    installed.paths.state.mkdir(parents=True)
    carry_out(installed.installer.uninstall(purge=purge), installed.told.append)
    paths = installed.paths
    for path in (paths.programs, paths.command, paths.units / "infernet-edge.service"):
        assert not path.exists()
    assert paths.state.exists() is not purge
    assert paths.settings.exists() is not purge
    assert (["userdel", "infernet-edge"] in installed.systemd.commands) is purge
    monkeypatch.setattr("infernet_edge.service.installation._has_account", lambda: False)
    assert carry_out(installed.installer.uninstall(purge=purge), installed.told.append) == 0


def test_subordinate_ids_do_not_overlap(installed: Place) -> None:
    paths = installed.paths
    paths.subordinate_ids.write_text("pi:100000:65536\nother:300000:65536\nodd line\n")
    program = installed.programs.current()
    assert program is not None
    carry_out(installed.installer.install(program, None, rootless=True), installed.told.append)
    span = "365536-431071"
    wanted = ["usermod", "--add-subuids", span, "--add-subgids", span, "infernet-edge"]
    assert wanted in installed.systemd.commands
    assert paths.rootless.exists()
    shutil.rmtree(paths.root)
