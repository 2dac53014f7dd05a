"""`infernet-edge service`: the node as a systemd service."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.output import add_json_argument, answering, print_progress
from infernet_edge.cli.text import wrapped

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from infernet_edge.config import Config
    from infernet_edge.installer.trial import Trial

    Answer = dict[str, Any]

HELP = "install the node as a systemd service, upgrade it, show its state"

_ACTIONS = {
    "install": "install this executable as a service and start it; can be repeated",
    "uninstall": "stop the service and remove it; keep its data and configuration",
    "status": "show the service's state, version and health",
    "logs": "show the service's log",
    "upgrade": "run another executable; rolled back when it does not start, or crashes repeatedly",
    "rollback": "run the previous version again, which an upgrade keeps",
    "unpack": "unpack this executable into a folder",
}
# Run by units and by other versions, not by users.
_INTERNAL = ("watch", "migrations")
_EPILOG = """\
The program goes to /opt/infernet-edge, the configuration to /etc/infernet-edge, secrets as files
named by their keys (chain.wallet.private_key, server.tokens.NAME) to
/etc/infernet-edge/credentials, data to /var/lib/infernet-edge. When secrets were added or
removed, run `sudo infernet-edge service install` again; after other changes
`sudo infernet-edge reload`, which names those that need a restart.
"""
_READY_WITHIN = 120.0  # seconds
_TRIAL = 600.0  # seconds


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "sudo infernet-edge service install --config config.toml",
        "infernet-edge service logs --follow",
        "sudo infernet-edge service upgrade ./infernet-edge-0.2.0",
        text=_EPILOG,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    added = {
        name: actions.add_parser(name, help=described, description=described)
        for name, described in _ACTIONS.items()
    }
    for name in _INTERNAL:
        actions.add_parser(name)
    for name in ("install", "uninstall"):
        added[name].add_argument(
            "--dry-run", action="store_true", help="show every step and change nothing"
        )
    _configure_install(added["install"])
    added["uninstall"].add_argument(
        "--purge", action="store_true", help="remove data, configuration, secrets and user too"
    )
    for name in set(_ACTIONS) - {"logs"}:
        add_json_argument(added[name])
    logs = added["logs"]
    add_json_argument(logs, "print an object for each entry")
    logs.add_argument("-f", "--follow", action="store_true", help="keep printing new lines")
    logs.add_argument("-n", "--lines", type=int, default=100, help="how many (default: 100)")
    upgrade = added["upgrade"]
    upgrade.add_argument("binary", type=Path, metavar="BINARY", help="the newer executable")
    upgrade.add_argument(
        "--sha256", metavar="HEX", help="its expected digest (default: from BINARY.sha256)"
    )
    for parser in (upgrade, added["rollback"]):
        parser.add_argument(
            "--timeout",
            type=_seconds,
            default=_READY_WITHIN,
            metavar="SECONDS",
            help=f"time until it must be ready (default: {_READY_WITHIN:g})",
        )
        parser.add_argument(
            "--trial",
            type=_seconds,
            default=_TRIAL,
            metavar="SECONDS",
            help="time in which it is on trial: if it crashes repeatedly, it is"
            f" rolled back (default: {_TRIAL:g})",
        )
    added["unpack"].add_argument("folder", type=Path, metavar="FOLDER", help="must not exist yet")


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 24 * 3600:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 to 86400 seconds")
    return value


def _configure_install(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="PATH",
        help="configuration to copy, if none exists in /etc/infernet-edge",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--rootless",
        action="store_true",
        default=None,
        help="run Podman as the node's user: safer, without limits for containers",
    )
    which.add_argument(
        "--rootful",
        dest="rootless",
        action="store_false",
        help="run Podman as root (default, unless it was installed with --rootless)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the action; returns the exit code."""
    from infernet_edge.config import ConfigurationError
    from infernet_edge.errors import InfernetEdgeError

    try:
        if (change := _CHANGES.get(arguments.action)) is None:
            return _ACTION[arguments.action](arguments)
        with answering(as_json=arguments.json) as answer:
            return change(arguments, answer)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 78
    except InfernetEdgeError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise  # the reader closed the pipe; main.py handles it
    except OSError as error:
        print(f"infernet-edge: {error}", file=sys.stderr)
        return 1


