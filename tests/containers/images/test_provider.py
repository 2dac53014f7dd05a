"""Images from a real registry, in real Podman."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from infernet_edge.config.model import Config
from infernet_edge.config.model import Registry as Login
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers.images import provider
from infernet_edge.containers.podman import Engine
from infernet_edge.errors import EngineError
from tests.support.damage import delete_layer, make_image, top_layer
from tests.support.events import Events
from tests.support.managing import configuration, container, eventually, managing
from tests.support.podman import IsolatedPodman, Registry, need


@pytest.fixture(scope="module")
def registry(
    session_podman: IsolatedPodman, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    need("docker-registry")
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        session_podman.allow_insecure_registry(registry.port)
        yield registry


class Published:
    """An image in the registry, and perhaps here."""

    def __init__(self, podman: IsolatedPodman, registry: Registry, folder: Path) -> None:
        self.podman, self.registry, self._folder = podman, registry, folder
        self.name = f"{registry.address}/team/service:1"

    def publish(self, version: str) -> str:
        """Make the image with this version in its environment and push it; returns its id."""
        recipe = self._folder / "Containerfile"
        recipe.write_text(f"FROM {self.podman.echo_image()}\nENV VERSION={version}\n")
        build = ("build", "--pull=never", "--tag", self.name, "--file", str(recipe))
        self.podman.run(*build, str(self._folder))
        login = f"--creds={self.registry.username}:{self.registry.password}"
        self.podman.run("push", "--tls-verify=false", login, self.name)
        return self.local

    @property
    def local(self) -> str:
        """The id of the image here; "" when it is not here."""
        images = json.loads(self.podman.run("images", "--all", "--format=json"))
        found = [each["Id"] for each in images if self.name in (each.get("Names") or [])]
        return found[0] if found else ""

    def ids(self) -> set[str]:
        found = self.podman.run("images", "--all", "--quiet", "--no-trunc").split()
        return {each.removeprefix("sha256:") for each in found}

    def change(self) -> tuple[str, str]:
        """Publish a newer image, with the older one here; returns both ids."""
        old = self.publish("old")
        self.podman.run("tag", old, "localhost/infernet-test/old:1")
        new = self.publish("new")
        self.podman.run("rmi", self.name)
        self.podman.run("tag", old, self.name)
        self.podman.run("rmi", "localhost/infernet-test/old:1")
        return old, new


@pytest.fixture
def published(podman: IsolatedPodman, registry: Registry, tmp_path: Path) -> Iterator[Published]:
    published = Published(podman, registry, tmp_path)
    yield published
    podman.run("rm", "--all", "--force", "--time=0")
    with contextlib.suppress(AssertionError):
        podman.run("rmi", "--force", published.name)
    podman.run("image", "prune", "--force")


def configured(published: Published, folder: Path, **settings: object) -> Config:
    each = container("echo", published.name, **settings)
    login = Login(
        registry=published.registry.address,
        username=Registry.username,
        password=Secret(Registry.password),
    )
    return msgspec.structs.replace(configuration(published.podman, folder, each), docker=login)


def versions(podman: IsolatedPodman) -> list[str]:
    return [
        value.removeprefix("VERSION=")
        for name in podman.containers()
        for value in podman.inspect(name)["Config"]["Env"]
        if value.startswith("VERSION=")
    ]


async def test_a_newer_image_is_pulled_once_per_start_and_the_old_one_removed(
    published: Published, tmp_path: Path, events: Events
) -> None:
    old, new = published.change()
    podman = published.podman
    async with managing(configured(published, tmp_path)) as managed:
        assert versions(podman) == ["new"]
        assert len(events.of("container.pulled")) == 1
        await eventually(lambda: events.of("container.image_removed"))
        assert old not in published.ids()
        assert new in published.ids()
        # Not again when the container is started again.
        published.publish("newest")
        podman.run("tag", new, published.name)
        podman.run("kill", podman.containers()[0])
        await eventually(lambda: events.of("container.stopped"))
        await managed.services["echo"].wait_ready(30)
        assert versions(podman) == ["new"]
        assert len(events.of("container.pulled")) == 1
    async with managing(configured(published, tmp_path)):
        assert versions(podman) == ["newest"]


async def test_an_old_image_that_is_still_used_is_kept(
    published: Published, tmp_path: Path, events: Events
) -> None:
    old, _ = published.change()
    published.podman.run("run", "--detach", "--name", "somebodys", published.name)
    async with managing(configured(published, tmp_path)):
        assert sorted(versions(published.podman)) == ["new", "old"]
        assert not events.of("container.image_removed")
    assert old in published.ids()
    published.podman.run("rm", "--force", "--time=0", "somebodys")
    published.podman.run("tag", old, "localhost/infernet-test/kept:1")
    published.podman.run("tag", old, published.name)
    async with managing(configured(published, tmp_path)):
        assert versions(published.podman) == ["new"]
    assert old in published.ids(), "it has another name"
    published.podman.run("rmi", "localhost/infernet-test/kept:1")


@pytest.mark.parametrize("pull", ["missing", "never"])
async def test_an_image_that_is_here_is_not_compared(
    published: Published, tmp_path: Path, events: Events, pull: str
) -> None:
    published.change()
    async with managing(configured(published, tmp_path, pull=pull)):
        assert versions(published.podman) == ["old"]
    assert not events.of("container.pull_started")


async def test_a_digest_is_not_compared(
    published: Published, tmp_path: Path, events: Events
) -> None:
    published.publish("one")
    images = json.loads(published.podman.run("image", "inspect", published.name))
    digest = next(each for each in images[0]["RepoDigests"] if published.registry.address in each)
    config = configured(published, tmp_path)
    by_digest = msgspec.structs.replace(config.containers[0], image=digest)
    async with managing(msgspec.structs.replace(config, containers=[by_digest])) as managed:
        assert managed.services["echo"].state == "ready"
    assert not events.of("container.pull_started")


async def test_a_missing_image_that_is_never_pulled(published: Published, tmp_path: Path) -> None:
    published.publish("one")
    published.podman.run("rmi", published.name)
    async with managing(configured(published, tmp_path, pull="never")) as managed:
        reason = managed.services["echo"].reason
    assert f"image {published.name} is not in the node's Podman, and its pull is" in reason
    assert f"podman save {published.name} | podman --url {published.podman.url} load" in reason
    assert f"podman --url {published.podman.url} pull {published.name}" in reason


async def test_an_image_of_localhost_is_never_pulled(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    image = "localhost/infernet-test/elsewhere:1"
    config = configuration(podman, tmp_path, container("echo", image))
    async with managing(config) as managed:
        reason = managed.services["echo"].reason
        assert "images of localhost are never pulled. Each user's Podman has its own" in reason
        assert f"podman save {image} | podman --url {podman.url} load" in reason
        assert not events.of("container.pull_started")
        # It is used once it is there, and found by its short name, too.
        podman.echo_image(image)
        await eventually(lambda: managed.services["echo"].state == "ready")
    short = container("echo", "infernet-test/elsewhere:1")
    async with managing(configuration(podman, tmp_path, short)) as managed:
        assert managed.services["echo"].state == "ready"
    assert not events.of("container.pull_started")
    podman.run("rmi", image)


async def test_the_local_copy_is_used_when_the_registry_refuses_or_is_gone(
    published: Published, tmp_path: Path, events: Events
) -> None:
    published.publish("here")
    config = configured(published, tmp_path)
    wrong = msgspec.structs.replace(config.docker, password=Secret("not this one"))
    async with managing(msgspec.structs.replace(config, docker=wrong)):
        assert versions(published.podman) == ["here"]
    assert "unauthorized" in events.of("container.update_failed")[0]["reason"]


async def test_the_local_copy_is_used_when_the_registry_does_not_answer(
    podman: IsolatedPodman, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "ANSWER_TIMEOUT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        names = [podman.echo_image(f"{address}/{name}:1") for name in ("one", "two", "three")]
        each = [container(f"echo{number}", name) for number, name in enumerate(names)]
        began = time.monotonic()
        async with managing(configuration(podman, tmp_path, *each)) as managed:
            assert all(service.state == "ready" for service in managed.services.values())
        assert time.monotonic() - began < 60
    reasons = [event["reason"] for event in events.of("container.update_failed")]
    assert sorted(reasons) == [
        f"{address} did not answer before",
        f"{address} does not answer within 1 seconds",
        f"{address} does not answer within 1 seconds",
    ]
    podman.run("rmi", *names)


async def test_a_damaged_image_is_removed_and_pulled_again(
    published: Published, tmp_path: Path, events: Events
) -> None:
    podman = published.podman
    make_image(podman, published.name, tmp_path)
    login = f"--creds={Registry.username}:{Registry.password}"
    podman.run("push", "--tls-verify=false", login, published.name)
    delete_layer(podman, published.name)
    async with managing(configured(published, tmp_path, pull="missing")) as managed:
        assert managed.services["echo"].state == "ready"
        assert (await managed.call("echo", 1))["output"] == 1
    (event,) = events.of("container.image_damaged")
    assert event["image"] == published.name
    assert len(events.of("container.pulled")) == 1


async def test_a_program_without_content_is_replaced(
    published: Published, tmp_path: Path, events: Events
) -> None:
    """An entry of ext4 whose content was not written: exec format error, on the right machine."""
    podman = published.podman
    recipe = tmp_path / "Containerfile"
    recipe.write_text(
        f"FROM {podman.echo_image()}\nCOPY --from={podman.echo_image()} /python /own\n"
        'ENTRYPOINT ["/own", "-I", "/service.py"]\n'
    )
    build = ("build", "--pull=never", "--tag", published.name, "--file", str(recipe))
    podman.run(*build, str(tmp_path))
    login = f"--creds={Registry.username}:{Registry.password}"
    podman.run("push", "--tls-verify=false", login, published.name)
    (top_layer(podman, published.name) / "own").write_bytes(b"")
    async with managing(configured(published, tmp_path, pull="missing")) as managed:
        await eventually(lambda: managed.services["echo"].state == "ready")
    assert len(events.of("container.image_damaged")) == 1
    # Below an init process the reason is another one.
    assert len(events.of("container.stopped")) == 2
    assert len(events.of("container.init_dropped")) == 1


async def test_a_damaged_image_that_cannot_be_pulled_is_named_with_the_command(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    image = "localhost/infernet-test/damaged:1"
    make_image(podman, image, tmp_path)
    delete_layer(podman, image)
    async with managing(configuration(podman, tmp_path, container("echo", image))) as managed:
        reason = managed.services["echo"].reason
        assert managed.services["echo"].state == "failed"
        assert f"the storage of image {image} is damaged (" in reason
        assert f"podman --url {podman.url} rmi --force {image}; then build or load it" in reason
    command = reason.partition("Remove it with: ")[2].partition(";")[0].split()
    environment = {**podman.environment}
    subprocess.run(command, check=True, env={**environment, "PATH": "/usr/bin:/bin:/usr/sbin"})
    make_image(podman, image, tmp_path)
    async with managing(configuration(podman, tmp_path, container("echo", image))) as managed:
        assert managed.services["echo"].state == "ready"
    podman.run("rmi", image)


async def test_an_image_that_stays_damaged_is_replaced_once(
    published: Published, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish("one")

    def create(*_: object) -> str:
        raise EngineError("Podman could not create container x: layer not known")

    monkeypatch.setattr(Engine, "create", create)
    async with managing(configured(published, tmp_path, pull="missing")) as managed:
        service = managed.services["echo"]
        await eventually(lambda: "is still damaged after it was pulled again" in service.reason)
        assert "rmi --all --force" in service.reason
        await asyncio.sleep(1)
        assert len(events.of("container.image_damaged")) == 1
