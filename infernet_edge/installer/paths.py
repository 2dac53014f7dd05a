"""Where the files of the service are on a machine."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from infernet_edge.config import paths
from infernet_edge.config.paths import NODE_UNIT

USER = "infernet-edge"
PODMAN_SOCKET = "infernet-edge-podman.socket"
PODMAN_UNIT = "infernet-edge-podman.service"
TRIAL_UNIT = "infernet-edge-trial.service"


class Paths(Struct, frozen=True):
    """All places, below `root`."""

    root: Path = Path("/")

    @property
    def programs(self) -> Path:
        """Holds a folder for each version that is installed."""
        return self.root / "opt/infernet-edge"

    @property
    def current(self) -> Path:
        """Links to the folder of the version that runs."""
        return self.programs / "current"

    @property
    def previous(self) -> Path:
        """Links to the folder of the version before, which is kept."""
        return self.programs / "previous"

    @property
    def trial(self) -> Path:
        """Is there while a version is tried, see trial.py."""
        return self.programs / "trial.json"

    @property
    def last_trial(self) -> Path:
        """How the last trial ended."""
        return self.programs / "last-trial.json"

    @property
    def upgrade_lock(self) -> Path:
        """Is locked while a process upgrades or rolls back."""
        return self.programs / ".upgrade.lock"

    @property
    def command(self) -> Path:
        """Links to the program, for people."""
        return self.root / "usr/local/bin/infernet-edge"

    @property
    def units(self) -> Path:
        return self.root / paths.UNITS

    @property
    def rootless(self) -> Path:
        """The drop-in that is there when Podman runs without root."""
        return self.units / f"{PODMAN_UNIT}.d/rootless.conf"

    @property
    def access(self) -> Path:
        """The drop-in with what the configuration needs: credentials, folders."""
        return self.units / f"{NODE_UNIT}.d/access.conf"

    @property
    def sysusers(self) -> Path:
        return self.root / "etc/sysusers.d/infernet-edge.conf"

    @property
    def settings(self) -> Path:
        return self.root / paths.SETTINGS

    @property
    def credentials(self) -> Path:
        """Holds a file for each secret, named by its key of the configuration."""
        return self.root / paths.CREDENTIALS

    @property
    def state(self) -> Path:
        """The node's data."""
        return self.root / paths.STATE

    @property
    def podman_state(self) -> Path:
        """Images and containers of a Podman without root."""
        return self.root / "var/lib/infernet-edge-podman"

    @property
    def subordinate_ids(self) -> Path:
        return self.root / "etc/subuid"

    def configuration(self) -> Path | None:
        """The configuration file, if there is one; the node searches for them in this order."""
        files = (self.settings / name for name in paths.FILES)
        return next((file for file in files if file.is_file()), None)