def _install(arguments: argparse.Namespace, answer: Answer) -> int:
    from infernet_edge.config import load
    from infernet_edge.executable import is_frozen
    from infernet_edge.installer import drop_in
    from infernet_edge.installer.commands import run as run_command
    from infernet_edge.installer.given import database_elsewhere, tokens_elsewhere
    from infernet_edge.installer.installation import Installer
    from infernet_edge.installer.paths import Paths
    from infernet_edge.installer.steps import carry_out
    from infernet_edge.installer.versions import running_program

    if not is_frozen():
        return _refuse(
            "Only the executable can be installed; this is the Python package. Build it with"
            " `pyinstaller pyinstaller.spec`, then: sudo dist/infernet-edge service install"
        )
    if not _may_go_on(arguments):
        return 1
    paths = Paths()
    if arguments.config is not None:
        load(arguments.config, drop_in.environment(paths))
    else:
        drop_in.configuration(paths)
    rootless = paths.rootless.exists() if arguments.rootless is None else arguments.rootless
    installer = Installer(paths, run_command)
    log = StepLog()
    with _alone(arguments):
        steps = installer.install(running_program(), arguments.config, rootless=rootless)
        changes = carry_out(steps, log, dry_run=arguments.dry_run)
    config, given = drop_in.configuration(paths), arguments.config
    if given is not None and config is not None:
        note = database_elsewhere(given, config.storage_path, os.environ)
        if note or changes:
            print_progress(note or f"The service keeps its jobs in {config.storage_path}")
        if not arguments.dry_run:
            note = tokens_elsewhere(given, config.storage_path, os.environ)
            if note:
                print_progress("\n".join(wrapped("", note)))
    answer |= log.answer(arguments) | {"configuration": str(paths.configuration() or "") or None}
    code = _report(arguments, changes, f"Configuration: {paths.configuration()}")
    if config is not None and not arguments.dry_run:
        _print_link(config)
    return code


class StepLog:
    """Prints the steps as they are done, and keeps their titles for --json."""

    def __init__(self) -> None:
        self._steps: list[str] = []

    def __call__(self, line: str) -> None:
        """Print a title, or a line of what a step of a dry run would write."""
        print_progress(line)
        if not line.startswith(" "):
            self._steps.append(line)

    def answer(self, arguments: argparse.Namespace) -> Answer:
        """What was done, and whether it was only shown."""
        return {"dry_run": arguments.dry_run, "changed": bool(self._steps), "steps": self._steps}


def _print_link(config: Config) -> None:
    """Print how a browser opens the service, as `run` prints it for a node in a terminal."""
    from infernet_edge.cli.links import access_lines, open_lines
    from infernet_edge.control.client import NotRunning, call, fetch

    try:
        status, caller = fetch(config, "status"), call(config, "GET", "/api/me")
    except NotRunning as problem:
        print_progress("\n".join(wrapped("note: ", str(problem))))
        return
    urls, own = status["network"], status["url"]
    for line in (*open_lines(urls, own), *access_lines(urls, is_open=caller["open"], sudo=True)):
        print_progress(line)


def _alone(arguments: argparse.Namespace) -> AbstractContextManager[None]:
    """Exclude upgrades and roll-backs meanwhile; a dry run changes nothing."""
    if arguments.dry_run:
        return nullcontext()
    return _trial(print_progress).alone()


def _trial(log: Callable[[str], None]) -> Trial:
    """The trial of a version on this machine."""
    from infernet_edge.installer.commands import run
    from infernet_edge.installer.installation import Installer
    from infernet_edge.installer.paths import Paths
    from infernet_edge.installer.trial import Machine, Trial

    paths = Paths()
    return Trial(Machine(paths, run, log, Installer(paths, run)))


def _uninstall(arguments: argparse.Namespace, answer: Answer) -> int:
    from infernet_edge.installer.commands import run as run_command
    from infernet_edge.installer.installation import Installer
    from infernet_edge.installer.paths import Paths
    from infernet_edge.installer.steps import carry_out

    if not _may_go_on(arguments):
        return 1
    paths = Paths()
    installer = Installer(paths, run_command)
    exclusive = _alone(arguments) if paths.programs.exists() else nullcontext()
    log = StepLog()
    with exclusive:
        steps = installer.uninstall(purge=arguments.purge)
        changes = carry_out(steps, log, dry_run=arguments.dry_run)
    kept = [] if arguments.purge else [str(paths.settings), str(paths.state)]
    answer |= log.answer(arguments) | {"kept": kept}
    left = (
        "Everything was removed." if arguments.purge else f"Kept: {paths.settings}, {paths.state}"
    )
    return _report(arguments, changes, left)


def _upgrade(arguments: argparse.Namespace, answer: Answer) -> int:
    from infernet_edge.installer.upgrade import Upgrade, expected_digest

    sha256 = expected_digest(arguments.binary, arguments.sha256)
    if not _may_go_on(arguments):
        return 1
    before = _version()
    Upgrade(_trial(print_progress)).to(arguments.binary, sha256, arguments.timeout, arguments.trial)
    answer |= {"version": _version(), "previous": before}
    return 0


