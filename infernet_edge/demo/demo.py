"""A real node with two small services: it shows what it does, and stays up to be tried."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import textwrap
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp

from infernet_edge.config.model import Config, Container, Podman, RateLimit, Server, Storage
from infernet_edge.demo.console import tell
from infernet_edge.demo.services import as_containers, as_processes, obtain_image
from infernet_edge.demo.walkthrough import DemoFailed, Example, Tour
from infernet_edge.errors import StartupError
from infernet_edge.folders import PREFIX, TemporaryFolder, remove_abandoned_folders
from infernet_edge.node import Node

_FOLDER = f"{PREFIX}demo-"
_FIRST_PORT = 4000
_PORTS = 50
_READY_TIMEOUT = 30.0
_STOP_TIMEOUT = 30.0
_REASON_LENGTH = 300


class Options(NamedTuple):
    """What the user asked for. A `port` of None is 4000 or the next free one, a `podman` of
    None means processes."""

    host: str
    port: int | None
    image: str
    podman: Podman | None
    once: bool
    keep: bool


async def run_demo(options: Options) -> None:
    """Show everything; unless `options.once`, stay up until this is cancelled.

    Raises DemoFailed or StartupError.
    """
    tell("This is an Infernet node of your own, with two small services to try it on.")
    tell()
    port = _choose_port(options)
    await asyncio.to_thread(remove_abandoned_folders)
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(_folder(keep=options.keep))
        node = await stack.enter_async_context(_started(options, folder, port))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        _tell_examples(await Tour(session, node.url).run(), gone=options.once)
        if options.once:
            return
        tell("The node stays up until you press Ctrl+C.")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        tell("Stopping.")


@contextlib.asynccontextmanager
async def _started(options: Options, folder: Path, port: int) -> AsyncIterator[Node]:
    """A node that has both services ready, as containers or else as processes."""
    obstacle = "you said --no-podman"
    if options.podman:
        obstacle = await obtain_image(options.image, options.podman)
        if not obstacle:
            containers = as_containers(options.image, folder, port)
            tell("Podman starts the services ...")
            async with _node(options, folder, port, containers) as node:
                obstacle = _obstacle(node)
                if not obstacle:
                    tell(f"The services run as containers of {options.image}, by Podman.")
                    _tell_where(node)
                    yield node
                    return
        obstacle = f"Podman cannot run them: {_shortened(obstacle)}"
    async with as_processes() as containers:
        tell(f"The services run as processes of their own, not as containers, because {obstacle}.")
        async with _node(options, folder, port, containers) as node:
            if obstacle := _obstacle(node):
                raise DemoFailed(f"The example services do not answer: {obstacle}")
            _tell_where(node)
            yield node


@contextlib.asynccontextmanager
async def _node(
    options: Options, folder: Path, port: int, containers: Sequence[Container]
) -> AsyncIterator[Node]:
    config = Config(
        server=Server(host=options.host, port=port, rate_limit=RateLimit(num_requests=0)),
        startup_wait=_READY_TIMEOUT,
        containers=list(containers),
        podman=options.podman or Podman(),
        # A temporary folder may be a small one in memory.
        storage=Storage(path=str(folder / "data"), min_free_bytes=0),
    )
    node = Node(config)
    try:
        await node.start()
        await node.wait_until_ready(_READY_TIMEOUT)
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
    """Why a service cannot be used, or "" when all can."""
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
    """A fresh folder for the demo's data."""
    if keep:
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
        tell(f"The data of this node is in {folder} and stays there.")
        yield folder
    else:
        # Removed by the next start of a node, if this process is killed.
        with TemporaryFolder(_FOLDER) as folder:
            yield folder


def _choose_port(options: Options) -> int:
    """The port that was asked for, else the first free one from 4000. Raises StartupError."""
    if options.port is not None:
        if not _is_free(options.host, options.port):
            raise StartupError(
                f"Port {options.port} of {options.host} cannot be used: it is taken, not allowed to"
                " you, or not of this machine. Choose with --port and --host."
            )
        return options.port
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        if _is_free(options.host, port):
            if port != _FIRST_PORT:
                tell(f"Port {_FIRST_PORT} is taken, perhaps by another node: using {port}.")
            return port
    raise StartupError(
        f"The ports {_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1} are all taken, or {options.host}"
        " is no address of this machine. Choose with --port and --host."
    )


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _tell_where(node: Node) -> None:
    tell(f"The node answers at {node.url}")
    tell()


def _tell_examples(examples: Sequence[Example], *, gone: bool) -> None:
    if gone:
        tell("This node ends now. One that you start without --once stays, for you to try more:")
    else:
        tell("Try it yourself, in another terminal:")
    tell()
    for example in examples:
        tell(f"{example.shows}:")
        print(textwrap.indent(example.command, "  "), end="\n\n", flush=True)
