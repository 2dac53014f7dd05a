"""Podman's API, by podman-py.

podman-py is imported inside the methods: it costs 7 MB, and a node without managed containers never
needs it. Every call creates a client, since clients must not be shared between threads and Podman
closes connections that are idle for 5 seconds.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from infernet_edge.config.model import Registry
from infernet_edge.containers.blocking import EngineUnreachable
from infernet_edge.containers.images.damage import lost_layer
from infernet_edge.containers.images.login import is_refusal, login_headers, remedy
from infernet_edge.containers.images.progress import PullProgress, progress_reports
from infernet_edge.containers.operating.lines import Frames
from infernet_edge.containers.processes import ContainerProcess
from infernet_edge.containers.specification import (
    CONTAINER_LABEL,
    NODE_LABEL,
    SPECIFICATION_LABEL,
)
from infernet_edge.errors import EngineError
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

CALL_TIMEOUT = 60.0  # seconds; creating a container on an SD card is slow
PULL_STALL_TIMEOUT = 600.0  # seconds without progress of a pull
_CONNECT_TIMEOUT = 10.0
_LOG_LINES = 8
_LOG_CHARACTERS = 600
_LOG_CHUNK = 64 * 2**10  # bytes of a log that are read at once
_LOG_KEPT = 16 * 2**10  # bytes of a log, of which the last lines are shown


class EngineInfo(NamedTuple):
    """Podman's version, and the `limits` that it can apply: "memory", "cpu", "pids".

    `rootless` is whether it runs without root, `runtime` the name of its OCI runtime ("crun"),
    `architecture` that of its machine ("amd64").
    """

    version: str
    limits: frozenset[str]
    rootless: bool = False
    runtime: str = ""
    architecture: str = ""


class LocalImage(NamedTuple):
    """An image in Podman's storage; "" and () where the image does not declare it.

    `program` is the first word that a container of it runs without a `command`, `takes_command`
    whether a `command` replaces that. `ports` are those of EXPOSE, for TCP.
    """

    id: str
    tags: tuple[str, ...] = ()
    architecture: str = ""
    system: str = ""
    program: str = ""
    takes_command: bool = False
    ports: tuple[int, ...] = ()
    lost_layer: str = ""  # the folder of a layer that does not exist any more
    digest: str = ""  # of its manifest, "sha256:…"


class Found(NamedTuple):
    """A container of a node in Podman's list."""

    id: str
    container: str  # the configured id
    specification: str  # the label, see specification.py
    running: bool
    exit_code: int
    port: int  # of 127.0.0.1; 0: none
    pid: int = 0  # of its first process, where Podman runs; 0: none
    name: str = ""
    labels: Mapping[str, str] = {}
    ended: bool = False  # it ran, and does not any more; else it may be about to start
    paused: bool = False  # it does not run, and keeps its memory and its port


class ContainerState(NamedTuple):
    """The state of one container, by Podman."""

    running: bool
    exit_code: int
    process: ContainerProcess
    paused: bool = False


class EngineUsage(NamedTuple):
    """Seconds of CPU time, and bytes of memory, of a running container."""

    cpu: float
    memory: int


