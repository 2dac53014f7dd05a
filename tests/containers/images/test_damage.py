"""The texts of Podman 4.3, whose files were emptied or deleted one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infernet_edge.containers.images.damage import is_damage, lost_layer, output_shows_damage

LAYER = "/var/lib/containers/storage/overlay/85c532b9b061f86f857e9a3ab4fd66e5c9f82a6c343c"


@pytest.mark.parametrize(
    "error",
    [
        "runtime error: invalid memory address or nil pointer dereference",
        f"stat {LAYER}: no such file or directory",
        "readlink /var/lib/containers/storage/overlay/l: invalid argument",
        "readlink /home/me/.local/share/containers/storage/overlay: invalid argument",
        "mounting storage for container 7aa6: recreating the missing symlinks: 1 error occurred",
        "layer not known",
        "unexpected end of JSON input",
        'locating item named "manifest" for image with ID "651b" (consider removing the image)',
        "Download config.json digest sha256:e3b0 does not match expected sha256:651b",
        f"open {LAYER}/link: no such file or directory",
    ],
)
def test_errors_of_a_damaged_storage(error: str) -> None:
    assert is_damage(f"Podman could not create container infernet-edge-x-1: {error}")


@pytest.mark.parametrize(
    "error",
    [
        "statfs /srv/models: no such file or directory",
        "stat /dev/hailo0: no such file or directory",
        "lstat /srv/overlay: no such file or directory",
        "localhost/llm:1: image not known",
        "initializing source docker://x/y: reading manifest 1 in x/y: unauthorized",
        "no space left on device",
        'setting up CDI devices: unresolvable CDI devices "nvidia.com/gpu=all"',
        "rootlessport cannot expose privileged port 80",
    ],
)
def test_other_errors(error: str) -> None:
    assert not is_damage(f"Podman could not create container infernet-edge-x-1: {error}")


@pytest.mark.parametrize(
    ("output", "damaged"),
    [
        ("exec /python: exec format error", True),
        ("exec container process `/serve`: Exec format error", True),
        ("libtorch.so: file too short", True),
        ("libc.so.6: invalid ELF header", True),
        ("FileNotFoundError: model.onnx", False),
        ("SyntaxError: invalid syntax", False),
    ],
)
def test_the_output_of_programs_without_a_content(output: str, damaged: bool) -> None:
    assert output_shows_damage(f"it stopped with exit code 1; its last output: {output}") == damaged


def attributes(*folders: Path, driver: str = "overlay") -> dict[str, Any]:
    top, *lower = map(str, folders)
    return {"GraphDriver": {"Name": driver, "Data": {"UpperDir": top, "LowerDir": ":".join(lower)}}}


def test_layers_that_are_lost(tmp_path: Path) -> None:
    layers = [tmp_path / "overlay" / name / "diff" for name in ("a", "b")]
    for layer in layers:
        layer.mkdir(parents=True)
    assert lost_layer(attributes(*layers)) == ""
    assert lost_layer({}) == lost_layer({"GraphDriver": None}) == ""
    layers[1].rmdir()
    assert lost_layer(attributes(*layers)) == str(layers[1])
    assert lost_layer(attributes(*layers, driver="vfs")) == ""
    # A link that is empty leads to the folder of all links.
    links = tmp_path / "overlay" / "l"
    links.mkdir()
    assert lost_layer(attributes(layers[0], links)) == str(links)
    # On another machine nothing is known about them.
    assert lost_layer(attributes(Path("/nowhere/overlay/a/diff"))) == ""
