"""The steps that install the service, and those that take it away again."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from infernet_edge.config import load
from infernet_edge.config.model import DATABASE
from infernet_edge.config.paths import NODE_UNIT
from infernet_edge.containers.specification import NODE_LABEL, node_name
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.installer import drop_in, unit
from infernet_edge.installer.commands import CommandFailed, Runner, must
from infernet_edge.installer.given import copies, token_copy
from infernet_edge.installer.paths import PODMAN_SOCKET, PODMAN_UNIT, TRIAL_UNIT, USER, Paths
from infernet_edge.installer.steps import (
    Step,
    make_folder,
    make_link,
    never,
    remove,
    run_command,
    set_rights,
    write_file,
)
from infernet_edge.installer.versions import Program, Programs

_START_TIMEOUT = 150.0  # seconds; TimeoutStartSec of the unit is 90, Podman's comes before it
_PODMAN_TIMEOUT = 120.0  # seconds; containers may take ten each to stop
_SUBORDINATE_IDS = 65536  # as many as useradd gives to a person


class OtherVersion(InfernetEdgeError):
    """Another version is installed, which only an upgrade replaces."""


class Installer:
    """Makes the steps for one machine. `owner` is the user that the node's files belong to."""

    def __init__(self, paths: Paths, run: Runner, owner: str = USER) -> None:
        self._paths = paths
        self._run = run
        self._owner = owner
        self._programs = Programs(paths, run)

    def install(self, program: Program, given: Path | None, *, rootless: bool) -> list[Step]:
        """All steps of an installation. `given` is a configuration to copy, if none is there.

        Raises ConfigurationError, CannotGrant, NotOurs, OtherVersion.
        """
        account = self._account(program, rootless=rootless)
        placed, program_steps = self._program(program)
        current = self._programs.current()
        if current not in (None, placed):
            raise OtherVersion(
                f"Version {current.version} is installed, this is {program.version}. To change to"
                " this one: sudo infernet-edge service upgrade BINARY"
            )
        configuration = self._configuration(given)
        units = self.units(program, rootless=rootless)
        stops = self._stops(units, program_steps)
        changing = [*stops, *program_steps, *configuration, *units]
        return [
            *account,
            *changing,
            *([self._remove_containers()] if rootless else []),
            self._reload([*units, *configuration]),
            self._enable(PODMAN_SOCKET, "--now", follows=units),
            self._enable(NODE_UNIT),
            *([] if self._paths.trial.exists() else self.trial_unit(program)),
            self._start(placed, changing),
        ]

    def activate(self, program: Program) -> list[Step]:
        """Make an installed program the current one, with its unit files; it is not started.

        What can fail comes first. Until the units are stopped, they run as they were loaded.
        """
        units = self.units(program, rootless=self._paths.rootless.exists())
        link = make_link(self._paths.current, Path(program.folder.name))
        # One after the other: the node removes its containers by Podman.
        commands = (["stop", NODE_UNIT], ["stop", PODMAN_UNIT], ["daemon-reload"])
        return [
            *units,
            link,
            *(self._command(["systemctl", *command], _always) for command in commands),
        ]

    def trial_unit(self, program: Program) -> list[Step]:
        """The unit that watches trials, as a version has it; enabled, and known to systemd.

        While there is a trial it stays that of the version before.
        """
        source = program.units / TRIAL_UNIT
        if not source.exists():  # a version from before there were trials
            return []
        unit_file = _copy(source, self._paths.units / TRIAL_UNIT)
        return [unit_file, self._reload([unit_file]), self._enable(TRIAL_UNIT)]

    def units(self, program: Program, *, rootless: bool) -> list[Step]:
        """The unit files of this program, and no others."""
        paths = self._paths
        steps = [
            _copy(program.units / name, paths.units / name)
            for name in (NODE_UNIT, PODMAN_SOCKET, PODMAN_UNIT)
        ]
        if rootless:
            steps.append(_copy(program.units / "rootless.conf", paths.rootless))
        else:
            steps.append(remove(paths.rootless))
        return [*steps, *self._podman_groups(rootless=rootless)]

    def _podman_groups(self, *, rootless: bool) -> list[Step]:
        """The groups that own devices, for a Podman without root.

        A configuration that has errors now must not keep a version from being rolled back.
        """
        file = self._paths.rootless.with_name("groups.conf")
        try:
            text = drop_in.podman_drop_in(self._paths) if rootless else ""
        except InfernetEdgeError:
            return []
        return [write_file(file, text) if text else remove(file)]

    def uninstall(self, *, purge: bool) -> list[Step]:
        """All steps that take the service away; data and settings only when `purge` is set."""
        paths = self._paths
        names = (TRIAL_UNIT, NODE_UNIT, PODMAN_SOCKET, PODMAN_UNIT)
        there = [paths.units / name for name in names]
        # The node removes its containers, so it ends before Podman's service does.
        stops = [
            self._command(["systemctl", "disable", "--now", path.name], path.exists)
            for path in there[:3]
        ]
        stops.append(self._command(["systemctl", "stop", PODMAN_UNIT], there[3].exists))
        stops.append(self._remove_containers())
        removals = [remove(path) for path in there]
        removals += [remove(path.parent) for path in (paths.rootless, paths.access)]
        reload = self._command(["systemctl", "daemon-reload"], never, removals)
        steps = [*stops, *removals, reload]
        if purge:
            gone = (paths.settings, paths.state, paths.podman_state, paths.sysusers)
            steps += [remove(path) for path in gone]
            steps.append(self._command(["userdel", USER], _has_account))
        # This very program is among the last, since it still reads its own files.
        return [*steps, remove(paths.command), remove(paths.programs)]

    def _remove_containers(self) -> Step:
        """Remove what the node left with the Podman that runs as root, and does not use any more.

        A node that was killed could not do so, nor one whose Podman is another now.
        """
        try:
            config = drop_in.configuration(self._paths)
        except InfernetEdgeError:  # it has errors: the node did not run with it
            config = None
        name = node_name(config.storage_path if config else self._paths.state)
        listing = ["podman", "ps", "--all", "--quiet", f"--filter=label={NODE_LABEL}={name}"]

        def left() -> list[str]:
            try:
                output = self._run(listing, _PODMAN_TIMEOUT)
            except CommandFailed:  # there is no Podman
                return []
            return output.text.split() if output.code == 0 else []

        def perform() -> None:
            command = ["podman", "rm", "--force", *left()]
            must(self._run(command, _PODMAN_TIMEOUT), command)

        return Step(
            "Remove the containers that the node left with Podman as root",
            lambda: bool(left()),
            perform,
        )

    def _account(self, program: Program, *, rootless: bool) -> list[Step]:
        declared = _copy(program.units / "sysusers.conf", self._paths.sysusers)
        made = self._command(
            ["systemd-sysusers", str(self._paths.sysusers)], lambda: not _has_account()
        )
        if not rootless:
            return [declared, made]
        return [declared, made, self._subordinate_ids()]

    def _subordinate_ids(self) -> Step:
        """A range of user ids for the user namespaces of a Podman without root."""
        lines = _lines(self._paths.subordinate_ids)
        ranges = [line.split(":") for line in lines if line.count(":") == 2]
        ends = [int(first) + int(count) for _, first, count in ranges]
        first = max([100000, *ends])
        span = f"{first}-{first + _SUBORDINATE_IDS - 1}"
        return self._command(
            ["usermod", "--add-subuids", span, "--add-subgids", span, USER],
            lambda: all(name != USER for name, _, _ in ranges),
        )

    def _program(self, program: Program) -> tuple[Program, list[Step]]:
        paths = self._paths
        placed = Program(self._programs.place_of(program), program.version)
        steps = [
            make_folder(paths.programs),
            Step(
                f"Put version {program.version} into {placed.folder}",
                lambda: not self._programs.is_intact(placed, program),
                lambda: self._programs.add(program),
            ),
            make_link(paths.current, Path(placed.folder.name)),
            make_link(paths.command, paths.current / placed.executable.name),
        ]
        return placed, steps

    def _configuration(self, given: Path | None) -> list[Step]:
        paths = self._paths
        file = paths.configuration()
        steps = [
            *self._tokens(file, given),
            make_folder(paths.settings),
            make_folder(paths.credentials, 0o700),
        ]
        if file is not None:
            steps.append(set_rights(file, 0o600, self._owner))
        elif given is not None:
            steps += copies(given, paths.settings, self._owner)
        else:
            target = paths.settings / "config.toml"
            steps.append(write_file(target, self._first_configuration(), 0o600, self._owner))
        # What it names is known when it is there.
        return [*steps, self._access()]

    def _tokens(self, file: Path | None, given: Path | None) -> list[Step]:
        """Copy the tokens that a node with this configuration has, before its first start here."""
        source, state = file or given, self._paths.state
        used = state
        if source is not None:
            used = load(source, drop_in.environment(self._paths)).config.storage_path
        if not used.is_relative_to(state) or (file is not None and (used / DATABASE).exists()):
            return []
        copy = token_copy(source, used, self._owner, os.environ)
        return [make_folder(state, 0o700, self._owner), *copy] if copy else []

    def _first_configuration(self) -> str:
        from infernet_edge.config.rendering import to_toml

        return to_toml({"storage": {"path": str(self._paths.state)}})

    def _access(self) -> Step:
        """The drop-in for what the configuration names, which may be written just before."""

        def step() -> Step:
            text = drop_in.drop_in(self._paths)
            return write_file(self._paths.access, text) if text else remove(self._paths.access)

        return Step(
            f"Bring {self._paths.access} in line with the configuration and the credentials",
            lambda: step().needed(),
            lambda: step().perform(),
            drop_in.drop_in(self._paths),
        )

    def _start(self, program: Program, changing: list[Step]) -> Step:
        return Step(
            f"Start the node, version {program.version}, and wait until it is ready",
            lambda: not unit.is_active(self._run),
            lambda: unit.restart(self._run, _START_TIMEOUT),
            follows=tuple(changing),
        )

    def _stops(self, units: Sequence[Step], program: Sequence[Step] = ()) -> list[Step]:
        """Stop what runs by unit files that change, before they change.

        The node removes its containers with the Podman that has them; then Podman's service is to
        start again by the new files.
        """

        def stop(name: str, steps: Sequence[Step]) -> Step:
            return self._command(
                ["systemctl", "stop", name],
                lambda: (self._paths.units / name).exists() and any(s.needed() for s in steps),
            )

        return [stop(NODE_UNIT, [*units, *program]), stop(PODMAN_UNIT, units)]

    def _reload(self, changed: Sequence[Step]) -> Step:
        return self._command(["systemctl", "daemon-reload"], never, changed)

    def _enable(self, name: str, *options: str, follows: Iterable[Step] = ()) -> Step:
        def needed() -> bool:
            return self._run(["systemctl", "is-enabled", name], 30).text != "enabled"

        return self._command(["systemctl", "enable", *options, name], needed, follows)

    def _command(
        self, arguments: list[str], needed: Callable[[], bool], follows: Iterable[Step] = ()
    ) -> Step:
        return run_command(self._run, arguments, needed, follows)


def _always() -> bool:
    return True


def _copy(source: Path, target: Path) -> Step:
    return write_file(target, source.read_text("utf-8"))


def _has_account() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []
