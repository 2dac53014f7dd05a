"""Installation and upgrades below a folder of the test's, with a systemd that is played."""

from __future__ import annotations

import os
import pkgutil
import pwd
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.paths import NODE_UNIT
from infernet_edge.installer import commands, migration_check, steps, unit
from infernet_edge.installer.commands import Output
from infernet_edge.installer.drop_in import CannotGrant, drop_in
from infernet_edge.installer.installation import Installer, OtherVersion
from infernet_edge.installer.paths import TRIAL_UNIT, Paths
from infernet_edge.installer.steps import carry_out
from infernet_edge.installer.trial import AnotherUpgrade, Machine, Trial
from infernet_edge.installer.upgrade import Upgrade, UpgradeFailed, expected_digest
from infernet_edge.installer.versions import NotOurs, Program, Programs, digest_of_file
from tests.support.process import ROOT

# In the place of the executable; what its node does is decided by the file `behaviour` beside it.
PROGRAM = """\
#!/bin/sh
case "$1 $2" in
"version ") echo "infernet-edge {version} (speaks Infernet 1.4.0)" ;;
"service unpack")
    mkdir -p "$3/infernet_edge/installer"
    cp "$0" "$3/infernet-edge"
    cp -r {root}/systemd "$3/infernet_edge/installer/units"
    echo "# {version}" >> "$3/infernet_edge/installer/units/infernet-edge.service" ;;
"check --config") echo checked; exit {check} ;;
"service migrations") echo '{migrations}' ;;
*) exit 9 ;;
esac
"""


class Killed(BaseException):
    """The process ends here, as by SIGKILL or a power cut."""


