"""The demo's two services: as containers when Podman can run them, else as processes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import threading
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

from infernet_edge.config.model import Config, Container, Podman
from infernet_edge.containers.blocking import EngineUnreachable, Threads
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.images.progress import PullProgress
from infernet_edge.containers.podman import Engine
from infernet_edge.containers.ports import Ports
from infernet_edge.demo.console import print_text
from infernet_edge.errors import EngineError, StartupError
from infernet_edge.executable import is_frozen

DEFAULT_IMAGE = "docker.io/library/python:3.12-alpine"
"""The smallest official Python image, about 20 MB to pull, for x86-64 and ARM."""

TASKS = {"writer": "write", "rater": "rate"}
"""The containers of the demo, and the task of the example service in each."""

_DESCRIPTIONS = {
    "writer": "Continues a text, word by word",
    "rater": "Rates a text as positive or negative",
}
_MODELS = {"writer": ["infernet-edge/markov-writer"], "rater": []}  # for OpenAI's clients
FIND_TIMEOUT = 30.0
"""Seconds for Podman to find the image."""

_PULL_TIMEOUT = 60.0
_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 7.0  # the example service gives its requests 5 seconds
_FILE = "example_service.py"


async def obtain_image(image: str, podman: Podman) -> str:
    """Make sure that Podman has the image; returns "", or the reason why it is not available."""
    threads = Threads()
    connection = Connection(Config(podman=podman), threads)
    try:
        engine = await connection.open()
        if await threads.run(FIND_TIMEOUT, engine.find_image, image) is None:
            await _pull(threads, engine, image)
    except EngineError as error:
        return str(error)
    finally:
        await connection.close()
    return ""


async def _pull(threads: Threads, engine: Engine, image: str) -> None:
    print_text(f"Podman pulls the image {image} ...")
    cancelled = threading.Event()

    def progress(report: PullProgress) -> None:
        if report.text:
            print_text(report.text, indent=2)

    try:
        await threads.run(_PULL_TIMEOUT, engine.pull, image, progress, cancelled)
    except EngineUnreachable as error:
        raise EngineError(
            f"The image {image} was not pulled within {_PULL_TIMEOUT:g} seconds"
            f" (to pull it: podman pull {image})"
        ) from error
    finally:
        cancelled.set()


def as_containers(image: str, folder: Path, port: int) -> list[Container]:
    """Containers that run the example service, which is copied to `folder`.

    A copy, because the package may be inside an executable, and because Podman relabels what it
    mounts on machines with SELinux (option z). `port` is the node's, which they must not use.
    """
    service = folder / _FILE
    service.write_text(resources.files(__package__).joinpath(_FILE).read_text("utf-8"), "utf-8")
    ports = Ports(())
    ports.register("node", port)
    return [
        Container(
            id=name,
            image=image,
            description=_DESCRIPTIONS[name],
            models=[*_MODELS[name]],
            port=ports.assign(name, 3000),
            command=f"python3 /service/{_FILE} --task {task} --host 0.0.0.0",
            volumes=[f"{service}:/service/{_FILE}:ro,z"],
            health_path="/health",
        )
        for name, task in TASKS.items()
    ]


@contextlib.asynccontextmanager
async def as_processes() -> AsyncIterator[list[Container]]:
    """Run the example service as processes on free ports of 127.0.0.1, within the block.

    Raises StartupError when one does not start.
    """
    async with contextlib.AsyncExitStack() as stack:
        yield [
            Container(
                id=name,
                url=await stack.enter_async_context(_process(task)),
                description=_DESCRIPTIONS[name],
                models=[*_MODELS[name]],
                health_path="/health",
            )
            for name, task in TASKS.items()
        ]


@contextlib.asynccontextmanager
async def _process(task: str) -> AsyncIterator[str]:
    """Run one process within the block; yields its URL."""
    process = await asyncio.create_subprocess_exec(
        *service_command(task),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        # Ctrl+C on the terminal must only reach the demo, which stops the services after the node.
        start_new_session=True,
    )
    try:
        yield await _url_of(process)
    finally:
        await stop_process(process)


def service_command(task: str) -> list[str]:
    if is_frozen():  # an executable has no separate Python: it runs itself as the service
        return [sys.executable, "demo", "--service", task]
    with resources.as_file(resources.files(__package__).joinpath(_FILE)) as file:
        return [sys.executable, "-I", str(file), "--task", task, "--port", "0"]


async def _url_of(process: asyncio.subprocess.Process) -> str:
    """The URL in the first line that the process prints."""
    line = b""
    if process.stdout is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_TIMEOUT):
                line = await process.stdout.readline()
    found = re.search(rb"http://\S+", line)
    if found is None:
        raise StartupError(
            f"The example service did not start within {_START_TIMEOUT:g} seconds."
            " Its output, if any, is above."
        )
    return found[0].decode()


async def stop_process(process: asyncio.subprocess.Process) -> None:
    """End a process: SIGTERM, then SIGKILL."""
    for send in (process.terminate, process.kill):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            send()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
