"""One managed container in real Podman: what the node does when it stops answering."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from infernet_edge.config.model import Registry as Login
from infernet_edge.containers import readiness
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.client import ServiceClient
from infernet_edge.containers.images.platforms import obstacle
from infernet_edge.containers.podman import Engine
from infernet_edge.containers.processes import WatchedProcess
from infernet_edge.containers.protocols.call import ContainerInput
from infernet_edge.containers.service import ServiceUnavailable
from tests.support.events import Events
from tests.support.managing import QUICK, Managed, configuration, container, eventually, managing
from tests.support.podman import IsolatedPodman

BODY = ContainerInput(b'{"a": 1}', 1, 1, requires_proof=False)


@pytest.fixture
def short_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_TIMEOUT", 0.3)


def client_of(managed: Managed) -> ServiceClient:
    return ServiceClient(managed.http, 2**20, managed.manager)


def container_id(podman: IsolatedPodman) -> str:
    (name,) = podman.containers()
    return str(podman.inspect(name)["Id"])


@contextlib.contextmanager
def stopped(podman: IsolatedPodman) -> Iterator[None]:
    """Stop the first process of the container within the block, as SIGSTOP does: it hangs."""
    (name,) = podman.containers()
    podman.run("kill", "--signal=STOP", name)
    try:
        yield
    finally:
        with contextlib.suppress(AssertionError):  # it was removed, as it should be
            podman.run("kill", "--signal=CONT", name)


async def test_a_call_waits_while_a_container_ends(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    """Its port is closed before its process ends, as when a machine is short of CPU time."""
    timing = msgspec.structs.replace(QUICK, suspect=5.0)
    configured = container("echo", podman.echo_image(), timeout=30.0)
    async with managing(configuration(podman, tmp_path, configured), timing) as managed:
        service, client = managed.services["echo"], client_of(managed)
        closing = BODY._replace(data=b'{"close": 1.0}')
        assert b'"echo": true' in await client.call(service, closing)
        assert service.state == "ready"
        assert b'"echo": true' in await client.call(service, BODY)
        (event,) = events.of("container.stopped")
        assert event["reason"].startswith("it stopped with exit code 4")


@pytest.mark.usefixtures("short_probes")
async def test_a_container_that_hangs_is_created_again(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    configured = container("echo", podman.echo_image(), timeout=0.5, init=False)
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        service, client = managed.services["echo"], client_of(managed)
        before = container_id(podman)
        with stopped(podman):
            with pytest.raises(ContainerFailure, match=r"did not answer within 0\.5 s"):
                await client.call(service, BODY)
            assert service.state == "suspect"
            # Jobs wait for the new container.
            service.container = msgspec.structs.replace(configured, timeout=30.0)
            assert b'"echo": true' in await client.call(service, BODY)
        assert container_id(podman) != before
        (event,) = events.of("container.unresponsive")
        assert event["reason"].startswith("it does not answer any more: no answer from http://")
        assert not events.of("container.stopped")


def port_rules(port: int) -> list[str]:
    """Podman's firewall rules for a port of this machine; those of other ports stay untouched."""
    listed = subprocess.run(
        ["iptables", "-t", "nat", "-S"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in listed if re.search(rf"--dport {port}\b", line)]


@pytest.mark.usefixtures("short_probes")
async def test_a_firewall_reload_that_drops_the_port_rules_is_noticed(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    if os.getuid() != 0:
        pytest.skip("without root, Podman has no firewall rules")
    configured = container("echo", podman.echo_image(), timeout=0.5)
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        service, client = managed.services["echo"], client_of(managed)
        rules = port_rules(service.port)
        if not rules:
            pytest.skip("Podman's rules are not those of iptables here")
        for rule in rules:
            words = shlex.split(rule)
            subprocess.run(["iptables", "-t", "nat", "-D", *words[1:]], check=True)
        await asyncio.sleep(2)  # connections that exist still work, and are closed after 1.5 s
        with pytest.raises(ContainerFailure):
            await client.call(service, BODY)
        assert service.state == "suspect"
        await eventually(lambda: events.of("container.unresponsive"))
        await eventually(lambda: service.state == "ready")
        assert b'"echo": true' in await client.call(service, BODY)


async def test_a_failed_call_of_a_container_that_answers_changes_nothing(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    configured = container("echo", podman.echo_image(), timeout=0.3)
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        service, client = managed.services["echo"], client_of(managed)
        before = container_id(podman)
        slow = ContainerInput(b'{"sleep": 1}', 1, 1, requires_proof=False)
        with pytest.raises(ContainerFailure):
            await client.call(service, slow)
        await eventually(lambda: service.state == "ready")
        await asyncio.sleep(1.5)
        assert container_id(podman) == before
        assert not events.of("container.unresponsive")


@pytest.mark.usefixtures("short_probes")
async def test_a_single_worker_is_not_interrupted_while_it_computes(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    """Its probes fail, but a call is in progress within its own time-out."""
    configured = container("echo", podman.echo_image(), command="--single", timeout=30.0)
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        service, client = managed.services["echo"], client_of(managed)
        before = container_id(podman)
        slow = ContainerInput(b'{"sleep": 4}', 1, 1, requires_proof=False)
        computing = asyncio.create_task(client.call(service, slow))
        await eventually(lambda: service.in_call)
        service.container = msgspec.structs.replace(configured, timeout=0.3)
        with pytest.raises(ContainerFailure):
            await client.call(service, BODY)
        assert service.reason.startswith("a call failed")
        assert b'"echo": true' in await computing
        assert service.state == "ready"
        assert container_id(podman) == before
        assert not events.of("container.unresponsive")


@pytest.mark.usefixtures("short_probes")
async def test_one_that_hangs_again_and_again_fails_its_jobs_with_the_reason(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    configured = container("echo", podman.echo_image(), timeout=0.5, init=False)
    timing = msgspec.structs.replace(QUICK, crash_cap=1)
    async with managing(configuration(podman, tmp_path, configured), timing) as managed:
        service, client = managed.services["echo"], client_of(managed)
        with stopped(podman):
            with pytest.raises(ContainerFailure):
                await client.call(service, BODY)
            await eventually(lambda: service.state == "failed")
            with pytest.raises(ServiceUnavailable, match="does not answer any more"):
                await service.wait_ready(5)
        assert events.of("container.unresponsive")[0]["next_start_seconds"] == 300
        assert podman.containers() == []


async def test_the_last_line_of_the_log_completes_a_failure(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    configured = container("echo", podman.echo_image())
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        service, client = managed.services["echo"], client_of(managed)
        order = b'{"page": 500, "print": "\\u001b[31mValueError:\\u001b[0m no model\\n"}'
        body = ContainerInput(order, 1, 1, requires_proof=False)
        with pytest.raises(ContainerFailure) as failed:
            await client.call(service, body)
        assert str(failed.value) == (
            "Container answered 500 Internal Server Error; the last line of its log:"
            " ValueError: no model"
        )
        # Without Podman the failure is reported without it.
        podman.kill_service()
        await asyncio.sleep(0)
        managed.manager._supervisors["echo"]._last_line._read_at = 0  # noqa: SLF001
        with pytest.raises(ContainerFailure, match=r"^Container answered 500 Internal Server E"):
            await client.call(service, body)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("--port 8080", "it listens on port 8080 inside, not port 3000: set container_port = 8080"),
        ("--host 127.0.0.1", "it listens on 127.0.0.1 only (port 3000)"),
    ],
)
async def test_the_port_on_which_a_silent_service_listens_is_named(
    podman: IsolatedPodman, tmp_path: Path, events: Events, command: str, reason: str
) -> None:
    configured = container("echo", podman.echo_image(), command=command)
    async with managing(configuration(podman, tmp_path, configured), settled=0) as managed:
        service = managed.services["echo"]
        await eventually(lambda: reason in service.reason)
        assert service.state == "starting"
        await asyncio.sleep(1)
        (event,) = events.of("container.port_missed")  # once
        assert event["reason"].startswith(reason)


async def test_the_port_is_found_in_the_container_when_its_process_is_not_visible(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WatchedProcess, "open_container", lambda *_: None)
    recipe = tmp_path / "Containerfile"
    recipe.write_text(f"FROM {podman.echo_image()}\nEXPOSE 8080/tcp 9/udp\n")
    image = "localhost/infernet-test/exposing:1"
    podman.run("build", "--pull=never", "--tag", image, "--file", str(recipe), str(tmp_path))
    config = configuration(
        podman,
        tmp_path,
        # The test's image has no cat: Python takes its place.
        container("inside", podman.echo_image(), command="--port 8080"),
        container("exposed", image, command="--port 9000"),
    )
    real = Engine.output_of

    def output_of(engine: Engine, container_id: str, command: list[str]) -> str:
        assert real(engine, container_id, command) == ""
        if "exposed" in str(podman.inspect(container_id)["Name"]):
            return ""
        script = "import sys; [print(open(name).read()) for name in sys.argv[1:]]"
        return real(engine, container_id, ["/python", "-c", script, *command[1:]])

    monkeypatch.setattr(Engine, "output_of", output_of)
    async with managing(config, settled=0) as managed:
        inside, exposed = managed.services["inside"], managed.services["exposed"]
        await eventually(lambda: "it listens on port 8080 inside" in inside.reason)
        await eventually(lambda: "its image names (EXPOSE) port 8080" in exposed.reason)


async def test_a_service_on_another_port(podman: IsolatedPodman, tmp_path: Path) -> None:
    configured = container("echo", podman.echo_image(), command="--port 8080", container_port=8080)
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        assert (await managed.call("echo", 1))["output"] == 1


async def test_an_image_for_another_architecture_is_not_started(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    here = Engine(podman.url, Login()).info().architecture
    other = "arm64" if here == "amd64" else "amd64"
    if obstacle("x", other, "linux", here) == "":
        pytest.skip(f"this machine runs programs for {other}")
    image = "localhost/infernet-test/foreign:1"
    (tmp_path / "empty.tar").write_bytes(b"\0" * 10240)
    podman.run("import", f"--arch={other}", str(tmp_path / "empty.tar"), image)
    async with managing(configuration(podman, tmp_path, container("echo", image))) as managed:
        service = managed.services["echo"]
        assert service.state == "failed"
        expected = f"image {image} is for {other}, this machine is {here}: use an image for {here}"
        assert service.reason == expected
        assert podman.containers() == []
        assert not events.of("container.started")


async def test_a_container_stops_quickly_although_its_program_ignores_sigterm(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    """As the first process it has no default action for signals; below an init process it has."""
    configured = container("echo", podman.echo_image(), command="--default-signals")
    timing = msgspec.structs.replace(QUICK, stop=40)
    began = 0.0
    async with managing(configuration(podman, tmp_path, configured), timing):
        assert podman.inspect(podman.containers()[0])["Path"] == "/run/podman-init"
        began = time.monotonic()
    assert time.monotonic() - began < 30


async def test_a_container_without_an_init_process(podman: IsolatedPodman, tmp_path: Path) -> None:
    configured = container("echo", podman.echo_image(), init=False)
    async with managing(configuration(podman, tmp_path, configured)):
        assert podman.inspect(podman.containers()[0])["Path"] == "/python"


async def test_without_an_init_program_containers_run_without_it(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    conf = Path(podman.environment["CONTAINERS_CONF"])
    before = conf.read_text()
    conf.write_text(before.replace("[engine]", f'[engine]\ninit_path = "{tmp_path}/none"'))
    podman.kill_service()
    try:
        podman.start_service()
        config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
        async with managing(config, stop=False) as managed:
            assert managed.services["echo"].state == "ready"
            assert podman.inspect(podman.containers()[0])["Path"] == "/python"
            (event,) = events.of("container.init_dropped")
            assert "install the package catatonit" in event["reason"]
            assert not events.of("container.failed")
        async with managing(config) as managed:
            assert events.of("container.adopted")
    finally:
        conf.write_text(before)
        podman.kill_service()
        podman.start_service()


@pytest.mark.parametrize("named", ["/init", "/usr/bin/tini"])
async def test_an_image_with_an_init_process_of_its_own_gets_no_other(
    podman: IsolatedPodman, tmp_path: Path, named: str
) -> None:
    image = "localhost/infernet-test/own-init:1"
    recipe = tmp_path / "Containerfile"
    # The program starts with its first argument as its name: it is Python in both cases.
    recipe.write_text(
        f"FROM {podman.echo_image()}\nCOPY --from={podman.echo_image()} /python {named}\n"
        f'ENTRYPOINT ["{named}", "-I", "/service.py"]\n'
    )
    podman.run("build", "--pull=never", "--tag", image, "--file", str(recipe), str(tmp_path))
    async with managing(configuration(podman, tmp_path, container("echo", image))):
        assert podman.inspect(podman.containers()[0])["Path"] == named


async def test_a_program_that_has_to_be_the_first_process_gets_no_init_process(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    configured = container("echo", podman.echo_image(), command="--first")
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        assert managed.services["echo"].state == "ready"
        assert len(events.of("container.stopped")) == 1
        published = managed.events.topics["container"].ring
        assert [event.name for event in published if event.name == "container.stopped"]
        assert published[-1].name == "container.ready"
        (event,) = events.of("container.init_dropped")
        assert event["reason"] == "its program has to be the first process"


async def test_jobs_fail_when_it_is_not_ready_within_its_startup_timeout(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    """It runs on: it gets ready when it answers."""
    configured = container("echo", podman.echo_image(), container_port=4000, startup_timeout=1.0)
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        service = managed.services["echo"]
        await eventually(lambda: service.state == "failed")
        assert service.reason.startswith("it was not ready within startup_timeout (1 s): ")
        with pytest.raises(ContainerFailure, match="not running: it was not ready within"):
            await client_of(managed).call(service, BODY)
        (event,) = events.of("container.failed")
        assert event["reason"].startswith("it was not ready within startup_timeout (1 s): ")
        assert podman.containers()
        service.container = msgspec.structs.replace(configured, startup_timeout=None)
        await eventually(lambda: service.state == "starting")