class Engine:
    """Podman at one address, unix:///path or tcp://host:port.

    Every method blocks, for CALL_TIMEOUT at most: call them in threads. They raise
    EngineUnreachable when Podman does not answer, EngineError with its error text when it fails.
    """

    def __init__(self, url: str, registry: Registry) -> None:
        self.url = url
        self._registry = registry

    def info(self, timeout: float = CALL_TIMEOUT) -> EngineInfo:
        """Blocks. Raises EngineError when the server is not Podman."""
        with self._client("report its version", timeout) as client:
            info = client.info()
            host = info["host"]
            limits = set(host["cgroupControllers"] or [])
            rootless = bool(host["security"]["rootless"])
            if rootless and host["cgroupVersion"] == "v1":
                limits = set()  # the kernel permits cgroups of version 1 only for root
            runtime = str((host.get("ociRuntime") or {}).get("name", ""))
            version = info["version"]["Version"]
            architecture = str(host.get("arch", ""))
            return EngineInfo(version, frozenset(limits), rootless, runtime, architecture)

    def find_image(self, name: str) -> str | None:
        """Blocks. The id of a local image, or None."""
        image = self.image(name)
        return None if image is None else image.id

    def image(self, name: str) -> LocalImage | None:
        """Blocks. A local image, by a name or its id, or None."""
        from podman.errors import ImageNotFound

        with self._client(f"find image {name}") as client:
            try:
                return _image(client.images.get(name).attrs)
            except ImageNotFound:
                return None

    def remove_image(self, name: str) -> bool:
        """Blocks. Remove an image, or only this name of it when it has others.

        Returns False when there is no such image. Raises EngineError when a container uses it.
        """
        from podman.errors import ImageNotFound, NotFound

        with self._client(f"remove image {name}") as client:
            try:
                client.images.remove(name, force=False)
            except (ImageNotFound, NotFound):
                return False
            return True

    def pull(
        self,
        name: str,
        progress: Callable[[PullProgress], None],
        cancelled: threading.Event,
        stall_timeout: float = PULL_STALL_TIMEOUT,
    ) -> LocalImage:
        """Blocks, for hours if needed. Pull an image, also when it is here, and return it.

        `progress` is called in this thread: when the registry has answered, then regularly. Once
        `cancelled` is set, EngineError is raised at the next report; EngineUnreachable after
        `stall_timeout` seconds without any message of Podman.

        Docker's form of the call is used, since libpod's form reports nothing between the start and
        the end of a layer, and resolves a name without a registry differently.
        """
        headers = login_headers(self._registry, name)

        def attempt(headers: Mapping[str, str]) -> None:
            self._pull(name, headers, progress, cancelled, stall_timeout)

        try:
            attempt(headers)
        except EngineUnreachable:
            raise
        except EngineError as error:
            if not is_refusal(str(error)):
                raise
            advice = remedy(self._registry, name)
            # Configurations of the reference node have "username" and "password" for public images.
            if not headers or not _succeeds(lambda: attempt({})):
                raise EngineError(f"{error}. To fix it: {advice}") from error
            log_event(logger, "image.login_refused", logging.WARNING, image=name, reason=advice)
        image = self.image(name)
        if image is None:
            raise EngineError(f"Podman pulled image {name}, but does not list it")
        return image

    def _pull(
        self,
        name: str,
        headers: Mapping[str, str],
        progress: Callable[[PullProgress], None],
        cancelled: threading.Event,
        stall_timeout: float,
    ) -> None:
        with self._client(f"pull image {name}", stall_timeout) as client:
            response = client.api.post(
                "/images/create",
                params={"fromImage": name},
                headers=dict(headers),
                stream=True,
                compatible=True,
            )
            response.raise_for_status()
            with contextlib.closing(response):
                for report in progress_reports(response.iter_lines(), name):
                    if cancelled.is_set():
                        raise EngineError(f"The pull of image {name} was cancelled")
                    progress(report)

    def create(self, specification: Mapping[str, Any]) -> str:
        """Blocks. Create a container (see specification.py); returns its id."""
        with self._client(f"create container {specification['name']}") as client:
            response = client.api.post(
                "/containers/create",
                data=json.dumps(specification),
                headers={"content-type": "application/json"},
            )
            response.raise_for_status()
            return str(response.json()["Id"])

    def start(self, container_id: str) -> None:
        """Blocks."""
        with self._client("start the container") as client:
            client.containers.get(container_id).start()

    def stop(self, container_id: str, paused: bool = False) -> None:
        """Blocks for the container's stop time-out too: stop it, kill it, and keep its log.

        A container that does not exist, or does not run, is ignored. Podman stops none that is
        `paused`: it runs again before.
        """
        from podman.errors import NotFound

        with self._client("stop the container") as client, contextlib.suppress(NotFound):
            if paused:
                client.api.post(f"/containers/{container_id}/unpause").raise_for_status()
            client.api.post(f"/containers/{container_id}/stop").raise_for_status()

    def remove(self, container_id: str) -> None:
        """Blocks for the container's stop time-out too: stop it, kill it, remove it.

        Its anonymous volumes are removed as well. A container that does not exist is ignored.
        """
        from podman.errors import NotFound

        with self._client("remove the container") as client, contextlib.suppress(NotFound):
            client.containers.remove(container_id, force=True, v=True)

    def logs(self, container_id: str) -> str:
        """Blocks. The last lines of a container's log, at most _LOG_CHARACTERS.

        Reads all of the log, which is rotated: asked for the last lines alone, Podman before 4.7
        loses or reverses those that a program writes in parts, as catatonit does
        (https://github.com/containers/podman/pull/19562).
        """
        until = time.monotonic() + CALL_TIMEOUT
        parameters = {"stdout": "true", "stderr": "true", "timestamps": "true"}
        frames, text = Frames(), b""
        with self._client("read the container's log") as client:
            path = f"/containers/{container_id}/logs"
            answer = client.api.get(path, params=parameters, stream=True)
            with contextlib.closing(answer) as response:
                response.raise_for_status()
                for chunk in response.iter_content(_LOG_CHUNK):
                    text += b"".join(frame.content for frame in frames.feed(chunk))
                    text = text[-_LOG_KEPT:]
                    if time.monotonic() > until:  # it grows as fast as it is read
                        break
        lines = text.decode("utf-8", "replace").strip().splitlines()
        return "\n".join(lines[-_LOG_LINES:])[-_LOG_CHARACTERS:]

    def output_of(self, container_id: str, command: Sequence[str]) -> str:
        """Blocks. What a command prints in a running container; "" when it does not exist there."""
        with self._client("run a command in the container") as client:
            container = client.containers.get(container_id)
            _, (output, _) = container.exec_run(list(command), demux=True)
            return (output or b"").decode("utf-8", "replace")

    def state(self, container_id: str) -> ContainerState | None:
        """Blocks. None when there is no such container."""
        from podman.errors import NotFound

        with self._client("inspect the container") as client:
            try:
                return _state(client.containers.get(container_id).attrs["State"])
            except NotFound:
                return None

    def containers(self, node: str = "") -> list[Found]:
        """Blocks. All containers of that node, or else of all nodes, running or not."""
        with self._client("list the containers") as client:
            # The label is one text: with a list as filter, Podman finds nothing.
            label = f"{NODE_LABEL}={node}" if node else NODE_LABEL
            containers = client.containers.list(all=True, filters={"label": label})
            return [_found(container.attrs) for container in containers]

    def usages(self, container_ids: Sequence[str], timeout: float) -> dict[str, EngineUsage]:
        """Blocks, `timeout` seconds at most. What these running containers use, by their ids."""
        with self._client("read what the containers use", timeout) as client:
            response = client.api.get(
                "/containers/stats", params={"containers": list(container_ids), "stream": False}
            )
            response.raise_for_status()
            answer = response.json()
            if answer.get("Error"):
                raise EngineError(f"Podman could not read what the containers use: {answer}")
            return {
                str(each["ContainerID"]): EngineUsage(each["CPUNano"] / 1e9, each["MemUsage"])
                for each in answer.get("Stats") or ()
            }

    def networks_of(self, container_id: str) -> list[IPNetwork]:
        """Blocks. The networks that a container is in; none when Podman is rootless."""
        from podman.errors import NotFound

        networks: list[IPNetwork] = []
        with self._client("read the container's networks") as client:
            settings = client.containers.get(container_id).attrs["NetworkSettings"]
            for name in settings.get("Networks") or {}:
                # "slirp4netns" and "pasta" are listed, but are not networks.
                with contextlib.suppress(NotFound):
                    subnets = client.networks.get(name).attrs.get("subnets") or []
                    networks += [ipaddress.ip_network(subnet["subnet"]) for subnet in subnets]
        return networks

    def addresses_of(self, container_id: str) -> list[str]:
        """Blocks. The addresses that a container has in its networks; none when it is rootless."""
        with self._client("read the container's addresses") as client:
            settings = client.containers.get(container_id).attrs["NetworkSettings"]
        networks = (settings.get("Networks") or {}).values()
        found = [each.get(key) for each in networks for key in ("IPAddress", "GlobalIPv6Address")]
        return [address for address in found if address]

    @contextlib.contextmanager
    def _client(self, action: str, timeout: float = CALL_TIMEOUT) -> Iterator[Any]:
        import podman
        from podman.errors import APIError, PodmanError

        try:
            _check_listener(self.url)
            with podman.PodmanClient(base_url=self.url, timeout=timeout) as client:
                yield client
        except APIError as error:
            if error.response is None:
                raise EngineUnreachable(
                    f"Podman does not answer at {self.url}: {_innermost(error)}"
                ) from error
            reason = str(error.explanation or error)
            raise EngineError(f"Podman could not {action}: {reason}") from error
        except OSError as error:  # includes every error of requests
            raise EngineUnreachable(
                f"Podman does not answer at {self.url}: {_innermost(error)}"
            ) from error
        except (PodmanError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise EngineError(f"Podman could not {action}: unexpected answer ({error})") from error


def _succeeds(pull: Callable[[], None]) -> bool:
    """Whether a pull is not refused. Raises EngineError for other reasons."""
    try:
        pull()
    except EngineError as error:
        if is_refusal(str(error)):
            return False
        raise
    return True


def _image(attributes: Mapping[str, Any]) -> LocalImage:
    config = attributes.get("Config") or {}
    entrypoint, command = config.get("Entrypoint") or [], config.get("Cmd") or []
    exposed = (port.partition("/") for port in config.get("ExposedPorts") or {})
    ports = {int(port) for port, _, kind in exposed if port.isdecimal() and kind in ("", "tcp")}
    return LocalImage(
        id=str(attributes["Id"]),
        tags=tuple(attributes.get("RepoTags") or ()),
        architecture=str(attributes.get("Architecture") or ""),
        system=str(attributes.get("Os") or ""),
        program=next(iter([*entrypoint, *command]), ""),
        takes_command=not entrypoint,
        ports=tuple(sorted(ports)),
        lost_layer=lost_layer(attributes),
        digest=str(attributes.get("Digest") or ""),
    )


def _found(attributes: Mapping[str, Any]) -> Found:
    labels = attributes["Labels"] or {}
    ports = [mapping.get("host_port", 0) for mapping in attributes.get("Ports") or []]
    return Found(
        id=attributes["Id"],
        container=labels.get(CONTAINER_LABEL, ""),
        specification=labels.get(SPECIFICATION_LABEL, ""),
        running=attributes["State"] == "running",
        exit_code=attributes.get("ExitCode", 0),
        port=next(iter(ports), 0),
        pid=attributes.get("Pid") or 0,
        name=next(iter(attributes.get("Names") or []), attributes["Id"]),
        labels=labels,
        ended=attributes["State"] in ("exited", "stopped"),
        paused=attributes["State"] == "paused",
    )


def _state(attributes: Mapping[str, Any]) -> ContainerState:
    return ContainerState(
        running=attributes["Running"],
        exit_code=attributes.get("ExitCode", 0),
        process=ContainerProcess(
            pid=attributes.get("Pid") or 0,
            conmon_pid=attributes.get("ConmonPid") or 0,
            cgroup=attributes.get("CgroupPath") or "",
        ),
        paused=bool(attributes.get("Paused")),
    )


def _check_listener(url: str) -> None:
    """Raise OSError when nothing listens there: podman-py would leak its socket in that case."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as attempt:
            attempt.settimeout(_CONNECT_TIMEOUT)
            attempt.connect(parts.path)


def _innermost(error: BaseException) -> str:
    """The root cause: podman-py wraps a refused connection three times."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error) or type(error).__name__
