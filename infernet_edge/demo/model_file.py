"""A model in a GGUF file, for llama.cpp's server: its program, or its image in Podman.

Nothing is downloaded: neither a model, nor, unless the user names it, an image.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from infernet_edge.config.model import Config, Container, Podman
from infernet_edge.containers.blocking import Threads
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.ports import Ports
from infernet_edge.demo.client import DemoFailed
from infernet_edge.demo.console import print_text
from infernet_edge.demo.model_choice import (
    ANSWER_TIMEOUT,
    CONTAINER,
    FORMS,
    LOAD_TIMEOUT,
    ModelChoice,
    ModelService,
    some_of,
)
from infernet_edge.demo.services import FIND_TIMEOUT, obtain_image, stop_process
from infernet_edge.errors import EngineError
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError
from infernet_edge.http_client.urls import parse_url
from infernet_edge.invariants import InvariantViolated

LLAMA_IMAGE: Final = "ghcr.io/ggml-org/llama.cpp:server"
"""The image with llama.cpp's server that its project publishes, for x86-64 and ARM64."""

PROGRAM: Final = "llama-server"

_SHOWN: Final = 2000  # bytes of what llama-server wrote last
_POLL_PERIOD: Final = 0.2
_CONTEXT: Final = 4096  # tokens; what models offer by default may need gigabytes
_MAGIC: Final = b"GGUF"
_PART: Final = re.compile(r"(.+)-[0-9]{5}-of-([0-9]{5})\.gguf")  # of a model that is split
_MAX_PARTS: Final = 100


@contextlib.asynccontextmanager
async def serving_file(
    choice: ModelChoice, podman: Podman | None, port: int
) -> AsyncIterator[ModelService]:
    """What runs the file of the choice, within the block. `port` is the node's.

    Raises DemoFailed with what to pass or to install.
    """
    files = await asyncio.to_thread(_gguf_files, choice.what)
    file = files[0]
    if choice.key_file:
        raise DemoFailed("--model-key belongs to the URL of a model server, not to a file.")
    name = choice.name or (_PART.fullmatch(file.name) or [file.stem, file.stem])[1]
    program = shutil.which(PROGRAM)
    if program and not choice.image:
        async with _process(program, file, name) as container:
            again = shlex.join([PROGRAM, *_arguments(str(file), name)])
            yield ModelService(container, name, f"{program} runs {file}, as a process.", again)
        return
    image = await _image(choice.image, podman)
    container = _container(image, files, name, port)
    yield ModelService(container, name, f"{image} runs {file}, as a container in Podman.")


def _gguf_files(text: str) -> list[Path]:
    """The file that the user named, checked, or all parts of a model that is split. Blocks."""
    file = Path(text).expanduser().absolute()
    if not file.exists():
        if re.fullmatch(r"[\w.-]+:\d+(/.*)?", text):
            raise DemoFailed(f"There is no file {text}. For a server write http://{text}.")
        raise DemoFailed(f"There is no file {text}. {FORMS}")
    if file.is_dir():
        found = sorted(each.name for each in file.glob("*.gguf"))
        inside = f"It has {some_of(found)}." if found else "It has no GGUF files."
        raise DemoFailed(f"{text} is a folder: name one file. {inside}")
    try:
        with file.open("rb") as opened:
            begins = opened.read(len(_MAGIC))
    except OSError as error:
        raise DemoFailed(f"{text} cannot be read: {error.strerror}.") from None
    if begins != _MAGIC:
        raise DemoFailed(
            f"{text} is not a GGUF file, which is what llama.cpp's server loads. Others"
            " (safetensors, ONNX) need a server of their own: pass its URL."
        )
    return _parts(file)


def _parts(file: Path) -> list[Path]:
    """The files of a model, the first one first: llama.cpp finds the others by their names."""
    part = _PART.fullmatch(file.name)
    if part is None:
        return [file]
    count = min(int(part[2]), _MAX_PARTS)
    files = [file.with_name(f"{part[1]}-{at:05}-of-{part[2]}.gguf") for at in range(1, count + 1)]
    for each in files:
        if not each.exists():
            raise DemoFailed(f"{file.name} is one of {count} parts, and {each.name} is not there.")
    return files