class Systemd:
    """Answers for systemctl and journalctl, on a clock of its own; runs the unit of trials.

    `broken` versions do not start, `hanging` ones are never ready, and of those in `crashing` the
    node crashes so many times, 20 seconds apart. `killed_at` the restart of that number, the
    process that asks for it is killed.
    """

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.broken: set[str] = set()
        self.hanging: set[str] = set()
        self.crashing: dict[str, int] = {}
        self.killed_at: dict[int, str] = {}
        self.restarts = 0
        self.run = 0
        self.status = 1
        self.active = ""
        self.started = 0.0
        self.now = 0.0
        self.enabled: set[str] = set()
        self.commands: list[list[str]] = []
        self.watcher: Trial | None = None
        self.watching = False
        self.containers: list[str] = []  # of the node, with Podman as root
        self.on_start: Callable[[str], None] = lambda version: None

    def sleep(self, seconds: float) -> None:
        """The unit of trials runs while another process waits."""
        self.now += seconds
        if self.watching and self.watcher is not None:
            self.watching = False
            self.watcher.watch()

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
        if arguments[-1] == TRIAL_UNIT:
            self.watching = True
            return Output(0, "")
        self.restarts += 1
        self.run = self.restarts
        version = self.paths.current.readlink().name
        self.active, self.started = version, self.now
        if self.killed_at.get(self.restarts):
            self.watching = False
            raise Killed
        self.on_start(version)
        waits = "--no-block" not in arguments
        return Output(1 if waits and version in self.broken else 0, "")

    def _stop(self, arguments: Sequence[str]) -> Output:
        if NODE_UNIT in arguments:
            self.active = ""
        return Output(0, "")

    def _show(self, arguments: Sequence[str]) -> Output:
        crashes = min(self.crashing.get(self.active, 0), int((self.now - self.started) // 20))
        state = "active" if self.active else "inactive"
        if self.active in self.broken:
            state = "failed"
        elif self.active in self.hanging:
            state = "activating"
        return Output(
            0,
            f"ActiveState={state}\nInvocationID={self.run}-{crashes}\nResult=exit-code\n"
            f"NRestarts={crashes}\nExecMainStatus={self.status}",
        )

    def _ps(self, arguments: Sequence[str]) -> Output:
        return Output(0, "\n".join(self.containers))

    def _rm(self, arguments: Sequence[str]) -> Output:
        self.containers = []
        return Output(0, "")

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
        self.trial = self.systemd.watcher = self.trial_with(self.systemd.sleep)

    def binary(self, version: str, check: int = 0, migrations: str = "{}") -> Path:
        """An executable of this version."""
        path = self.folder / f"infernet-edge-{version}"
        path.write_text(
            PROGRAM.format(version=version, check=check, root=ROOT, migrations=migrations)
        )
        path.chmod(0o755)
        return path

    def install(
        self, version: str = "1.0", given: Path | None = None, *, dry_run: bool = False
    ) -> int:
        """Install as the running executable would; returns how many steps that took."""
        unpacked = self.folder / f"unpacked-{version}"
        if not unpacked.exists():
            binary = self.folder / f"infernet-edge-{version}"
            if not binary.exists():
                self.binary(version)
            commands.run([str(binary), "service", "unpack", str(unpacked)], 10)
        steps = self.installer.install(Program(unpacked, version), given, rootless=False)
        return carry_out(steps, self.told.append, dry_run=dry_run)

    def upgrade(self, binary: Path, sha256: str = "") -> None:
        self._upgrade().to(binary, sha256, 30, 600)

    def roll_back(self) -> None:
        self._upgrade().roll_back(30, 600)

    def _upgrade(self) -> Upgrade:
        return Upgrade(self.trial_with(self.systemd.sleep))

    def trial_with(self, sleep: Callable[[float], None]) -> Trial:
        return Trial(
            Machine(
                self.paths,
                self.systemd,
                self.told.append,
                self.installer,
                sleep,
                lambda: self.systemd.now,
            )
        )

    def installed(self) -> list[str]:
        """The versions."""
        return sorted(path.name for path in self.programs.folders())

    def current(self) -> str:
        return self.paths.current.readlink().name

    def unit(self) -> str:
        return (self.paths.units / "infernet-edge.service").read_text()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(unit, "_STEADY", 0.01)
    monkeypatch.setattr("infernet_edge.installer.installation._has_account", lambda: True)
    return Place(tmp_path)


@pytest.fixture
def installed(place: Place) -> Place:
    place.install()
    place.told.clear()
    return place


def test_installed_once(place: Place) -> None:
    assert place.install() > 10
    assert place.installed() == ["1.0"]
    assert place.systemd.active == "1.0"
    assert place.systemd.enabled == {
        "infernet-edge.service",
        "infernet-edge-podman.socket",
        "infernet-edge-trial.service",
    }
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
    assert installed.installed() == ["1.0", "2.0"]
    assert installed.systemd.active == "2.0"
    assert installed.unit().endswith("# 2.0\n")
    assert installed.paths.previous.readlink() == Path("1.0")
    installed.upgrade(installed.binary("3.0"))
    assert installed.installed() == ["2.0", "3.0"]
    assert installed.paths.previous.readlink() == Path("2.0")
    assert installed.trial.state() is None


def set_broken(systemd: Systemd) -> None:
    systemd.broken = {"2.0"}


def set_hanging(systemd: Systemd) -> None:
    systemd.hanging = {"2.0"}


def set_crashing(systemd: Systemd) -> None:
    systemd.crashing = {"2.0": 3}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (set_broken, "It does not start (state failed"),
        (set_hanging, "It was not ready after 30 seconds"),
        (set_crashing, "It crashed 3 times"),
    ],
)
def test_a_version_that_does_not_work_is_rolled_back(
    installed: Place, fault: Callable[[Systemd], None], reason: str
) -> None:
    fault(installed.systemd)
    with pytest.raises(UpgradeFailed, match=r"2\.0 was rolled back and 1\.0 runs again") as failed:
        installed.upgrade(installed.binary("2.0"))
    assert reason in str(failed.value)
    assert "a last line" in str(failed.value)
    assert installed.systemd.active == "1.0"
    assert installed.installed() == ["1.0"]
    assert installed.unit().endswith("# 1.0\n")
    assert ["systemctl", "daemon-reload"] in installed.systemd.commands
    assert installed.trial.state() is None
    result = installed.trial.result()
    assert result is not None
    assert (result.new, result.is_kept, result.old_runs) == ("2.0", False, True)


def test_a_crash_or_two_are_not_repeated_ones(installed: Place) -> None:
    installed.systemd.crashing = {"2.0": 2}
    installed.upgrade(installed.binary("2.0"))
    assert installed.current() == "2.0"
    assert installed.systemd.now >= 600


def test_when_both_do_not_start_both_are_told(installed: Place) -> None:
    installed.systemd.broken = {"1.0", "2.0"}
    with pytest.raises(UpgradeFailed, match=r"1\.0 does not start any more either"):
        installed.upgrade(installed.binary("2.0"))
    assert installed.current() == "1.0"


