"""From one version to another. The other is on trial first, see trial.py."""

from __future__ import annotations

import hmac
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infernet_edge.config.paths import NODE_UNIT
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.executable import PROGRAM
from infernet_edge.installer import drop_in, migration_check, unit
from infernet_edge.installer.commands import must
from infernet_edge.installer.paths import TRIAL_UNIT
from infernet_edge.installer.steps import carry_out
from infernet_edge.installer.trial import Trial, TrialResult, TrialState
from infernet_edge.installer.versions import Program, digest_of_file

_CHECK_TIMEOUT = 60.0  # seconds
_STOP_TIMEOUT = 90.0  # seconds; TimeoutStopSec of the node is 60
_PERIOD = 0.5  # seconds between two polls of the trial
_ROLL_BACK_TIME = 240.0  # seconds that the trial may take beyond the time to get ready


class UpgradeFailed(InfernetEdgeError):
    """The old version still runs, or runs again; the text has the reason."""


class Upgrade:
    """One upgrade of one machine. Blocks."""

    def __init__(self, trial: Trial) -> None:
        machine = trial.machine
        self._trial = trial
        self._paths, self._run, self._log = machine.paths, machine.run, machine.log
        self._installer, self._programs = machine.installer, machine.programs
        self._sleep, self._clock = machine.sleep, machine.clock

    def to(self, binary: Path, sha256: str, ready_within: float, lasts: float) -> None:
        """Install the one-file executable `binary` and run it instead of the current version.

        `sha256` is compared with the file's, unless it is "". When this returns, the new version is
        ready, and on trial for `lasts` seconds. One that is not ready within `ready_within` seconds
        is removed, and the current one runs again. Raises UpgradeFailed, NotOurs,
        CannotCopy, AnotherUpgrade.
        """
        with self._trial.alone():
            state = self._begin(binary, sha256, ready_within, lasts)
        if state is not None:
            self._wait_until_ready(state)

    def _begin(
        self, binary: Path, sha256: str, ready_within: float, lasts: float
    ) -> TrialState | None:
        """Put a new version on trial; None when nothing has to be tried."""
        old = self._current()
        self._check_no_trial()
        self._programs.remove_leftovers()
        kept = self._programs.folders()
        with self._own_copy(binary) as copy:
            _verify(binary, copy, sha256, self._log)
            was_intact = self._programs.is_intact(old)
            new = self._programs.add_packed(copy)
        if new == old:
            self._repaired(old, was_intact=was_intact)
            return None
        try:
            self._check_configuration(new)
            self._check_database(new)
            if was_intact:
                return self._exchange(old, new, ready_within, lasts)
            self._replace_damaged(new, ready_within)
        except BaseException:
            if new.folder not in kept and self._trial.state() is None:
                self._programs.remove(new.folder)
            raise
        return None

    def roll_back(self, ready_within: float, lasts: float) -> None:
        """Run the version before again: the one that a trial would roll back to, else the kept one.

        Raises UpgradeFailed, AnotherUpgrade.
        """
        with self._trial.alone():
            if (state := self._trial.state()) is None:
                old, new = self._current(), self._kept()
                self._check_configuration(new)
                self._check_database(new)
                started = self._exchange(old, new, ready_within, lasts)
        if state is None:
            self._wait_until_ready(started)
            return
        result = self._end_trial(state, "It was requested")
        if result is None or result.is_kept or not result.old_runs:
            self._report(result, state)
        self._log(f"Version {state.old} runs again.")

    def _kept(self) -> Program:
        """The version before, which is kept and whole."""
        kept = self._programs.previous()
        if kept is None:
            raise UpgradeFailed("No version before this one is kept, so there is none to run.")
        if not self._programs.is_intact(kept):
            raise UpgradeFailed(
                f"The kept version {kept.version} is damaged. Install it again from its executable:"
                " sudo infernet-edge service upgrade BINARY"
            )
        return kept

    def _current(self) -> Program:
        current = self._programs.current()
        if current is None:
            raise UpgradeFailed(
                "Nothing is installed yet. Install it with: sudo BINARY service install"
            )
        return current

    def _check_no_trial(self) -> None:
        if (state := self._trial.state()) is not None:
            raise UpgradeFailed(
                f"Version {state.new} is on trial. Wait until that is over (infernet-edge service"
                " status), or end it: sudo infernet-edge service rollback"
            )

    def _repaired(self, program: Program, *, was_intact: bool) -> None:
        """The version that runs was given: it has been repaired if it was damaged."""
        if was_intact:
            self._log(f"Version {program.version} runs already; nothing was changed.")
            return
        self._log(f"The files of version {program.version} were damaged, and are repaired.")
        unit.restart(self._run, _ROLL_BACK_TIME)

    @contextmanager
    def _own_copy(self, binary: Path) -> Iterator[Path]:
        """A copy that no other user can change between its check and its start."""
        with tempfile.TemporaryDirectory(prefix=".given-", dir=self._paths.programs) as folder:
            copy = Path(folder, PROGRAM)
            try:
                shutil.copyfile(binary, copy)
            except OSError as error:
                raise UpgradeFailed(f"{binary} cannot be read: {error.strerror}") from error
            copy.chmod(0o755)
            yield copy

    def _replace_damaged(self, new: Program, ready_within: float) -> None:
        """Run a version instead of one that is damaged: there is none to roll back to."""
        self._log("The files of the current version are damaged, so there is no way back to it")
        carry_out([*self._installer.activate(new), *self._installer.trial_unit(new)], self._log)
        unit.restart(self._run, ready_within)
        self._paths.previous.unlink(missing_ok=True)
        self._programs.keep_only(new)
        self._log(f"Version {new.version} runs.")

    def _check_configuration(self, new: Program) -> None:
        file = self._paths.configuration()
        command = [str(new.executable), "check", *(["--config", str(file)] if file else [])]
        output = self._run(command, _CHECK_TIMEOUT, drop_in.environment(self._paths))
        if output.code != 0:
            raise UpgradeFailed(
                f"Version {new.version} cannot use this configuration; nothing was changed.\n"
                + output.text
            )

    def _check_database(self, new: Program) -> None:
        """Refuse a version that cannot read what is there: nothing of it may be lost."""
        owners = migration_check.unreadable_for(
            self._database_path(), migration_check.steps_of(new, self._run)
        )
        if owners:
            raise UpgradeFailed(
                f"Version {new.version} cannot read the database, which a newer one has changed"
                f" ({', '.join(owners)}); nothing was changed."
            )

    def _database_path(self) -> Path:
        config = drop_in.configuration(self._paths)
        return config.database_path if config else self._paths.state / "infernet-edge.sqlite"

    def _exchange(
        self, old: Program, new: Program, ready_within: float, lasts: float
    ) -> TrialState:
        """Put a version on trial, and start it. When this is killed, the trial rolls back."""
        copy = self._planned_copy(old, new)
        carry_out(self._installer.trial_unit(old), self._log)
        self._log(f"Starting version {new.version} in place of {old.version}")
        state = self._trial.begin(old, new, ready_within, lasts, copy)
        try:
            unit.start_anew(self._run, TRIAL_UNIT)
            if copy:
                self._copy_database(Path(copy))
            carry_out(self._installer.activate(new), self._log)
            unit.start_anew(self._run, NODE_UNIT)
        except (InfernetEdgeError, OSError, sqlite3.Error, KeyboardInterrupt) as error:
            return self._trial.decide(state, f"The upgrade was interrupted: {error!r}")
        return state

    def _planned_copy(self, old: Program, new: Program) -> str:
        """Where to copy the database, if the version before could not read it later; else ""."""
        steps = [migration_check.steps_of(program, self._run) for program in (old, new)]
        path = self._database_path()
        if not path.exists() or not migration_check.is_breaking(*steps):
            return ""
        migration_check.check_room(path)
        return str(migration_check.copy_for(path, new.version))

    def _copy_database(self, copy: Path) -> None:
        self._log(f"Stopping the node, and copying its database to {copy}")
        command = ["systemctl", "stop", NODE_UNIT]
        must(self._run(command, _STOP_TIMEOUT), command)
        migration_check.make_copy(self._database_path(), copy)

    def _wait_until_ready(self, state: TrialState) -> None:
        """Until the version is ready. Raises UpgradeFailed when it is rolled back."""
        try:
            if state.ending:
                self._report(self._end_trial(state, state.ending), state)
                return
            self._wait_for(lambda now: now is None or now.is_ready, state)
        except KeyboardInterrupt:
            self._report(self._end_trial(state, "The upgrade was interrupted"), state)
            return
        result = self._trial.result()
        if result is not None and result.identifier == state.identifier:
            self._report(result, state)
            return
        new, old = state.new.partition("+")[0], state.old.partition("+")[0]
        self._log(
            f"Version {new} runs. It is on trial for {state.lasts / 60:.0f} minutes: if it crashes"
            f" repeatedly, {old} runs again by itself. By hand: sudo infernet-edge service rollback"
        )

    def _end_trial(self, state: TrialState, reason: str) -> TrialResult | None:
        """Have the trial roll back, and wait until it has; how it ended.

        The unit does it, so that it is done when this process is killed.
        """
        if (now := self._trial.state()) is not None:
            self._log(f"Rolling back to version {state.old}")
            self._trial.decide(now, reason)
            self._trial.start_watching()
            self._wait_for(lambda now: now is None, state)
        return self._trial.result()

    def _wait_for(self, condition: Callable[[TrialState | None], bool], state: TrialState) -> None:
        until = self._clock() + state.ready_within + _ROLL_BACK_TIME
        while not condition(self._trial.state()):
            if self._clock() > until:
                raise UpgradeFailed(
                    f"{TRIAL_UNIT} does not end the trial. Look at: journalctl -u {TRIAL_UNIT}."
                    " To run the version before: sudo infernet-edge service rollback"
                )
            self._sleep(_PERIOD)

    def _report(self, result: TrialResult | None, state: TrialState) -> None:
        """Log how a trial ended; raises UpgradeFailed when the version before runs again."""
        if result is None or result.identifier != state.identifier:
            raise UpgradeFailed("It is not known how the trial ended: infernet-edge service status")
        if result.is_kept and not result.reason:
            self._log(f"Version {result.new} runs.")
        elif result.is_kept:
            raise UpgradeFailed(f"Version {result.new} could not be rolled back. {result.reason}")
        else:
            raise UpgradeFailed(
                f"Version {result.new} was rolled back and {result.old} runs again.\n"
                f"{result.reason}"
            )


def expected_digest(binary: Path, given: str | None) -> str:
    """The SHA-256 to compare with: the given one, else that in BINARY.sha256, else "".

    Raises UpgradeFailed when it is none.
    """
    beside = binary.with_name(f"{binary.name}.sha256")
    text = given
    if text is None and beside.exists():
        text = beside.read_text("utf-8", "replace").partition(" ")[0]  # as sha256sum writes it
    if text is None:
        return ""
    digest = text.strip().lower()
    if len(digest) != 64 or any(digit not in "0123456789abcdef" for digit in digest):
        raise UpgradeFailed(f"{text!r} is no SHA-256: it has 64 hexadecimal digits.")
    return digest


def _verify(binary: Path, copy: Path, sha256: str, log: Callable[[str], None]) -> None:
    found = digest_of_file(copy)
    if not sha256:
        log(f"SHA-256 {found}, compared with nothing: give --sha256 or the file {binary}.sha256")
    elif not hmac.compare_digest(found, sha256):
        raise UpgradeFailed(
            f"{binary} is not the file it should be; nothing was changed.\n"
            f"  expected SHA-256 {sha256}\n  found            {found}\nDownload it again."
        )
