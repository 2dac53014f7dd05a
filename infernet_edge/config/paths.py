"""Paths of the installed service, relative to the root folder. Its units contain the same paths."""

from __future__ import annotations

from pathlib import Path

NODE_UNIT = "infernet-edge.service"

UNITS = "etc/systemd/system"

SETTINGS = "etc/infernet-edge"

FILES = ("config.json", "config.toml")
"""Names of the configuration in that folder; the first one that exists is read."""

SYSTEM_FILES = tuple(Path("/", SETTINGS, name) for name in FILES)

CREDENTIALS = f"{SETTINGS}/credentials"
"""Contains one file for each secret, named by its key of the configuration."""

LOADED_CREDENTIALS = f"run/credentials/{NODE_UNIT}"
"""Where systemd puts the secrets for the running service, systemd.exec(5)."""

STATE = "var/lib/infernet-edge"
"""The node's data."""

PODMAN_RUNTIME = "run/infernet-edge-podman"
"""The service's XDG_RUNTIME_DIR, which contains Podman's socket."""