def test_an_interrupted_upgrade_rolls_back(
    installed: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, times = unit.start_anew, []

    def interrupted(*arguments: Any) -> None:
        times.append(1)
        if len(times) == 1:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(unit, "start_anew", interrupted)
    with pytest.raises(UpgradeFailed, match="interrupted"):
        installed.upgrade(installed.binary("2.0"))
    assert installed.systemd.active == "1.0"
    assert installed.installed() == ["1.0"]
    assert installed.trial.state() is None


class PowerCut:
    """Kills the process at the operation of a number: a systemctl command or a durable change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**9
        for name in ("replace_file", "sync_folder"):
            self._guard(monkeypatch, f"infernet_edge.installer.steps.{name}")
        for name in ("trial.replace_file", "trial.put_back", "versions.replace_file"):
            self._guard(monkeypatch, f"infernet_edge.installer.{name}")
        self._guard(monkeypatch, "tests.installer.test_upgrade.Systemd.__call__")

    def _guard(self, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
        module, _, name = place.rpartition(".")
        owner = pkgutil.resolve_name(module)
        real = getattr(owner, name)

        def guarded(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Killed
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, guarded)


def boot(place: Place) -> None:
    """What systemd does when the machine starts."""
    systemd = place.systemd
    systemd.watching = False
    systemd.run += 1
    systemd.active, systemd.started = place.current(), systemd.now
    systemd.on_start(systemd.active)
    place.trial.watch()


@pytest.mark.parametrize("migrates", [False, True])
def test_a_power_cut_at_any_step_ends_in_the_version_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrates: bool
) -> None:
    """Of an upgrade to a version that does not start, and of its roll-back."""
    monkeypatch.setattr(unit, "_STEADY", 0.01)
    monkeypatch.setattr("infernet_edge.installer.installation._has_account", lambda: True)
    cut = PowerCut(monkeypatch)
    steps = 0
    while True:
        steps += 1
        place = Place(tmp_path / str(steps))
        place.folder.mkdir()
        place.binary("1.0", migrations=OLD_STEPS)
        place.install()
        path = database(place, "INSERT INTO jobs VALUES (1)", version=1, since=0)
        place.systemd.broken = {"2.0"}
        if migrates:
            place.systemd.on_start = partial(_migrate, place)
        binary = place.binary("2.0", migrations=BREAKING if migrates else OLD_STEPS)
        cut.left = steps
        try:
            place.upgrade(binary)
        except UpgradeFailed:
            break  # it was over before the power was cut
        except Killed:
            cut.left = 10**9
        boot(place)
        assert place.trial.state() is None, steps
        assert place.current() == "1.0", steps
        assert place.systemd.active == "1.0", steps
        assert place.unit().endswith("# 1.0\n"), steps
        assert jobs(path) == [1], steps
        assert version_of(path) == 1, steps
        assert place.install() <= 1, steps  # the digest of a version that was removed may be left
        shutil.rmtree(place.folder)
    assert steps > 20


def _migrate(place: Place, version: str) -> None:
    path = place.paths.state / "infernet-edge.sqlite"
    if version == "2.0" and version_of(path) == 1:
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE schema_versions SET version = 2, readable_since = 2")
        connection.close()


def version_of(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (version,) = connection.execute("SELECT version FROM schema_versions").fetchone()
    connection.close()
    return int(version)


def test_a_version_that_was_never_started_is_started_by_the_trial(
    installed: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upgrade is killed after the link has changed: the version before still runs."""
    real = unit.start_anew

    def killed(run: Any, name: str) -> None:
        if name == NODE_UNIT:
            raise Killed
        real(run, name)

    with monkeypatch.context() as patch:
        patch.setattr(unit, "start_anew", killed)
        with pytest.raises(Killed):
            installed.upgrade(installed.binary("2.0"))
    installed.systemd.watching = False
    installed.systemd.active = "1.0"
    installed.trial.watch()
    assert installed.systemd.active == "2.0"
    assert installed.trial.state() is None


def test_crashes_of_the_version_before_do_not_count(installed: Place) -> None:
    installed.systemd.crashing = {"1.0": 5}
    installed.systemd.now += 1000
    installed.upgrade(installed.binary("2.0"))
    assert installed.current() == "2.0"


def test_a_roll_back_whose_terminal_closes_is_finished_by_the_trial(installed: Place) -> None:
    installed.systemd.killed_at = {installed.systemd.restarts + 1: "yes"}
    with pytest.raises(Killed):
        installed.upgrade(installed.binary("2.0"))
    state = installed.trial.state()
    assert state is not None
    installed.trial.decide(state, "It was requested")  # and then the command is killed
    installed.trial.watch()
    assert installed.systemd.active == "1.0"
    assert installed.trial.state() is None


@pytest.mark.parametrize("fault", ["journalctl", "full disk"])
def test_a_fault_during_a_roll_back_does_not_stop_it(
    installed: Place, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    systemd = installed.systemd
    systemd.broken = {"2.0"}
    real = Systemd.__call__
    if fault == "journalctl":

        def failing(self: Systemd, arguments: Sequence[str], *rest: Any, **options: Any) -> Output:
            if arguments[0] == "journalctl":
                raise commands.CommandFailed("journalctl cannot be started")
            return real(self, arguments, *rest, **options)

        monkeypatch.setattr(Systemd, "__call__", failing)
    else:
        full = [True] * 3
        replace = steps.replace_file

        def refusing(path: Path, *rest: Any, **options: Any) -> None:
            state = installed.trial.state()
            if full and path.suffix == ".service" and state is not None and state.ending:
                full.pop()
                raise OSError(28, "No space left on device")
            replace(path, *rest, **options)

        monkeypatch.setattr(steps, "replace_file", refusing)
    with pytest.raises(UpgradeFailed, match=r"1\.0 runs again"):
        installed.upgrade(installed.binary("2.0"))
    assert systemd.active == "1.0"
    assert installed.unit().endswith("# 1.0\n")


def test_a_damaged_version_before_is_not_rolled_back_to(installed: Place) -> None:
    systemd = installed.systemd
    systemd.broken = {"2.0"}

    def damaging(version: str) -> None:
        damage(installed, "1.0")

    systemd.on_start = damaging
    with pytest.raises(UpgradeFailed, match=r"2\.0 could not be rolled back.*are damaged"):
        installed.upgrade(installed.binary("2.0"))
    assert installed.current() == "2.0"


@pytest.mark.parametrize("said", ["exit 1", "kill -9 $$", "echo nonsense"])
def test_a_version_that_does_not_say_its_migrations_is_refused(place: Place, said: str) -> None:
    place.binary("1.0", migrations=OLD_STEPS)
    place.install()
    database(place, "", version=1, since=0)
    binary = place.binary("2.0")
    binary.write_text(binary.read_text().replace("echo '{}'", said))
    with pytest.raises(commands.CommandFailed, match="migrations"):
        place.upgrade(binary)
    assert place.installed() == ["1.0"]
    assert place.systemd.active == "1.0"


def test_a_version_that_takes_the_machine_down_is_rolled_back(
    installed: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot_id = installed.paths.root / "proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("0")

    def down(seconds: float) -> None:
        if installed.systemd.active == "2.0":
            raise Killed

    monkeypatch.setattr(installed.systemd, "sleep", down)
    installed.trial = installed.trial_with(down)
    with pytest.raises(Killed):
        installed.upgrade(installed.binary("2.0"))
    for number in (1, 2):
        boot_id.write_text(str(number))
        with pytest.raises(Killed):
            boot(installed)
    boot_id.write_text("3")
    boot(installed)
    assert installed.systemd.active == "1.0"
    result = installed.trial.result()
    assert result is not None
    assert "restarted 3 times" in result.reason


def test_errors_made_in_the_configuration_are_not_the_versions_fault(installed: Place) -> None:
    """After it was ready: exit code 78."""
    systemd = installed.systemd

    class Broken(set[str]):
        def __contains__(self, version: object) -> bool:
            return version == "2.0" and systemd.now > 100

    systemd.broken, systemd.status = Broken(), 78
    installed.upgrade(installed.binary("2.0"))
    assert installed.current() == "2.0"
    assert installed.installed() == ["1.0", "2.0"]


def test_what_killed_upgrades_left_is_removed(installed: Place) -> None:
    for name in (".given-x", ".new-y"):
        (installed.paths.programs / name).mkdir()
    installed.upgrade(installed.binary("2.0"))
    assert list(installed.paths.programs.glob(".*-*")) == []


@pytest.mark.parametrize("noted", [b"", b"\xff\xfe", b"0" * 64])
def test_a_damaged_digest_is_a_damaged_version(installed: Place, noted: bytes) -> None:
    (installed.paths.programs / ".1.0.sha256").write_bytes(noted)
    installed.upgrade(installed.binary("2.0"))
    assert installed.systemd.active == "2.0"


def test_a_good_version_whose_upgrade_was_killed_is_kept(installed: Place) -> None:
    installed.systemd.killed_at = {installed.systemd.restarts + 1: "yes"}
    with pytest.raises(Killed):
        installed.upgrade(installed.binary("2.0"))
    installed.trial.watch()
    assert installed.current() == "2.0"
    assert installed.trial.state() is None


def test_there_is_one_trial_at_a_time(installed: Place) -> None:
    installed.systemd.killed_at = {installed.systemd.restarts + 1: "yes"}
    with pytest.raises(Killed):
        installed.upgrade(installed.binary("2.0"))
    with pytest.raises(UpgradeFailed, match=r"2\.0 is on trial"):
        installed.upgrade(installed.binary("3.0"))
    with installed.trial.alone(), pytest.raises(AnotherUpgrade):
        installed.roll_back()
    installed.roll_back()
    assert installed.current() == "1.0"
    assert installed.installed() == ["1.0"]
    assert installed.told[-1] == "Version 1.0 runs again."


def test_rolled_back_by_hand_and_forward_again(installed: Place) -> None:
    with pytest.raises(UpgradeFailed, match="No version before this one"):
        installed.roll_back()
    installed.upgrade(installed.binary("2.0"))
    for version in ("1.0", "2.0", "1.0"):
        installed.roll_back()
        assert installed.systemd.active == version
        assert installed.installed() == ["1.0", "2.0"]
    installed.upgrade(installed.binary("2.0"))
    assert installed.systemd.active == "2.0"


def test_the_kept_version_survives_a_failed_way_back_to_it(installed: Place) -> None:
    installed.upgrade(installed.binary("2.0"))
    installed.systemd.broken = {"1.0"}
    with pytest.raises(UpgradeFailed, match="rolled back"):
        installed.roll_back()
    assert installed.systemd.active == "2.0"
    assert installed.installed() == ["1.0", "2.0"]
    assert installed.paths.previous.readlink() == Path("1.0")


def database(place: Place, tables: str, *, version: int, since: int) -> Path:
    """A node's database at this step, which has these jobs."""
    path = place.paths.state / "infernet-edge.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE schema_versions (owner TEXT, version INTEGER, readable_since INTEGER);"
            f"INSERT INTO schema_versions VALUES ('jobs', {version}, {since});"
            "CREATE TABLE jobs (id INTEGER PRIMARY KEY);" + tables
        )
    connection.close()
    return path


def jobs(path: Path) -> list[int]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT id FROM jobs ORDER BY id").fetchall()
    connection.close()
    return [row[0] for row in rows]


OLD_STEPS = '{"jobs": {"steps": 1, "readable_since": 0}}'
BREAKING = '{"jobs": {"steps": 2, "readable_since": 2}}'


@pytest.mark.parametrize("accepts", [False, True])
def test_a_copy_of_the_database_is_put_back_if_nothing_was_accepted(
    place: Place, accepts: bool
) -> None:
    """A version that migrates so that the one before cannot read it, and then fails."""
    place.binary("1.0", migrations=OLD_STEPS)
    place.install()
    path = database(place, "INSERT INTO jobs VALUES (1)", version=1, since=0)

    def migrate(version: str) -> None:
        if version == "2.0":
            database(
                place,
                "INSERT INTO jobs VALUES (1)" + ("; INSERT INTO jobs VALUES (2)" * accepts),
                version=2,
                since=2,
            )

    place.systemd.on_start = migrate
    place.systemd.broken = {"2.0"}
    binary = place.binary("2.0", migrations=BREAKING)
    with pytest.raises(UpgradeFailed) as failed:
        place.upgrade(binary)
    if accepts:
        assert "2.0 could not be rolled back" in str(failed.value)
        assert "it has accepted 1 jobs" in str(failed.value)
        assert place.current() == "2.0"
        assert jobs(path) == [1, 2]
    else:
        assert "1.0 runs again" in str(failed.value)
        assert place.current() == "1.0"
        assert jobs(path) == [1]
        with sqlite3.connect(path) as connection:
            (version,) = connection.execute("SELECT version FROM schema_versions").fetchone()
        connection.close()
        assert version == 1
    assert list(path.parent.glob("*.part")) == []


def test_no_copy_is_made_where_the_version_before_can_read_the_file(place: Place) -> None:
    place.binary("1.0", migrations=OLD_STEPS)
    place.install()
    path = database(place, "INSERT INTO jobs VALUES (1)", version=1, since=0)
    place.upgrade(place.binary("2.0", migrations='{"jobs": {"steps": 2, "readable_since": 1}}'))
    assert list(path.parent.glob("*.before-*")) == []
    place.upgrade(place.binary("3.0", migrations='{"jobs": {"steps": 3, "readable_since": 3}}'))
    assert list(path.parent.glob("*.before-*")) == []  # it was, until the end of the trial
    assert "copying its database" in "\n".join(place.told)


def test_a_copy_that_has_no_room_is_refused_before_anything_changes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.binary("1.0", migrations=OLD_STEPS)
    place.install()
    database(place, "", version=1, since=0)
    monkeypatch.setattr(migration_check, "_SPARE", 2**60)
    with pytest.raises(migration_check.CannotCopy, match="MiB are missing"):
        place.upgrade(place.binary("2.0", migrations=BREAKING))
    assert place.installed() == ["1.0"]
    assert place.systemd.active == "1.0"
    assert place.trial.state() is None


def test_a_version_that_cannot_read_the_database_is_refused(place: Place) -> None:
    place.binary("2.0", migrations=BREAKING)
    place.install("2.0")
    database(place, "", version=2, since=2)
    with pytest.raises(UpgradeFailed, match=r"1\.0 cannot read the database.*\(jobs\)"):
        place.upgrade(place.binary("1.0", migrations=OLD_STEPS))
    assert place.installed() == ["2.0"]


def damage(place: Place, version: str) -> Path:
    """Truncate a library of an installed version."""
    library = place.paths.programs / version / "infernet_edge/installer/units/sysusers.conf"
    library.write_text("")
    return library


def test_a_damaged_program_is_repaired_by_install(installed: Place) -> None:
    library = damage(installed, "1.0")
    assert installed.install() >= 2
    assert library.stat().st_size
    assert installed.installed() == ["1.0"]
    assert installed.install() == 0
    (installed.paths.programs / "1.0/infernet-edge").unlink()
    assert installed.install() >= 2
    assert installed.install() == 0


def test_a_damaged_program_is_repaired_by_the_same_version(installed: Place) -> None:
    library = damage(installed, "1.0")
    installed.upgrade(installed.binary("1.0"))
    assert library.stat().st_size
    assert "were damaged, and are repaired" in installed.told[-1]
    assert installed.installed() == ["1.0"]
    installed.upgrade(installed.binary("1.0"))
    assert installed.told[-1] == "Version 1.0 runs already; nothing was changed."


def test_a_damaged_program_is_replaced_by_another_version(installed: Place) -> None:
    damage(installed, "1.0")
    installed.upgrade(installed.binary("2.0"))
    assert installed.systemd.active == "2.0"
    assert installed.installed() == ["2.0"]
    with pytest.raises(UpgradeFailed, match="No version before"):
        installed.roll_back()


def test_a_damaged_kept_version_is_not_run(installed: Place) -> None:
    installed.upgrade(installed.binary("2.0"))
    damage(installed, "1.0")
    with pytest.raises(UpgradeFailed, match=r"kept version 1\.0 is damaged"):
        installed.roll_back()
    assert installed.systemd.active == "2.0"


def test_a_version_that_does_not_take_the_configuration(installed: Place) -> None:
    with pytest.raises(UpgradeFailed, match="cannot use this configuration"):
        installed.upgrade(installed.binary("2.0", check=78))
    assert installed.systemd.active == "1.0"
    assert installed.installed() == ["1.0"]


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
    assert installed.installed() == ["1.0"]


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
    monkeypatch.setattr("infernet_edge.installer.installation._has_account", lambda: False)
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
