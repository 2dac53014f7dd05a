"""One managed container in real Podman: what the node does when it stops answering."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from infernet_edge.containers import readiness
from infernet_edge.containers.client import ContainerFailure, ServiceClient, request_body
from infernet_edge.containers.service import ServiceUnavailable
from tests.support.events import Events
from tests.support.managing import QUICK, Managed, configuration, container, eventually, managing
from tests.support.podman import IsolatedPodman

BODY = request_body(b'{"a": 1}', 1, 1, requires_proof=False)


@pytest.fixture
def short_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_TIMEOUT", aiohttp.ClientTimeout(total=0.3))


def client_of(managed: Managed) -> ServiceClient:
    return ServiceClient(managed.session, 2**20, managed.manager)


def container_id(podman: IsolatedPodman) -> str:
    (name,) = podman.containers()
    return str(podman.inspect(name)["Id"])


@contextlib.contextmanager
def stopped(podman: IsolatedPodman) -> Iterator[None]:
    """Stop the container's process within the block, as SIGSTOP does: it hangs."""
    (name,) = podman.containers()
    podman.run("kill", "--signal=STOP", name)
    try:
        yield
    finally:
        with contextlib.suppress(AssertionError):  # it was removed, as it should be
            podman.run("kill", "--signal=CONT", name)


@pytest.mark.usefixtures("short_probes")
async def test_a_container_that_hangs_is_created_again(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    configured = container("echo", podman.echo_image(), timeout=0.5)
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
        slow = request_body(b'{"sleep": 1}', 1, 1, requires_proof=False)
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
        slow = request_body(b'{"sleep": 4}', 1, 1, requires_proof=False)
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
    configured = container("echo", podman.echo_image(), timeout=0.5)
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
        body = request_body(order, 1, 1, requires_proof=False)
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
