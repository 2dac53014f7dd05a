"""Is the node a service of systemd, and is that well?"""

from __future__ import annotations

import asyncio
import os

from infernet_edge.config.places import NODE_UNIT as UNIT
from infernet_edge.containers.daemon import clean_environment
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning

NAME = "service"
_FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")  # systemd.unit(5), of the system's
_PROPERTIES = "ActiveState,SubState,Result,ExecMainStatus,UnitFileState,NeedDaemonReload"
_TIMEOUT = 5.0  # seconds
_BAD_CONFIGURATION = "78"


async def check(case: Case) -> Finding:
    """Look for the unit, and ask systemd about it."""
    if not (case.root / "run/systemd/system").is_dir():  # sd_booted(3)
        return ok("not needed: this machine is not run by systemd")
    if not any((case.root / folder / "systemd/system" / UNIT).is_file() for folder in _FOLDERS):
        return ok("none is installed, the node runs when you start it (infernet-edge service)")
    try:
        state = await _ask_systemd()
    except (OSError, TimeoutError) as error:
        return warning(
            f"{UNIT} is installed, but systemd cannot be asked about it ({error or 'no answer'})",
            f"systemctl status {UNIT}",
        )
    return _judge(state)


async def _ask_systemd() -> dict[str, str]:
    process = await asyncio.create_subprocess_exec(
        *("systemctl", "show", UNIT, f"--property={_PROPERTIES}"),
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


def _judge(state: dict[str, str]) -> Finding:
    active, result = state.get("ActiveState", ""), state.get("Result", "")
    code = state.get("ExecMainStatus", "")
    if active == "failed" or state.get("SubState") == "auto-restart":
        if code == _BAD_CONFIGURATION:
            return problem(
                f"{UNIT} did not start: its configuration had mistakes",
                f"infernet-edge check; then: sudo systemctl restart {UNIT}",
            )
        return problem(f"{UNIT} does not stay up ({result}, exit status {code})", _JOURNAL)
    if state.get("NeedDaemonReload") == "yes":
        return warning(f"{UNIT} was changed since", "sudo systemctl daemon-reload")
    if active not in ("active", "activating", "reloading"):
        return warning(f"{UNIT} is installed, but does not run", f"sudo systemctl start {UNIT}")
    if state.get("UnitFileState") == "disabled":
        return warning(
            f"{UNIT} runs, but would not start with the machine", f"sudo systemctl enable {UNIT}"
        )
    return ok(f"{UNIT} is {active}")


_JOURNAL = f"journalctl -u {UNIT} -n 50"
