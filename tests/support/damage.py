"""Damage to images in Podman's storage, as a power cut leaves it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.support.podman import IsolatedPodman


def make_image(podman: IsolatedPodman, image: str, folder: Path, base: str = "") -> None:
    """Make an image with a layer that no other image has, from files in `folder`."""
    (folder / "mark").write_text(str(time.time()))
    recipe = folder / "Containerfile"
    recipe.write_text(f"FROM {base or podman.echo_image()}\nCOPY mark /mark\n")
    podman.run("build", "--pull=never", "--tag", image, "--file", str(recipe), str(folder))


def top_layer(podman: IsolatedPodman, image: str) -> Path:
    """The folder with the files of the image's top layer."""
    attributes = json.loads(podman.run("image", "inspect", image))[0]
    return Path(attributes["GraphDriver"]["Data"]["UpperDir"])


def delete_layer(podman: IsolatedPodman, image: str) -> None:
    """Delete the top layer of an image; skips the test where Podman has no such folders."""
    if podman.run("info", "--format", "{{.Store.GraphDriverName}}") != "overlay":
        pytest.skip("Podman's storage is not of the driver overlay here")
    shutil.rmtree(top_layer(podman, image).parent)
    # Podman keeps layers mounted and remembers them; a power cut ends both.
    podman.kill_service()
    podman.start_service()
