"""The units, which are installed unchanged, contain the paths that the commands use."""

from __future__ import annotations

from infernet_edge.config import paths
from tests.support.process import ROOT


def test_the_units_contain_the_same_paths() -> None:
    node = (ROOT / "systemd" / paths.NODE_UNIT).read_text()
    assert f"\nStateDirectory={paths.STATE.removeprefix('var/lib/')}\n" in node
    assert f"\nEnvironment=XDG_RUNTIME_DIR=/{paths.PODMAN_RUNTIME}\n" in node
    socket = (ROOT / "systemd/infernet-edge-podman.socket").read_text()
    assert f"\nListenStream=/{paths.PODMAN_RUNTIME}/podman/podman.sock\n" in socket
