"""Where the installed service lies, below the root of the machine. Its units say so, too."""

from __future__ import annotations

NODE_UNIT = "infernet-edge.service"

UNITS = "etc/systemd/system"

SETTINGS = "etc/infernet-edge"

FILES = ("config.json", "config.toml")
"""What the configuration is called in there; the first that exists is read."""

CREDENTIALS = f"{SETTINGS}/credentials"
"""Holds a file for each secret, named by its key of the configuration."""

LOADED_CREDENTIALS = f"run/credentials/{NODE_UNIT}"
"""Where systemd lays the secrets for the running service, systemd.exec(5)."""

STATE = "var/lib/infernet-edge"
"""The node's data."""

PODMAN_RUNTIME = "run/infernet-edge-podman"
"""What XDG_RUNTIME_DIR is for the service: Podman's socket is in there."""
