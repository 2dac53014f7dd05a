"""What systemd tells the node, for commands that somebody runs beside the installed service.

The service's data, credentials and Podman are where its units say (systemd/), not where the user
who runs a command would have them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from infernet_edge.config.sources import SYSTEM_FILES

_UNIT = "etc/systemd/system/infernet-edge.service"
_STATE = "var/lib/infernet-edge"
_RUNTIME = "run/infernet-edge-podman"
# While the service runs, its user sees the credentials in the first place; root sees the second.
_CREDENTIALS = ("run/credentials/infernet-edge.service", "etc/infernet-edge/credentials")


def service_environment(
    file: Path | None, environment: Mapping[str, str], root: Path = Path("/")
) -> dict[str, str]:
    """The variables that the service has, when `file` is its configuration; nothing otherwise.

    `environment` is that of this process: it is the service itself when it has a STATE_DIRECTORY.
    """
    if file not in SYSTEM_FILES or "STATE_DIRECTORY" in environment:
        return {}
    if not (root / _UNIT).is_file():
        return {}
    told = {"STATE_DIRECTORY": str(root / _STATE)}
    if os.access(root / _RUNTIME / "podman/podman.sock", os.R_OK | os.W_OK):
        told["XDG_RUNTIME_DIR"] = str(root / _RUNTIME)
    for place in _CREDENTIALS:
        if os.access(root / place, os.R_OK | os.X_OK):
            return {**told, "CREDENTIALS_DIRECTORY": str(root / place)}
    return told
