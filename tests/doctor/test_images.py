from __future__ import annotations

import socket
from pathlib import Path

import pytest

from infernet_edge.doctor import images
from infernet_edge.doctor.finding import Finding
from infernet_edge.doctor.images import registry_of
from tests.support.examining import finding
from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port
from tests.support.running import configuration


async def look(folder: Path, url: str, *names: str) -> Finding:
    containers = [{"id": f"c{number}", "image": name} for number, name in enumerate(names)]
    document = {"manage_containers": True, "containers": containers, "podman": {"url": url}}
    return await finding(images, configuration(folder, document))


async def test_they_are_here(podman: IsolatedPodman, tmp_path: Path) -> None:
    image = podman.echo_image()
    assert await look(tmp_path, podman.url, image, image) == Finding("ok", f"{image}: here")


async def test_one_is_missing(podman: IsolatedPodman, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as registry:
        image = f"127.0.0.1:{registry.getsockname()[1]}/llm:1"
        found = await look(tmp_path, podman.url, podman.echo_image(), image)
        assert found == Finding(
            "warning",
            f"{image}: not here yet, the node has to pull it first",
            f"podman pull {image}",
        )
    image = f"127.0.0.1:{free_port()}/llm:1"
    found = await look(tmp_path, podman.url, image)
    assert found.level == "warning"
    assert f"{registry_of(image)} cannot be reached from here" in found.text


async def test_one_is_missing_that_was_to_be_made_here(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    found = await look(tmp_path, podman.url, "localhost/mine:1")
    assert found.level == "problem"
    assert found.remedy == "podman build --tag localhost/mine:1 FOLDER"


async def test_nobody_can_say(tmp_path: Path) -> None:
    found = await look(tmp_path, f"unix://{tmp_path}/absent", "localhost/mine:1")
    assert found == Finding("ok", "unknown, since Podman does not answer")
    assert (await finding(images, configuration(tmp_path))).text.startswith("not needed")


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("alpine", "docker.io"),
        ("alpine:3", "docker.io"),
        ("ritualnetwork/hello-world-infernet:latest", "docker.io"),
        ("ghcr.io/owner/name@sha256:00", "ghcr.io"),
        ("localhost/name:1", "localhost"),
        ("registry:5000/name", "registry:5000"),
    ],
)
def test_registries(image: str, registry: str) -> None:
    assert registry_of(image) == registry
