"""What systemd tells the node, for commands that somebody runs beside the installed service.

The service's data, credentials and Podman are where its units say (systemd/), not where the user
who runs a command would have them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from infernet_edge.config import paths
from infernet_edge.config.sources import SYSTEM_FILES


def service_environment(
    file: Path | None, environment: Mapping[str, str], root: Path = Path("/")
) -> dict[str, str]:
    """The variables that the service has, when `file` is its configuration; nothing otherwise.

    `environment` is that of this process: it is the service itself when it has a STATE_DIRECTORY.
    """
    if file not in SYSTEM_FILES or "STATE_DIRECTORY" in environment:
        return {}
    if not (root / paths.UNITS / paths.NODE_UNIT).is_file():
        return {}
    told = {"STATE_DIRECTORY": str(root / paths.STATE)}
    runtime = root / paths.PODMAN_RUNTIME
    if os.access(runtime / "podman/podman.sock", os.R_OK | os.W_OK):
        told["XDG_RUNTIME_DIR"] = str(runtime)
    # While the service runs, its user sees the first of these; root sees the second.
    for place in (paths.LOADED_CREDENTIALS, paths.CREDENTIALS):
        if os.access(root / place, os.R_OK | os.X_OK):
            return {**told, "CREDENTIALS_DIRECTORY": str(root / place)}
    return told
