"""The demo's choice of containers or processes, and of the port."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infernet_edge.config.model import Podman
from infernet_edge.demo import demo
from infernet_edge.demo.demo import Options, run_demo
from infernet_edge.errors import StartupError
from tests.support.demo_image import make_demo_image
from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port
from tests.support.process import ROOT


@pytest.fixture
def options() -> Options:
    return Options("127.0.0.1", free_port(), "unused", podman=None, once=True, keep=False)


async def test_with_podman_and_an_image_they_are_containers(
    podman: IsolatedPodman, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    image = make_demo_image(podman)
    await run_demo(options._replace(image=image, podman=Podman(url=podman.url)))
    printed = capsys.readouterr().out
    assert f"containers of {image}, in Podman" in printed
    assert '{"rating": "positive"' in printed
    assert podman.containers() == []


async def test_with_an_image_that_does_not_work_they_are_processes(
    podman: IsolatedPodman,
    options: Options,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "_READY_TIMEOUT", 5.0)
    # The entry point of this image has no option --task.
    image = podman.echo_image()
    await run_demo(options._replace(image=image, podman=Podman(url=podman.url)))
    printed = " ".join(capsys.readouterr().out.split())
    assert "as processes, not as containers, because Podman cannot run them" in printed
    assert '{"rating": "positive"' in printed
    assert podman.containers() == []


async def test_without_podman_they_are_processes(
    options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await run_demo(options._replace(podman=Podman(url=f"unix://{tmp_path}/none")))
    printed = " ".join(capsys.readouterr().out.split())
    assert "because Podman cannot run them: Podman does not answer" in printed


async def test_port_4000_or_the_next_that_is_free(
    options: Options, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as used:
        first = free_port()
        used.bind(("127.0.0.1", first))
        used.listen()
        monkeypatch.setattr(demo, "_FIRST_PORT", first)
        await run_demo(options._replace(port=None))
    printed = capsys.readouterr().out
    assert f"Port {first} is in use" in printed
    found = re.search(r"The node answers at http://127.0.0.1:(\d+)\n", printed)
    assert found is not None
    assert first < int(found[1]) < first + 50
    assert f"Open it in a browser: http://127.0.0.1:{found[1]}/\n" in printed


async def test_a_chosen_port_that_is_in_use_is_refused(options: Options) -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        with pytest.raises(StartupError, match="--port"):
            await run_demo(options._replace(port=used.getsockname()[1]))


async def test_what_a_killed_demo_left_is_removed_by_the_next(
    podman: IsolatedPodman, options: Options, tmp_path: Path
) -> None:
    image = make_demo_image(podman)
    command = [sys.executable, "-m", "infernet_edge", "demo", "--image", image]
    command += ["--podman-url", podman.url, "--port", str(free_port())]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            if "node runs until" in line:
                break
        assert len(podman.containers()) == 2
        # Another demo does not remove it while it runs.
        await run_demo(options._replace(image=image, podman=Podman(url=podman.url)))
        assert len(podman.containers()) == 2
        assert len(list(tmp_path.iterdir())) == 1
        killed.kill()
    await run_demo(options._replace(image=image, podman=Podman(url=podman.url)))
    assert podman.containers() == []
    assert list(tmp_path.iterdir()) == []


async def test_kept_data_stays(options: Options, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infernet_edge", "demo", "--once", "--no-podman", "--keep"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    for _ in range(2):
        await asyncio.to_thread(
            subprocess.run,
            [*command, "--port", str(free_port())],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )
    assert len(list(tmp_path.glob("infernet-edge-demo-*/data"))) == 2