def _rollback(arguments: argparse.Namespace, answer: Answer) -> int:
    from infernet_edge.installer.upgrade import Upgrade

    if not _may_go_on(arguments):
        return 1
    before = _version()
    Upgrade(_trial(print_progress)).roll_back(arguments.timeout, arguments.trial)
    answer |= {"version": _version(), "previous": before}
    return 0


def _version() -> str | None:
    """The folder of the version that the service runs, as `service status` shows it."""
    from infernet_edge.installer.paths import Paths

    current = Paths().current
    return current.readlink().name if current.is_symlink() else None


def _watch(arguments: argparse.Namespace) -> int:
    """What infernet-edge-trial.service runs."""
    if not _may_go_on(arguments):
        return 1
    _trial(print_progress).watch()
    return 0


def _migrations(arguments: argparse.Namespace) -> int:
    """Print the migrations of this version as JSON, for other versions."""
    import json

    from infernet_edge.node import all_migrations
    from infernet_edge.storage.migrations import readable_since

    steps = all_migrations(chain=True)
    print(
        json.dumps(
            {
                owner: {"steps": len(each), "readable_since": readable_since(each)}
                for owner, each in steps.items()
            }
        )
    )
    return 0


def _status(arguments: argparse.Namespace) -> int:
    import json

    from infernet_edge.cli.service_report import describe, is_healthy, lines
    from infernet_edge.installer import unit
    from infernet_edge.installer.commands import run as run_command
    from infernet_edge.installer.paths import Paths

    if not unit.is_booted():
        return _refuse(_NO_SYSTEMD)
    found = describe(Paths(), unit.state(run_command))
    print(json.dumps(found, indent=2) if arguments.json else "\n".join(lines(found)))
    return 0 if is_healthy(found) else 1


def _logs(arguments: argparse.Namespace) -> int:
    """Replace this process by journalctl, which has a pager; returns only on failure."""
    from infernet_edge.config.paths import NODE_UNIT
    from infernet_edge.installer import unit

    if not unit.is_booted():
        return _refuse(_NO_SYSTEMD)
    command = ["journalctl", f"--unit={NODE_UNIT}", f"--lines={arguments.lines}"]
    if arguments.follow:
        command.append("--follow")
    if arguments.json:
        command.append("--output=json")
    sys.stdout.flush()
    try:
        os.execvp(command[0], command)  # noqa: S606  # a list, without a shell
    except FileNotFoundError:
        return _refuse("journalctl is not installed.")


def _unpack(arguments: argparse.Namespace, answer: Answer) -> int:
    from infernet_edge.executable import is_frozen, unpack

    if not is_frozen():
        return _refuse("Only the executable can be unpacked; this is the Python package.")
    program = unpack(arguments.folder)
    print(program)
    answer["program"] = str(program.absolute())
    return 0


_CHANGES = {
    "install": _install,
    "uninstall": _uninstall,
    "upgrade": _upgrade,
    "rollback": _rollback,
    "unpack": _unpack,
}
_ACTION = {
    "status": _status,
    "logs": _logs,
    "watch": _watch,
    "migrations": _migrations,
}

_NO_SYSTEMD = (
    "This machine does not run systemd. Start the node with `infernet-edge run` from the"
    " service manager of this system."
)


def _may_go_on(arguments: argparse.Namespace) -> bool:
    """Whether this is root on a machine with systemd; prints what is missing.

    A dry run continues without, and prints it at its end.
    """
    missing = _missing(arguments)
    if missing and not getattr(arguments, "dry_run", False):
        _refuse(missing[0])
        return False
    return True


def _missing(arguments: argparse.Namespace) -> list[str]:
    """What is missing for the real run of an action."""
    from infernet_edge.installer import unit

    missing = [] if unit.is_booted() else [_NO_SYSTEMD]
    if os.geteuid() != 0:
        again = f"sudo infernet-edge service {arguments.action}"
        missing.append(f"This needs root. Put sudo in front: {again}")
    return missing


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


def _report(arguments: argparse.Namespace, changes: int, after: str) -> int:
    if arguments.dry_run:
        for reason in _missing(arguments):
            print(f"The real run would fail: {reason}")
        print(f"{changes} steps; this was a dry run, nothing was changed." if changes else _NOTHING)
    else:
        print(f"Done. {after}" if changes else _NOTHING)
    return 0


_NOTHING = "Already up to date; nothing was changed."
