"""Is the node installed as a systemd service, and in which state is it?"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from infernet_edge.config.paths import NODE_UNIT as UNIT
from infernet_edge.config.paths import UNITS
from infernet_edge.containers.podman_service import clean_environment
from infernet_edge.doctor.commands import as_root, program
from infernet_edge.doctor.context import SERVICE_USER, Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem, warning
from infernet_edge.doctor.sockets import SERVICE_PODMAN, SERVICE_SOCKET
from infernet_edge.doctor.user import user_named
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.executable import PROGRAM

NAME = "service"
NEEDS = ()

_FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")  # systemd.unit(5), of the system's
_PROPERTIES = "ActiveState,SubState,Result,ExecMainStatus,UnitFileState,NeedDaemonReload"
_TIMEOUT = 5.0  # seconds
_BAD_CONFIGURATION = "78"


async def check(case: Case) -> list[Finding]:
    """Find the units, compare them with those of the program, and read their state from systemd."""
    if not case.has_systemd:
        return [ok("not needed: this machine does not run systemd")]
    if not any((case.root / folder / "systemd/system" / UNIT).is_file() for folder in _FOLDERS):
        return [ok("not installed: the node is started by hand (see infernet-edge service)")]
    try:
        # One after the other: when one fails, no process of the other is left behind.
        node, podman = await _ask_systemd(UNIT), await _ask_systemd(SERVICE_SOCKET)
    except (OSError, TimeoutError) as error:
        reason = f"{UNIT} is installed, but systemd does not answer ({error or 'no answer'})"
        return [not_checked(reason)]
    installed = await case.blocking(_check_installation, case)
    found = [*installed, _judge(case, node)]
    if (case.root / UNITS / SERVICE_SOCKET).is_file() and case.config.manage_containers:
        found.append(_judge_socket(podman))
    return found


async def _ask_systemd(unit: str) -> dict[str, str]:
    process = await asyncio.create_subprocess_exec(
        *("systemctl", "show", unit, f"--property={_PROPERTIES}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=clean_environment(os.environ),
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = (line.partition("=") for line in output.decode("utf-8", "replace").splitlines())
    return {name: value for name, _, value in lines}


def _judge(case: Case, state: dict[str, str]) -> Finding:
    active, result = state.get("ActiveState", ""), state.get("Result", "")
    code = state.get("ExecMainStatus", "")
    if state.get("NeedDaemonReload") == "yes":
        return warning(
            f"{UNIT} was changed, and systemd has not read it since",
            command=as_root("systemctl", "daemon-reload"),
        )
    if active == "failed" or state.get("SubState") == "auto-restart":
        if code == _BAD_CONFIGURATION and not case.is_service:
            return problem(
                f"{UNIT} did not start: its configuration had errors",
                "run the doctor with sudo and without --config, to check that configuration",
            )
        if code == _BAD_CONFIGURATION and case.problems:
            return problem(
                f"{UNIT} did not start: its configuration has errors",
                "correct them, see the check configuration; then restart the service",
            )
        again = as_root("systemctl", "restart", UNIT)
        if code == _BAD_CONFIGURATION:
            return problem(
                f"{UNIT} did not start: its configuration had errors, which are corrected",
                command=again,
            )
        return problem(
            f"{UNIT} stops again after its start ({result}, exit status {code})",
            "first fix the other findings; the log has details: infernet-edge service logs",
            command=again,
        )
    enabled = state.get("UnitFileState") != "disabled"
    if active not in ("active", "activating", "reloading"):
        words = ("systemctl", "start", UNIT) if enabled else ("systemctl", "enable", "--now", UNIT)
        return warning(f"{UNIT} is installed, but is not running", command=as_root(*words))
    if not enabled:
        return warning(
            f"{UNIT} runs, but does not start at boot",
            command=as_root("systemctl", "enable", UNIT),
        )
    return ok(f"{UNIT} is {active}")


def _judge_socket(state: dict[str, str]) -> Finding:
    active = state.get("ActiveState") == "active"
    if active and state.get("UnitFileState") != "disabled":
        return ok(f"{SERVICE_SOCKET} is active")
    what = "does not start at boot" if active else "does not listen, so no Podman answers"
    return problem(
        f"{SERVICE_SOCKET} {what}", command=as_root("systemctl", "enable", "--now", SERVICE_SOCKET)
    )


def _check_installation(case: Case) -> list[Finding]:
    """Compare what is installed with what the installed program would install. Blocks."""
    from infernet_edge.installer import drop_in
    from infernet_edge.installer.paths import TRIAL_UNIT, Paths
    from infernet_edge.installer.versions import Program

    paths = Paths(case.root)
    if str(paths.current.relative_to(case.root)) not in (_read(paths.units / UNIT) or ""):
        return []  # not a unit of this program
    again = as_root(*_installed_program(case), "service", "install")
    found = []
    if user_named(SERVICE_USER) is None:
        found.append(problem(f"the account {SERVICE_USER} is missing", command=again))
    current = Program(paths.current, "")
    if not current.executable.is_file():
        found.append(problem(f"{paths.current} does not lead to a program", command=again))
    else:
        # During a trial, the unit that watches it stays that of the version before.
        watcher = () if paths.trial.exists() else (TRIAL_UNIT,)
        for name in (UNIT, SERVICE_SOCKET, SERVICE_PODMAN, *watcher):
            if _differ(current.units / name, paths.units / name):
                found.append(
                    warning(
                        f"{paths.units / name} was changed or is missing",
                        "make changes in a drop-in with systemctl edit",
                        command=again,
                    )
                )
    try:
        wanted = drop_in.drop_in(paths)
    except InfernetEdgeError as error:  # errors, or a name that is invalid in a unit
        if case.problems:
            return [*found, not_checked("the permissions that the configuration needs")]
        return [*found, problem(str(error), "correct that, then install the service again")]
    except OSError:
        return [*found, not_checked("the credentials cannot be read", "run the doctor with sudo")]
    if (_read(paths.access) or "") != wanted:
        found.append(
            problem(
                "folders or credentials of the configuration are not open to the service:"
                f" {paths.access} is not up to date",
                command=again,
            )
        )
    return found


def _installed_program(case: Case) -> list[str]:
    """The command of the installed executable: a Python package cannot install."""
    link = case.root / "usr/local/bin" / PROGRAM
    return [PROGRAM] if case.root == Path("/") and link.exists() else program()


def _differ(wanted: Path, installed: Path) -> bool:
    text = _read(wanted)
    return text is not None and text != _read(installed)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None
