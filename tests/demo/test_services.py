"""The demo's services as containers of an image, or as processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import psutil
import pytest

from infernet_edge.config.model import Podman
from infernet_edge.demo import services
from infernet_edge.demo.services import as_containers, as_processes, obtain_image
from infernet_edge.errors import StartupError
from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port


async def test_processes_serve_while_the_block_lasts() -> None:
    before = psutil.Process().children(recursive=True)
    async with as_processes() as containers, aiohttp.ClientSession() as session:
        assert [each.id for each in containers] == ["writer", "rater"]
        for each in containers:
            async with session.get(each.url + each.health_path) as response:
                assert response.status == 200
    assert psutil.Process().children(recursive=True) == before


async def test_processes_end_when_the_demo_is_cancelled() -> None:
    before = psutil.Process().children(recursive=True)
    running = asyncio.Event()

    async def demo() -> None:
        async with as_processes():
            running.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(demo())
    await running.wait()
    assert len(psutil.Process().children(recursive=True)) == len(before) + 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert psutil.Process().children(recursive=True) == before


async def test_a_process_that_does_not_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "TASKS", {"writer": "write", "rater": "nonsense"})
    before = psutil.Process().children(recursive=True)
    with pytest.raises(StartupError, match="did not start"):
        async with as_processes():
            pass
    assert psutil.Process().children(recursive=True) == before


def test_containers_get_the_service_and_ports_of_their_own(tmp_path: Path) -> None:
    writer, rater = as_containers("an/image", tmp_path, 3000)
    assert writer.image == "an/image"
    assert len({writer.port, rater.port, 3000}) == 3
    assert (tmp_path / "example_service.py").read_text().startswith('"""An Infernet service')
    assert writer.volumes == [f"{tmp_path}/example_service.py:/service/example_service.py:ro,z"]
    assert "--task rate " in rater.command


async def test_a_missing_podman_is_reported(tmp_path: Path) -> None:
    obstacle = await obtain_image("any", Podman(url=f"unix://{tmp_path}/none.sock"))
    assert "Podman does not answer" in obstacle


async def test_a_local_image_needs_no_registry(podman: IsolatedPodman) -> None:
    assert await obtain_image(podman.echo_image(), Podman(url=podman.url)) == ""


async def test_an_image_that_is_not_available_is_reported(
    podman: IsolatedPodman, capsys: pytest.CaptureFixture[str]
) -> None:
    image = f"127.0.0.1:{free_port()}/no/image:1"
    obstacle = await obtain_image(image, Podman(url=podman.url))
    assert f"could not pull image {image}" in obstacle
    assert "pulls the image" in capsys.readouterr().out