async def _image(named: str, podman: Podman | None) -> str:
    """The image with llama.cpp's server: the one that the user named, else one that is here."""
    install = f"Install {PROGRAM} (https://github.com/ggml-org/llama.cpp) so that it is in the PATH"
    if podman is None:
        raise DemoFailed(f"A GGUF file needs llama.cpp's server. {install}.")
    if named:
        if obstacle := await obtain_image(named, podman):
            raise DemoFailed(f"Podman cannot run {named}: {obstacle}")
        return named
    try:
        is_here = await _is_here(LLAMA_IMAGE, podman)
    except EngineError as error:
        raise DemoFailed(
            f"A GGUF file needs llama.cpp's server. {install}, or use its image with Podman:"
            f" {error}"
        ) from None
    if not is_here:
        raise DemoFailed(
            f"A GGUF file needs llama.cpp's server. Get its image with"
            f" `podman pull {LLAMA_IMAGE}`, or name another one with --image. Or: {install}."
        )
    return LLAMA_IMAGE


async def _is_here(image: str, podman: Podman) -> bool:
    threads = Threads()
    connection = Connection(Config(podman=podman), threads)
    try:
        engine = await connection.open()
        return await threads.run(FIND_TIMEOUT, engine.find_image, image) is not None
    finally:
        await connection.close()


def _container(image: str, files: list[Path], name: str, port: int) -> Container:
    targets = [f"/models/{each.name}" for each in files]
    if len(files) == 1:
        targets = ["/models/model.gguf"]
    for each in files:
        if ":" in str(each):
            raise DemoFailed(f"Podman cannot pass in {each}, because of the colon: rename it.")
    ports = Ports(())
    ports.register("node", port)
    arguments = _arguments(targets[0], name, "--host", "0.0.0.0", "--port", "8080")
    return Container(
        id=CONTAINER,
        image=image,
        pull="never",
        protocol="openai",
        port=ports.assign(CONTAINER, 3000),
        container_port=8080,
        command=shlex.join(arguments),  # the host is within the container
        # z: on machines with SELinux, containers may read no other files.
        volumes=[f"{file}:{target}:ro,z" for file, target in zip(files, targets, strict=True)],
        models=[name],
        health_path="/health",
        startup_timeout=LOAD_TIMEOUT,
        timeout=LOAD_TIMEOUT,
    )


def _arguments(file: str, name: str, *others: str) -> list[str]:
    """Of llama-server: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"""
    return ["-m", file, "--alias", name, "-c", str(_CONTEXT), *others]


@contextlib.asynccontextmanager
async def _process(program: str, file: Path, name: str) -> AsyncIterator[Container]:
    """llama-server as a process on a free port of 127.0.0.1, within the block."""
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        program,
        *_arguments(str(file), name, "--host", "127.0.0.1", "--port", str(port)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # Ctrl+C on the terminal must only reach the demo, which stops it after the node.
        start_new_session=True,
    )
    output = _LastOutput(process)
    try:
        print_text(f"{PROGRAM} loads {file.name} ...")
        await _until_loaded(process, port, output)
        yield Container(
            id=CONTAINER,
            url=f"http://127.0.0.1:{port}",
            protocol="openai",
            models=[name],
            health_path="/health",
            timeout=LOAD_TIMEOUT,
        )
    finally:
        await stop_process(process)
        await output.close()


class _LastOutput:
    """Reads what a process writes, and keeps the end of it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._kept = b""
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        if self._process.stdout is None:
            raise InvariantViolated("the output of llama-server is a pipe")
        while part := await self._process.stdout.read(_SHOWN):
            self._kept = (self._kept + part)[-_SHOWN:]

    async def all(self) -> str:
        """The last lines, after the end of the process."""
        await asyncio.wait([self._task], timeout=1)
        lines = [line.strip() for line in self._kept.decode("utf-8", "replace").splitlines()]
        return " / ".join([line for line in lines if line][-3:])

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def _until_loaded(
    process: asyncio.subprocess.Process, port: int, output: _LastOutput
) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + LOAD_TIMEOUT
    target = parse_url(f"http://127.0.0.1:{port}/health")
    async with HttpClient() as http:
        while loop.time() < until:
            if process.returncode is not None:
                raise DemoFailed(
                    f"{PROGRAM} ended with code {process.returncode}. It wrote last:"
                    f" {await output.all() or 'nothing'}"
                )
            with contextlib.suppress(HttpError, TimeoutError):
                async with (
                    asyncio.timeout(ANSWER_TIMEOUT),
                    await http.request("GET", target) as response,
                ):
                    if response.status == 200:
                        return
            await asyncio.sleep(_POLL_PERIOD)
    raise DemoFailed(f"{PROGRAM} did not load the model within {LOAD_TIMEOUT:g} seconds.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
