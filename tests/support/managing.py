"""A container manager at work in a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from infernet_edge.config.model import Config, Container, Podman, Storage
from infernet_edge.containers.manager import ContainerManager
from infernet_edge.containers.service import Service, make_services
from infernet_edge.containers.timing import Timing
from infernet_edge.events.bus import Events
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.urls import parse_url
from infernet_edge.tasks import Background
from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port

QUICK = Timing(
    reconnect=0.1,
    reconnect_limit=0.5,
    restart=0.1,
    restart_limit=0.5,
    retry=0.2,
    retry_limit=1.0,
    silent=0.3,
    suspect=0.2,
    unmanaged=0.2,
    unmanaged_down=0.1,
    stop=2,
)


class Managed(NamedTuple):
    manager: ContainerManager
    services: dict[str, Service]
    http: HttpClient
    events: Events

    async def call(self, container: str, data: Any, destination: int = 1) -> Any:
        """The container's answer to a job."""
        body = {"source": 1, "destination": destination, "data": data, "requires_proof": False}
        url = self.services[container].base_url + "/service_output"
        sent = msgspec.json.encode(body)
        async with await self.http.request("POST", parse_url(url), body=sent) as response:
            answer = await response.whole(2**20)
        assert answer is not None
        return answer.decode() if destination == 2 else msgspec.json.decode(answer)


def container(identifier: str, image: str, **settings: Any) -> Container:
    """A configured container on a free port."""
    return Container(id=identifier, image=image, **{"port": free_port(), **settings})


def configuration(podman: IsolatedPodman, folder: Path, *containers: Container) -> Config:
    return Config(
        podman=Podman(url=podman.url),
        storage=Storage(path=str(folder / "node")),
        containers=list(containers),
    )


@contextlib.asynccontextmanager
async def managing(
    config: Config, timing: Timing = QUICK, *, settled: float = 30, stop: bool = True
) -> AsyncIterator[Managed]:
    """Manage the containers of `config` within the block; without `stop`, end as with kill -9."""
    events = Events()
    events.add_reader("container")
    services = make_services(config, events)
    async with HttpClient() as http:
        background = Background()
        manager = ContainerManager(config, services, http, timing, background)
        await manager.start()
        try:
            await manager.wait_until_settled(settled)
            yield Managed(manager, services, http, events)
        finally:
            if stop:
                await manager.stop()
            else:
                await background.stop()


async def eventually(condition: Callable[[], Any], timeout: float = 60) -> None:
    """Wait until something holds; raises AssertionError when it does not in time."""
    try:
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"did not happen within {timeout} seconds") from None
