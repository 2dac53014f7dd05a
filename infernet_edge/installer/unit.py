"""The node's unit, as systemd sees it. Blocks."""

from __future__ import annotations

import time
from pathlib import Path

from infernet_edge.config.paths import NODE_UNIT
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.installer.commands import CommandFailed, Runner, must

_TIMEOUT = 30.0
_STEADY = 3.0  # seconds for which it has to stay up
_PROPERTIES = (
    "ActiveState",
    "SubState",
    "Result",
    "StatusText",
    "UnitFileState",
    "ActiveEnterTimestamp",
    "NRestarts",
    "MainPID",
    "InvocationID",
    "ExecMainStatus",
)


class NotReady(InfernetEdgeError):
    """The node does not get ready; the text has the reason and its last lines."""


def is_booted(root: Path = Path("/")) -> bool:
    """Whether systemd runs this machine, sd_booted(3)."""
    return (root / "run/systemd/system").is_dir()


def state(run: Runner) -> dict[str, str]:
    """The unit's properties in systemd, by their names."""
    command = ["systemctl", "show", NODE_UNIT, f"--property={','.join(_PROPERTIES)}"]
    lines = must(run(command, _TIMEOUT), command).splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def is_active(run: Runner) -> bool:
    """Whether the node runs, and has reported that it is ready."""
    return state(run).get("ActiveState") == "active"


def start_anew(run: Runner, name: str) -> None:
    """Have systemd start a unit, or start it again, and do not wait for that."""
    run(["systemctl", "reset-failed", name], _TIMEOUT)
    command = ["systemctl", "restart", "--no-block", name]
    must(run(command, _TIMEOUT), command)


def restart(run: Runner, timeout: float) -> None:
    """Restart the node, wait until it is ready, and check that it stays so.

    `timeout` is in seconds. Raises NotReady with the node's last lines.
    """
    # Forget earlier failures: systemd would refuse further starts because of them.
    run(["systemctl", "reset-failed", NODE_UNIT], _TIMEOUT)
    try:
        output = run(["systemctl", "restart", NODE_UNIT], timeout)
    except CommandFailed:
        raise NotReady(
            f"The node is not ready after {timeout:g} seconds\n{last_lines(run)}"
        ) from None
    if output.code != 0:
        raise NotReady(f"The node does not start ({_outcome(run)})\n{last_lines(run)}")
    begun = state(run)
    time.sleep(_STEADY)
    now = state(run)
    if now["ActiveState"] != "active" or now["InvocationID"] != begun["InvocationID"]:
        raise NotReady(f"The node does not stay up ({_outcome(run)})\n{last_lines(run)}")


def last_lines(run: Runner, number: int = 10) -> str:
    """The newest lines of the node's log, each indented."""
    command = ["journalctl", f"--unit={NODE_UNIT}", f"--lines={number}", "--no-pager", "--quiet"]
    return "\n".join(f"    {line}" for line in run(command, _TIMEOUT).text.splitlines())


def _outcome(run: Runner) -> str:
    found = state(run)
    return f"state {found.get('ActiveState')}, result {found.get('Result')}"
