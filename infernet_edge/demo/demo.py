"""Run a real node with two small services or a model, show what it does, and keep it running."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import textwrap
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from infernet_edge.config.model import (
    DATABASE,
    Config,
    Container,
    Podman,
    RateLimit,
    Server,
    Storage,
)
from infernet_edge.demo.client import DemoFailed, Example
from infernet_edge.demo.console import print_text, visible
from infernet_edge.demo.model_choice import LOAD_TIMEOUT, ModelChoice, ModelService
from infernet_edge.demo.model_file import serving_file
from infernet_edge.demo.model_tour import ModelTour
from infernet_edge.demo.model_url import server_at
from infernet_edge.demo.services import as_containers, as_processes, obtain_image
from infernet_edge.demo.walkthrough import Walkthrough
from infernet_edge.errors import StartupError
from infernet_edge.folders import PREFIX, TemporaryFolder, remove_abandoned_folders
from infernet_edge.http_client.client import HttpClient
from infernet_edge.node import Node

_FOLDER = f"{PREFIX}demo-"
_FIRST_PORT = 4000
_PORTS = 50
_READY_TIMEOUT = 30.0
_STOP_TIMEOUT = 30.0
_REASON_LENGTH = 300


class Options(NamedTuple):
    """The options of the command. A `port` of None is 4000 or the next free one, a `podman` of
    None means processes; with a `model` it takes the place of the two services."""

    host: str
    port: int | None
    image: str
    podman: Podman | None
    once: bool
    keep: bool
    model: ModelChoice | None = None


async def run_demo(options: Options) -> None:
    """Run all steps; unless `options.once`, keep the node running until this is cancelled.

    Raises DemoFailed or StartupError.
    """
    what = "a model" if options.model else "two small services"
    print_text(f"This is your own Infernet node, with {what} to try.")
    print_text()
    port = _choose_port(options)
    await asyncio.to_thread(remove_abandoned_folders)
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(_folder(keep=options.keep))
        http = await stack.enter_async_context(HttpClient())
        if options.model:
            started = _with_model(options, options.model, folder, port)
            node, service = await stack.enter_async_context(started)
            database = Path(node.config.storage.path) / DATABASE
            examples = await ModelTour(http, node.url, service, database).run()
        else:
            node = await stack.enter_async_context(_started(options, folder, port))
            examples = await Walkthrough(http, node.url).run()
        _print_examples(examples, stops=options.once)
        if options.once:
            return
        print_text("The node runs until you press Ctrl+C.")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _started(options: Options, folder: Path, port: int) -> AsyncIterator[Node]:
    """A node that has both services ready, as containers or else as processes."""
    obstacle = "--no-podman is set"
    if options.podman:
        obstacle = await obtain_image(options.image, options.podman)
        if not obstacle:
            containers = as_containers(options.image, folder, port)
            print_text("Podman starts the services ...")
            async with _node(options, folder, port, containers) as node:
                obstacle = _obstacle(node)
                if not obstacle:
                    print_text(f"The services run as containers of {options.image}, in Podman.")
                    await _print_url(node)
                    yield node
                    return
        obstacle = f"Podman cannot run them: {_shortened(obstacle)}"
    async with as_processes() as containers:
        print_text(f"The services run as processes, not as containers, because {obstacle}.")
        async with _node(options, folder, port, containers) as node:
            if obstacle := _obstacle(node):
                raise DemoFailed(f"The example services do not answer: {obstacle}")
            await _print_url(node)
            yield node


@contextlib.asynccontextmanager
async def _with_model(
    options: Options, choice: ModelChoice, folder: Path, port: int
) -> AsyncIterator[tuple[Node, ModelService]]:
    """A node whose container is the model server, ready."""
    is_url = choice.what.lower().startswith(("http://", "https://"))
    async with contextlib.AsyncExitStack() as stack:
        if is_url:
            service = await server_at(choice)
        else:
            serving = serving_file(choice, options.podman, port)
            service = await stack.enter_async_context(serving)
        print_text(service.runs)
        if service.container.image:
            print_text("Podman starts it, and it loads the model ...")
        starting = _node(options, folder, port, [service.container], LOAD_TIMEOUT)
        node = await stack.enter_async_context(starting)
        if obstacle := _obstacle(node):
            raise DemoFailed(f"The model server does not answer: {obstacle}")
        await _print_url(node)
        yield node, service


@contextlib.asynccontextmanager
async def _node(
    options: Options,
    folder: Path,
    port: int,
    containers: Sequence[Container],
    ready_timeout: float = 0.0,
) -> AsyncIterator[Node]:
    ready_timeout = ready_timeout or _READY_TIMEOUT
    config = Config(
        server=Server(host=options.host, port=port, rate_limit=RateLimit(num_requests=0)),
        startup_wait=ready_timeout,
        containers=list(containers),
        podman=options.podman or Podman(),
        # A temporary folder may be on a small disk in memory, below the default limit.
        storage=Storage(path=str(folder / "data"), min_free_bytes=0),
    )
    node = Node(config)
    try:
        await node.start()
        await node.wait_until_ready(ready_timeout)
        yield node
    finally:
        await _stop(node)


async def _stop(node: Node) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await node.stop()
    except TimeoutError:
        raise DemoFailed(f"The node did not stop within {_STOP_TIMEOUT:g} seconds.") from None


def _obstacle(node: Node) -> str:
    """Why a service cannot be used, or "" when all are ready."""
    reasons = (
        f"{service.id}: {service.reason}"
        for service in node.services.values()
        if service.state != "ready"
    )
    return next(reasons, "")


def _shortened(reason: str) -> str:
    return textwrap.shorten(reason, _REASON_LENGTH, placeholder=" ...").rstrip(".")


@contextlib.contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """A new folder for the demo's data; removed at the end of the block, unless `keep`."""
    if keep:
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
        print_text(f"The data of this node is in {folder} and is kept.")
        yield folder
    else:
        # If this process is killed, the next start of a node removes the folder.
        with TemporaryFolder(_FOLDER) as folder:
            yield folder


def _choose_port(options: Options) -> int:
    """The port of the options, else the first free one from 4000. Raises StartupError."""
    if options.port is not None:
        if not _is_free(options.host, options.port):
            raise StartupError(
                f"Port {options.port} of {options.host} cannot be used: it is in use, not permitted"
                " for this user, or the address is not one of this machine. Choose others with"
                " --port and --host."
            )
        return options.port
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        if _is_free(options.host, port):
            if port != _FIRST_PORT:
                print_text(f"Port {_FIRST_PORT} is in use, perhaps by another node: using {port}.")
            return port
    raise StartupError(
        f"The ports {_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1} are all in use, or {options.host}"
        " is not an address of this machine. Choose others with --port and --host."
    )


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


async def _print_url(node: Node) -> None:
    print_text(f"The node answers at {node.url}")
    urls = await node.network_urls()
    print_text(f"Open it in a browser: {(urls or [node.url])[0]}/")
    print_text()


def _print_examples(examples: Sequence[Example], *, stops: bool) -> None:
    if stops:
        print_text("This node stops now. To try more, start the demo without --once:")
    else:
        print_text("Try it yourself, in another terminal:")
    print_text()
    for example in examples:
        print_text(f"{example.shows}:")
        print(textwrap.indent(visible(example.command), "  "), end="\n\n", flush=True)
