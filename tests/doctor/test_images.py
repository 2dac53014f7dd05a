from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from infernet_edge.config.model import Config
from infernet_edge.config.values.image_names import registry_of
from infernet_edge.doctor import images
from infernet_edge.doctor.finding import Finding
from tests.support.damage import delete_layer, make_image
from tests.support.examining import finding, findings
from tests.support.podman import IsolatedPodman, Registry
from tests.support.ports import free_port
from tests.support.running import configuration


async def check(folder: Path, url: str, *names: str) -> Finding:
    containers = [{"id": f"c{number}", "image": name} for number, name in enumerate(names)]
    document = {"manage_containers": True, "containers": containers, "podman": {"url": url}}
    return await finding(images, configuration(folder, document))


async def test_they_are_here(podman: IsolatedPodman, tmp_path: Path) -> None:
    image = podman.echo_image()
    assert await check(tmp_path, podman.url, image, image) == Finding("ok", f"{image}: available")


async def test_one_is_missing(podman: IsolatedPodman, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as registry:
        image = f"127.0.0.1:{registry.getsockname()[1]}/llm:1"
        found = await check(tmp_path, podman.url, podman.echo_image(), image)
        assert found == Finding(
            "warning",
            f"{image}: not available yet, the node has to pull it first",
            command=f"podman --url {podman.url} pull {image}",
        )
    image = f"127.0.0.1:{free_port()}/llm:1"
    found = await check(tmp_path, podman.url, image)
    assert found.level == "warning"
    assert f"{registry_of(image)} cannot be reached from this machine" in found.text


async def test_one_is_missing_that_was_to_be_made_here(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    found = await check(tmp_path, podman.url, "localhost/mine:1")
    assert found.level == "problem"
    assert found.command == ""
    assert "podman build" in found.remedy


async def test_one_is_damaged(podman: IsolatedPodman, tmp_path: Path) -> None:
    image = "localhost/infernet-test/damaged:1"
    make_image(podman, image, tmp_path)
    delete_layer(podman, image)
    found = await check(tmp_path, podman.url, podman.echo_image(), image)
    assert found.level == "problem"
    assert found.text.startswith(f"{image}: Podman's storage of it is damaged (")
    assert found.remedy == "after the command make it again, or load it"
    assert found.command == f"podman --url {podman.url} rmi --force {image}"
    subprocess.run(found.command.split(), check=True, capture_output=True, timeout=60)
    assert "not available" in (await check(tmp_path, podman.url, image)).text


async def test_a_layer_below_is_lost(podman: IsolatedPodman, tmp_path: Path) -> None:
    """Podman finds such an image, and fails when it starts a container of it."""
    base, image = "localhost/infernet-test/base:1", "localhost/infernet-test/above:1"
    make_image(podman, base, tmp_path)
    make_image(podman, image, tmp_path, base)
    delete_layer(podman, base)
    found = await check(tmp_path, podman.url, image)
    assert found.text.startswith(f"{image}: Podman's storage of it is damaged (")
    assert "is missing)" in found.text
    podman.run("rmi", "--force", image, base)


async def test_one_is_for_another_machine(podman: IsolatedPodman, tmp_path: Path) -> None:
    image = "localhost/infernet-test/foreign:1"
    (tmp_path / "empty.tar").write_bytes(b"\0" * 10240)
    podman.run("import", "--arch=s390x", str(tmp_path / "empty.tar"), image)
    found = await check(tmp_path, podman.url, image)
    assert (found.level, found.remedy) == ("problem", "change image in the configuration")
    assert found.text.startswith(f"image {image} is for s390x, this machine is ")


async def test_one_is_missing_that_is_never_pulled(podman: IsolatedPodman, tmp_path: Path) -> None:
    image = "quay.io/you/llm:1"
    containers = [{"id": "c", "image": image, "pull": "never"}]
    document = {"manage_containers": True, "containers": containers, "podman": {"url": podman.url}}
    found = await finding(images, configuration(tmp_path, document))
    assert found.level == "problem"
    assert found.text == f'{image}: not available, and its pull is "never"'
    assert found.command == f"podman --url {podman.url} pull {image}"


async def test_a_pull_command_and_a_login(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_SCHEME", "http")  # Debian's registry without a certificate
    with Registry(tmp_path) as registry:
        podman.allow_insecure_registry(registry.port)
        image = f"{registry.address}/echo:1"
        login = ("--creds", f"{registry.username}:{registry.password}")
        podman.echo_image(image)
        podman.run("push", "--quiet", "--tls-verify=false", *login, image)
        podman.run("rmi", image)
        wrong = {
            "registry": registry.address,
            "username": registry.username,
            "password": "not this one",
        }
        found = await findings(images, _with_login(tmp_path, podman.url, image, wrong))
        assert [each.level for each in found] == ["problem", "warning"]
        assert found[0].text.startswith(f"{registry.address} refuses docker.username")
        assert "not this one" not in str(found)
        # A login of another registry is not sent to this one.
        other = {**wrong, "registry": "registry.example"}
        found = await findings(images, _with_login(tmp_path, podman.url, image, other))
        assert [each.level for each in found] == ["warning"]
        right = {**wrong, "password": registry.password}
        found = await findings(images, _with_login(tmp_path, podman.url, image, right))
        assert [each.level for each in found] == ["warning"]
        assert found[0].command == f"podman --url {podman.url} pull {image}"
        auth = tmp_path / "auth.json"
        flags = ("--username", registry.username, "--password", registry.password)
        podman.run("login", "--authfile", str(auth), *flags, registry.address)
        environment = {**os.environ, **podman.environment, "REGISTRY_AUTH_FILE": str(auth)}
        subprocess.run(found[0].command, shell=True, env=environment, check=True, timeout=60)
        found = await findings(images, _with_login(tmp_path, podman.url, image, right))
        assert [each.level for each in found] == ["ok"]
        podman.run("rmi", image)


def _with_login(folder: Path, url: str, image: str, login: dict[str, str]) -> Config:
    document = {
        "manage_containers": True,
        "containers": [{"id": "a", "image": image}],
        "podman": {"url": url},
        "docker": login,
    }
    return configuration(folder, document)


async def test_podman_does_not_answer(tmp_path: Path) -> None:
    found = await check(tmp_path, f"unix://{tmp_path}/absent", "localhost/mine:1")
    assert found == Finding("unknown", "not checked: localhost/mine:1: Podman does not answer")
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
