"""The trial of a version, as a state on the disk: it survives terminals, crashes and power cuts.

1. `begin` writes trial.json, and only then the new version is made the current one.
2. infernet-edge-trial.service runs `watch` in the version before, also after a reboot. Nothing else
   confirms a version or rolls back.
3. `watch` confirms the new version when it has run for the time of the trial, or rolls back: when
   it does not get ready in time, fails, crashes repeatedly, or when that is requested.
4. What began the trial reads in trial.json that the version got ready, and in last-trial.json how
   the trial ended.

A roll-back is decided in trial.json before it is done, and each of its steps can be repeated: one
that was interrupted is resumed by the next `watch`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from infernet_edge.clock import milliseconds
from infernet_edge.config.paths import NODE_UNIT
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.installer import unit
from infernet_edge.installer.commands import CommandFailed, Runner
from infernet_edge.installer.installation import Installer
from infernet_edge.installer.migration_check import accepted_since, original_of, put_back
from infernet_edge.installer.paths import TRIAL_UNIT, Paths
from infernet_edge.installer.steps import carry_out, make_link, replace_file
from infernet_edge.installer.versions import Program, Programs

_PERIOD = 1.0  # seconds between two polls of the unit
_RETRY_PERIOD = 60.0  # seconds before a roll-back that failed is tried again
_STEADY = 3.0  # seconds for which it has to stay up before it counts as ready
_MAX_RESTARTS = 3  # of a version that was ready before
_MAX_BOOTS = 3  # of the machine during a trial
_MIN_READY_WITHIN = 30.0  # seconds for the version before, which is known to work
_COMMAND_TIMEOUT = 90.0  # seconds; TimeoutStopSec of the node is 60
_MAX_TRIAL_FACTOR = 2.0  # of the time of the trial; a version that is not up then is rolled back
_BAD_CONFIGURATION = "78"  # the exit code of a node whose configuration has errors
_BOOT_ID = "proc/sys/kernel/random/boot_id"

T = TypeVar("T")


class AnotherUpgrade(InfernetEdgeError):
    """Another process upgrades, installs or rolls back."""


class TrialState(msgspec.Struct, frozen=True):
    """A trial that is not over. `new`, `old` and `before` are names of folders of versions.

    `before` was the kept version when the trial began, "" for none. `ready_within` and `lasts` are
    in seconds. `copy` is the path of a copy of the database that only `old` can read, "" for none.
    `old_invocation` is systemd's id of the run of `old` that the trial replaces. `ending` is the
    reason of a roll-back that is decided, "" while there is none; `restores` says that the copy is
    put back with it.
    """

    identifier: str
    new: str
    old: str
    before: str
    ready_within: float
    lasts: float
    copy: str = ""
    is_ready: bool = False
    old_invocation: str = ""
    ending: str = ""
    restores: bool = False
    boot: str = ""
    boots: int = 0


class TrialResult(msgspec.Struct, frozen=True):
    """How a trial ended, at a time in milliseconds since 1970.

    `old_runs`: the version before got ready again.
    """

    identifier: str
    new: str
    old: str
    is_kept: bool
    reason: str
    ended_at: int
    old_runs: bool = False


class Machine(NamedTuple):
    """What changes of versions work with: files, commands, the terminal or log, and the time."""

    paths: Paths
    run: Runner
    log: Callable[[str], None]
    installer: Installer
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    @property
    def programs(self) -> Programs:
        """The installed versions."""
        return Programs(self.paths, self.run)


class Trial:
    """The trial on one machine. Blocks."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._paths, self._run, self._log = machine.paths, machine.run, machine.log
        self._installer, self._programs = machine.installer, machine.programs
        self._sleep, self._clock = machine.sleep, machine.clock

    def state(self) -> TrialState | None:
        """The trial that is not over; None when there is none."""
        return read_state(self._paths)

    def result(self) -> TrialResult | None:
        """How the last trial ended; None when there was none."""
        return last_result(self._paths)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock of all that changes versions. Raises AnotherUpgrade when it is held."""
        self._paths.programs.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._paths.upgrade_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AnotherUpgrade(
                    "Another upgrade or installation is in progress. Wait until it is over."
                ) from None
            yield
        finally:
            os.close(lock)

    def begin(
        self, old: Program, new: Program, ready_within: float, lasts: float, copy: str = ""
    ) -> TrialState:
        """Write that `new` is tried. It is made the current version, and started, by the caller."""
        before = self._paths.previous
        state = TrialState(
            identifier=os.urandom(8).hex(),
            new=new.folder.name,
            old=old.folder.name,
            before=before.readlink().name if before.is_symlink() else "",
            ready_within=ready_within,
            lasts=lasts,
            copy=copy,
            old_invocation=unit.state(self._run).get("InvocationID", ""),
            boot=self._boot(),
        )
        if copy:  # that of an earlier trial must not be taken for this one's
            Path(copy).unlink(missing_ok=True)
        make_link(before, Path(old.folder.name)).perform()
        self._write(state)
        return state

    def decide(self, state: TrialState, reason: str) -> TrialState:
        """Write that the trial ends with a roll-back, which the next `watch` performs."""
        return self._write(msgspec.structs.replace(state, ending=reason))

    def watch(self) -> None:
        """Watch the new version until the trial is over; returns at once when there is none."""
        state = self.state()
        if state is None:
            return
        state = self._note_boot(state)
        if not state.ending and self._current() != state.new:
            state = self._wait_for_start(state)
        if not state.ending and not (reason := self._wait_for_end(state)):
            self._confirm(state)
            return
        # It may have been decided meanwhile by a command, which then ended this process.
        state = self.decide(state, state.ending or reason)
        while True:
            try:
                with self.alone():
                    self._roll_back(state)
                return
            except AnotherUpgrade:
                self._sleep(_PERIOD)
            except (InfernetEdgeError, OSError, sqlite3.Error) as error:
                self._log(f"The roll-back failed and is tried again: {error}")
                self._start_node()
                self._sleep(_RETRY_PERIOD)

    def _note_boot(self, state: TrialState) -> TrialState:
        """Count the boots during the trial: a version may take the machine down."""
        if (boot := self._boot()) == state.boot:
            return state
        boots = state.boots + 1
        state = self._write(msgspec.structs.replace(state, boot=boot, boots=boots))
        if boots >= _MAX_BOOTS and not state.ending:
            return self.decide(state, f"The machine was restarted {boots} times during the trial")
        return state

    def _wait_for_start(self, state: TrialState) -> TrialState:
        """Wait until an upgrade has made the version current; decide when it does so no more.

        A process that upgrades holds the lock. When it is free, the upgrade was killed.
        """
        while self._current() != state.new:
            with contextlib.suppress(AnotherUpgrade), self.alone():
                if self._current() != state.new:
                    return self.decide(state, "The upgrade was interrupted")
            self._sleep(_PERIOD)
        return state

    def _wait_for_end(self, state: TrialState) -> str:
        """Wait until the version is confirmed (""), or has to be rolled back: why."""
        begin = up_since = self._clock()
        invocation = ""
        while True:
            now = self._clock()
            found = unit.state(self._run)
            if found.get("InvocationID", "") in ("", state.old_invocation):
                # The state in systemd is still that of the version before.
                self._start_if_forgotten(state)
                if now - begin > state.ready_within:
                    return f"It was not started within {state.ready_within:g} seconds"
                self._sleep(_PERIOD)
                continue
            restarts = int(found.get("NRestarts") or 0)
            is_up = found.get("ActiveState") == "active"
            has_failed = found.get("ActiveState") == "failed"
            outcome = f"state {found.get('ActiveState')}, result {found.get('Result')}"
            if not is_up or found.get("InvocationID") != invocation:
                invocation, up_since = found.get("InvocationID", ""), now
            if has_failed and not (state.is_ready and _is_misconfigured(found)):
                return f"It does not start ({outcome})"
            if not state.is_ready:
                if restarts:
                    return f"It does not start ({outcome})"
                if is_up and now - up_since >= _STEADY:
                    # A command may have decided meanwhile: that must not be lost.
                    state = self._write(
                        msgspec.structs.replace(self.state() or state, is_ready=True)
                    )
                elif now - begin > state.ready_within:
                    return f"It was not ready after {state.ready_within:g} seconds"
            elif restarts >= _MAX_RESTARTS:
                return f"It crashed {restarts} times ({outcome})"
            elif now - begin >= state.lasts:
                # Errors in the configuration that were made since are not the version's fault.
                if has_failed or (is_up and now - up_since >= _STEADY):
                    return ""
                if now - begin > _MAX_TRIAL_FACTOR * state.lasts + state.ready_within:
                    return f"It does not stay up ({outcome})"
            self._sleep(_PERIOD)

    def _start_if_forgotten(self, state: TrialState) -> None:
        """Start the version when the upgrade was killed after it had made it current."""
        with contextlib.suppress(AnotherUpgrade), self.alone():
            if self._current() == state.new:
                carry_out(self._installer.activate(self._program(state.new)), self._log)
                unit.start_anew(self._run, NODE_UNIT)

    def _confirm(self, state: TrialState) -> None:
        """Keep the new version, with the one before beside it; all others are removed."""
        new, old = self._program(state.new), self._program(state.old)
        carry_out(self._installer.trial_unit(new), self._log)
        self._end(state, is_kept=True, reason="")
        if state.copy:
            Path(state.copy).unlink(missing_ok=True)
        self._programs.keep_only(old, new)

    def _roll_back(self, state: TrialState) -> None:
        """Run the version before again. Each step may be repeated.

        Where only a copy of the database could be read by it, and the new version has accepted
        something since, the new one stays: no acknowledged job is lost.
        """
        self._log(f"Rolling back to version {state.old}: {state.ending}")
        lines = self._last_lines()
        old, copy = self._program(state.old), Path(state.copy) if state.copy else None
        kept = ""
        if not self._programs.is_intact(old):
            kept = f"It stays: the files of version {state.old} are damaged"
        elif copy is not None and copy.exists():
            if self._current() == state.new:
                self._stop_node()
                if not (kept := _why_kept(copy)):
                    # When the link has changed, this shows that the copy is still to be put back.
                    state = self._write(msgspec.structs.replace(state, restores=True))
            elif not state.restores:
                copy.unlink()  # the new version never ran
        if kept:
            self._start_node()
            self._end(state, is_kept=True, reason=f"{state.ending}. {kept}\n{lines}")
            return
        # The link first: from then on a boot starts the version before.
        carry_out(self._installer.activate(old), self._log)
        if copy is not None and copy.exists():
            put_back(original_of(copy), copy)
        after = ""
        try:
            unit.restart(self._run, max(state.ready_within, _MIN_READY_WITHIN))
        except unit.NotReady as error:
            after = f"\nVersion {state.old} does not start any more either. {error}"
        reason = f"{state.ending}\n{lines}{after}"
        self._end(state, is_kept=False, reason=reason, old_runs=not after)
        if state.before and (self._paths.programs / state.before).is_dir():
            make_link(self._paths.previous, Path(state.before)).perform()
        if not after and state.new != state.before:
            self._programs.remove(self._paths.programs / state.new)

    def _stop_node(self) -> None:
        self._run(["systemctl", "stop", NODE_UNIT], _COMMAND_TIMEOUT)

    def _start_node(self) -> None:
        with contextlib.suppress(CommandFailed):  # what else is tried then is not helped by it
            self._run(["systemctl", "start", "--no-block", NODE_UNIT], _COMMAND_TIMEOUT)

    def _last_lines(self) -> str:
        try:
            return unit.last_lines(self._run)
        except CommandFailed as error:
            return f"    ({error})"

    def _end(
        self, state: TrialState, *, is_kept: bool, reason: str, old_runs: bool = False
    ) -> None:
        result = TrialResult(
            state.identifier, state.new, state.old, is_kept, reason, milliseconds(), old_runs
        )
        replace_file(self._paths.last_trial, msgspec.json.encode(result).decode(), 0o644)
        self._paths.trial.unlink(missing_ok=True)

    def _write(self, state: TrialState) -> TrialState:
        replace_file(self._paths.trial, msgspec.json.encode(state).decode(), 0o644)
        return state

    def _current(self) -> str:
        link = self._paths.current
        return link.readlink().name if link.is_symlink() else ""

    def _boot(self) -> str:
        try:
            return (self._paths.root / _BOOT_ID).read_text().strip()
        except OSError:
            return ""

    def _program(self, name: str) -> Program:
        return Program(self._paths.programs / name, name.partition("+")[0])

    def start_watching(self) -> None:
        """Have the unit watch, or start again with what was decided; here if there is no unit."""
        try:
            unit.start_anew(self._run, TRIAL_UNIT)
        except CommandFailed as error:
            self._log(f"{TRIAL_UNIT} cannot be started, so this command watches itself: {error}")
            self.watch()


def _is_misconfigured(found: dict[str, str]) -> bool:
    return found.get("ExecMainStatus") == _BAD_CONFIGURATION


def _why_kept(copy: Path) -> str:
    """Why the version that migrated the database has to stay; "" when it need not."""
    path = original_of(copy)
    try:
        count = accepted_since(path, copy)
    except sqlite3.Error as error:
        return f"It stays: what it accepted cannot be read ({error})"
    if not count:
        return ""
    return (
        f"It stays: it has accepted {count} jobs or deliveries that the version before could not"
        f" read. Without them: stop the node, put {copy} in the place of {path}, and run `service"
        " rollback`"
    )


def read_state(paths: Paths) -> TrialState | None:
    """The trial that is not over; None when there is none."""
    return _read(paths.trial, TrialState)


def last_result(paths: Paths) -> TrialResult | None:
    """How the last trial ended; None when there was none."""
    return _read(paths.last_trial, TrialResult)


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
