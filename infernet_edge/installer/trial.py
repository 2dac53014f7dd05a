"""The trial of a version, as a state on the disk: it survives terminals, crashes and power cuts.

1. `begin` writes trial.json, and only then the new version is made the current one.
2. infernet-edge-trial.service runs `watch` in the version before, also after a reboot.
3. `watch` confirms the new version when it has run for the time of the trial, or rolls back: when
   it does not get ready in time, fails, or crashes repeatedly.
4. Whoever began the trial reads in trial.json that the version got ready, and in last-trial.json
   how the trial ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from infernet_edge.clock import milliseconds
from infernet_edge.config.paths import NODE_UNIT
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.installer import unit
from infernet_edge.installer.commands import Runner
from infernet_edge.installer.installation import Installer
from infernet_edge.installer.migration_check import accepted_since, original_of, put_back
from infernet_edge.installer.paths import TRIAL_UNIT, Paths
from infernet_edge.installer.steps import carry_out, make_link, replace_file
from infernet_edge.installer.versions import Program, Programs

_PERIOD = 1.0  # seconds between two looks at the unit
_STEADY = 3.0  # seconds for which it has to stay up before it counts as ready
_MAX_RESTARTS = 3  # of a version that was ready before
_MIN_READY_WITHIN = 30.0  # seconds for the version before, which is known to work
_COMMAND_TIMEOUT = 90.0  # seconds; TimeoutStopSec of the node is 60
_MAX_TRIAL_FACTOR = 2.0  # of the time of the trial; a version that is not up then is rolled back


T = TypeVar("T")


class AnotherUpgrade(InfernetEdgeError):
    """Another process upgrades or rolls back."""


class State(msgspec.Struct, frozen=True):
    """A trial that is not over. `new`, `old` and `before` are names of folders of versions.

    `before` was the kept version when the trial began, "" for none. `ready_within` and `lasts` are
    in seconds. `copy` is the path of a copy of the database that only `old` can read, "" for none.
    """

    identifier: str
    new: str
    old: str
    before: str
    ready_within: float
    lasts: float
    copy: str = ""
    is_ready: bool = False


class Result(msgspec.Struct, frozen=True):
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


class Trial:
    """The trial on one machine. Blocks."""

    def __init__(
        self,
        installer: Installer,
        paths: Paths,
        run: Runner,
        log: Callable[[str], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._installer = installer
        self._paths = paths
        self._run = run
        self._log = log
        self._sleep = sleep
        self._clock = clock
        self._programs = Programs(paths, run)

    def state(self) -> State | None:
        """The trial that is not over; None when there is none."""
        return read_state(self._paths)

    def result(self) -> Result | None:
        """How the last trial ended; None when there was none."""
        return last_result(self._paths)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock of upgrades and roll-backs. Raises AnotherUpgrade when another has it."""
        self._paths.programs.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._paths.upgrade_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise AnotherUpgrade("Another upgrade is in progress. Wait until it is over.") from None
        finally:
            os.close(lock)

    def begin(
        self, old: Program, new: Program, ready_within: float, lasts: float, copy: str = ""
    ) -> State:
        """Write that `new` is tried. It is made the current version, and started, by the caller."""
        before = self._paths.previous
        state = State(
            identifier=os.urandom(8).hex(),
            new=new.folder.name,
            old=old.folder.name,
            before=before.readlink().name if before.is_symlink() else "",
            ready_within=ready_within,
            lasts=lasts,
            copy=copy,
        )
        make_link(before, Path(old.folder.name)).perform()
        self._write(state)
        return state

    def watch(self) -> None:
        """Watch the new version until the trial is over; returns at once when there is none."""
        state = self.state()
        if state is None:
            return
        while self._current() != state.new:
            # The one that upgrades is about to start the version, or it was killed: then the
            # upgrade, or a roll-back, has ended in the middle.
            with contextlib.suppress(AnotherUpgrade), self.alone():
                if self._current() != state.new and self.state() is not None:
                    self.roll_back(state, "The upgrade was interrupted")
                    return
            self._sleep(_PERIOD)
            if self.state() is None:
                return
        reason = self._wait_for_end(state)
        if reason:
            self.roll_back(state, reason)
        else:
            self.confirm(state)

    def _wait_for_end(self, state: State) -> str:
        """Wait until the version is confirmed (""), or has to be rolled back: why."""
        begin = up_since = self._clock()
        invocation = ""
        while True:
            now = self._clock()
            found = unit.state(self._run)
            restarts = int(found.get("NRestarts") or 0)
            is_up = found.get("ActiveState") == "active"
            outcome = f"state {found.get('ActiveState')}, result {found.get('Result')}"
            if not is_up or found.get("InvocationID") != invocation:
                invocation, up_since = found.get("InvocationID", ""), now
            if found.get("ActiveState") == "failed":
                return f"It does not start ({outcome})"
            if not state.is_ready:
                if restarts:
                    return f"It does not start ({outcome})"
                if is_up and now - up_since >= _STEADY:
                    state = msgspec.structs.replace(state, is_ready=True)
                    self._write(state)
                elif now - begin > state.ready_within:
                    return f"It was not ready after {state.ready_within:g} seconds"
            elif restarts >= _MAX_RESTARTS:
                return f"It crashed {restarts} times ({outcome})"
            elif now - begin >= state.lasts:
                if is_up and now - up_since >= _STEADY:
                    return ""
                if now - begin > _MAX_TRIAL_FACTOR * state.lasts + state.ready_within:
                    return f"It does not stay up ({outcome})"
            self._sleep(_PERIOD)

    def confirm(self, state: State) -> None:
        """Keep the new version, with the one before beside it; all others are removed."""
        new, old = self._program(state.new), self._program(state.old)
        carry_out(self._installer.trial_unit(new), self._log)
        self._end(state, is_kept=True, reason="")
        if state.copy:
            Path(state.copy).unlink(missing_ok=True)
        self._programs.keep_only(old, new)

    def roll_back(self, state: State, reason: str) -> None:
        """Run the version before again. May be interrupted anywhere, and begun anew.

        Where only a copy of the database could be read by it, and the new version has accepted
        something since, the new one stays: no acknowledged job is lost.
        """
        self._log(f"Rolling back to version {state.old}: {reason}")
        lines = unit.last_lines(self._run)
        self._run(["systemctl", "stop", NODE_UNIT], _COMMAND_TIMEOUT)
        if state.copy and (kept := self._restore_database(Path(state.copy))):
            self._run(["systemctl", "start", "--no-block", NODE_UNIT], _COMMAND_TIMEOUT)
            self._end(state, is_kept=True, reason=f"{reason}. {kept}\n{lines}")
            return
        carry_out(self._installer.activate(self._program(state.old)), self._log)
        after = ""
        try:
            unit.restart(self._run, max(state.ready_within, _MIN_READY_WITHIN))
        except unit.NotReady as error:
            after = f"\nVersion {state.old} does not start any more either. {error}"
        if state.before and (self._paths.programs / state.before).is_dir():
            make_link(self._paths.previous, Path(state.before)).perform()
        self._end(state, is_kept=False, reason=f"{reason}\n{lines}{after}", old_runs=not after)
        if state.new != state.before:
            self._programs.remove(self._paths.programs / state.new)

    def _restore_database(self, copy: Path) -> str:
        """Put the copy back; returns why not, "" when that is done or was done before."""
        if not copy.exists():
            return ""
        path = original_of(copy)
        try:
            count = accepted_since(path, copy)
        except sqlite3.Error as error:
            return f"It stays: what it accepted cannot be read ({error})"
        if count:
            return (
                f"It stays: it has accepted {count} jobs or deliveries that the version before"
                f" could not read. Without them: stop the node, put {copy} in the place of"
                f" {path}, and run `service rollback`"
            )
        put_back(path, copy)
        return ""

    def _end(self, state: State, *, is_kept: bool, reason: str, old_runs: bool = False) -> None:
        ended_at = milliseconds()
        result = Result(state.identifier, state.new, state.old, is_kept, reason, ended_at, old_runs)
        replace_file(self._paths.last_trial, msgspec.json.encode(result).decode(), 0o644)
        self._paths.trial.unlink(missing_ok=True)

    def _write(self, state: State) -> None:
        replace_file(self._paths.trial, msgspec.json.encode(state).decode(), 0o644)

    def _current(self) -> str:
        link = self._paths.current
        return link.readlink().name if link.is_symlink() else ""

    def _program(self, name: str) -> Program:
        return Program(self._paths.programs / name, name.partition("+")[0])

    def end_watch(self) -> None:
        """Stop the unit that watches, so that another may decide."""
        self._run(["systemctl", "stop", TRIAL_UNIT], _COMMAND_TIMEOUT)


def read_state(paths: Paths) -> State | None:
    """The trial that is not over; None when there is none."""
    return _read(paths.trial, State)


def last_result(paths: Paths) -> Result | None:
    """How the last trial ended; None when there was none."""
    return _read(paths.last_trial, Result)


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
