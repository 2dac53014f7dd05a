"""An image in which the demo's services can run, made without a registry."""

from __future__ import annotations

from tests.support.podman import IsolatedPodman

DEMO_IMAGE = "localhost/infernet-test/demo:1"

_LINK_PYTHON = """
import os
os.makedirs("/usr/bin", exist_ok=True)
os.symlink("/python", "/usr/bin/python3")
"""


def make_demo_image(podman: IsolatedPodman) -> str:
    """Make an image with python3 in its path and no entry point, as Python's own; its name."""
    echo = podman.echo_image()
    podman.run("run", "--name", "made", "--entrypoint", "/python", echo, "-c", _LINK_PYTHON)
    podman.run("commit", "made", DEMO_IMAGE, changes=["ENTRYPOINT []"])
    podman.run("rm", "made")
    return DEMO_IMAGE
