"""The environment of the installed service, for commands that run beside it.

The service's data, credentials and Podman are where its units (systemd/) put them, not where they
are for the user who runs a command.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from infernet_edge.config import paths
from infernet_edge.config.paths import SYSTEM_FILES


def service_environment(
    file: Path | None, environment: Mapping[str, str], root: Path = Path("/")
) -> dict[str, str]:
    """The variables that systemd sets for the service, if `file` is its configuration; else none.

    `environment` is that of this process: with a STATE_DIRECTORY, it is the service itself.
    """
    if file not in SYSTEM_FILES or "STATE_DIRECTORY" in environment:
        return {}
    if not (root / paths.UNITS / paths.NODE_UNIT).is_file():
        return {}
    variables = {"STATE_DIRECTORY": str(root / paths.STATE)}
    runtime = root / paths.PODMAN_RUNTIME
    if os.access(runtime / "podman/podman.sock", os.R_OK | os.W_OK):
        variables["XDG_RUNTIME_DIR"] = str(runtime)
    # While the service runs, its user sees the first of these; root sees the second.
    for folder in (paths.LOADED_CREDENTIALS, paths.CREDENTIALS):
        if os.access(root / folder, os.R_OK | os.X_OK):
            return {**variables, "CREDENTIALS_DIRECTORY": str(root / folder)}
    return variables
