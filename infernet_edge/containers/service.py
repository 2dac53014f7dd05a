"""The state of one configured container: its URL, and whether it answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Final, Literal

from infernet_edge import schema
from infernet_edge.clock import milliseconds
from infernet_edge.config.model import Config, Container
from infernet_edge.containers.models import model_name
from infernet_edge.containers.protocols.table import PROTOCOLS
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.events.bus import Events
from infernet_edge.events.public_text import public
from infernet_edge.metrics.measurements import JOB_BOUNDS, Histogram
from infernet_edge.statistics.last_hour import LastHour

LAST_FAILED: Final = "its last start failed: "
"""In the reason of a service that is asleep: what follows is why."""

ServiceState = Literal["starting", "ready", "suspect", "failed", "asleep"]


class ServiceUnavailable(InfernetEdgeError):
    """The container cannot accept a job now; the text is the reason."""


class Service:
    """State of one container.

    The manager sets `starting`, `ready` or `failed`; the orchestrator waits for `ready`. A ready
    container becomes `suspect` when a call fails: no other call starts until one that is in
    progress is answered, or the supervisor has probed it. Jobs of a service that the node does not
    manage never wait: only the call shows whether it answers. One that is `asleep` does not run,
    and is started when a job needs it.
    """

    def __init__(
        self, container: Container, *, managed: bool, events: Events | None = None
    ) -> None:
        self._events = events or Events()
        self.model_ids: list[str]
        """The names of its models for requests: as configured, else as it last listed them."""

        self.apply(container, managed=managed)
        self.state: ServiceState = "starting"
        self.reason = "it has not been started yet"
        self.since = milliseconds()  # it is up, starting or failed since then
        self.may_sleep = False  # whether the node stops it when no job needs it
        self.is_waking = False  # while it is started after it was asleep
        self.generation = 0  # grows when the node itself stops a container that has calls
        self.working_on = 0  # jobs in progress
        self.calls = 0  # jobs since the start
        self.hour = LastHour()  # calls that ended; those that were cancelled are not counted
        self.in_call = 0  # calls that were sent, and have not ended or reached their time-out
        self.seconds = Histogram(JOB_BOUNDS)  # in which jobs were in progress
        self.probe_requested = asyncio.Event()
        self._closed = ""
        self._changed = asyncio.Event()
        self._quiet = asyncio.Event()  # set when the last call has ended

    def apply(self, container: Container, *, managed: bool) -> None:
        """Use this configuration; a container that runs keeps its port."""
        stays = managed and getattr(self, "managed", False)
        self.container = container
        self.managed = managed
        self.protocol = PROTOCOLS[container.protocol]
        self.model_ids = [model_name(model) for model in container.models]
        if not stays:
            self.port = container.port
            self.base_url = container.url.rstrip("/") or f"http://127.0.0.1:{container.port}"
        self.info = schema.ContainerInfo(
            id=container.id,
            external=container.external,
            image=container.image,
            description=container.description,
        )

    @property
    def id(self) -> str:
        return self.container.id

    def working(self) -> _Working:
        """A context manager: counts a job as in progress within the block, and how it ends."""
        return _Working(self)

    @property
    def model(self) -> str:
        """The first of `model_ids`, for requests that name none; "" when it is not known."""
        return self.model_ids[0] if self.model_ids else ""

    def limits(self, timeout: float | None) -> tuple[float, float | None]:
        """The maximum wait for an answer in seconds, and before that until it is ready.

        None for the second when the first is for both, as where `timeout` of a job shortens it.
        """
        startup = self.container.startup_timeout if timeout is None else None
        return self.limited(timeout), startup

    def limited(self, timeout: float | None) -> float:
        """The maximum wait for an answer in seconds; `timeout` may shorten the configured one."""
        configured = self.container.timeout
        return configured if timeout is None else min(configured, timeout)

    @property
    def is_up(self) -> bool:
        """Whether it answered the last probe, also while it is suspect."""
        return self.state in ("ready", "suspect")

    @property
    def is_available(self) -> bool:
        """Whether clients may send it jobs: it is up, or a job starts it."""
        return self.is_up or self.state == "asleep" or (self.is_waking and self.state != "failed")

    def calling(self) -> _Calling:
        """A context manager: counts a call as in progress within the block."""
        return _Calling(self)

    def end_call(self) -> None:
        """A call has ended."""
        self.in_call -= 1
        if not self.in_call:
            self._quiet.set()

    def set_port(self, port: int) -> None:
        """Set the port of 127.0.0.1 on which a managed container answers."""
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}"

    def set_starting(self, reason: str) -> None:
        """It will be ready soon: jobs wait for it."""
        self._set("starting", reason)

    def set_ready(self) -> None:
        """It answers."""
        self._set("ready", "")

    def set_asleep(self, reason: str) -> None:
        """It does not run, and is started when a job needs it: jobs wait."""
        self._set("asleep", reason)

    def set_failed(self, reason: str) -> None:
        """It will not answer soon: jobs fail with `reason` instead of waiting."""
        self._set("failed", reason)

    def set_suspect(self, reason: str) -> None:
        """A call failed in a way that leaves open whether a managed container still answers."""
        if self.managed and self.is_up:
            self._set("suspect", reason)
            self.probe_requested.set()

    def clear_suspicion(self) -> None:
        """It answered a call."""
        if self.state == "suspect":
            self.set_ready()

    def close(self, reason: str) -> None:
        """Let no more calls begin: jobs fail with this reason. Those in progress go on."""
        self._closed = reason
        self._set(self.state, reason)

    def reopen(self) -> None:
        """Let calls begin again; what it is now shows when it is probed next."""
        closed, self._closed = self._closed, ""
        if self.reason == closed:
            self._set(self.state, "" if self.is_up else "its state is not known yet")

    async def wait_quiet(self, timeout: float) -> None:
        """Wait until no call is in progress, at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.in_call:
                    self._quiet.clear()
                    await self._quiet.wait()

    def interrupt(self) -> None:
        """The node stops its container: calls that fail from now on do so for this reason."""
        self.generation += 1

    def _set(self, state: ServiceState, reason: str) -> None:
        was_up, before = self.is_up, self.state
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            if before != state and not (was_up and self.is_up):
                self.since = milliseconds()
            self.publish(state)
        self._changed.set()
        self._changed = asyncio.Event()

    def publish(self, verb: str, reason: str = "", **more: Any) -> None:
        """Publish an event about the container, with its state and a reason, by default its own."""
        fields = {"id": self.id, "state": self.state, "reason": reason or self.reason}
        self._events.publish(f"container.{verb}", fields | {"managed": self.managed} | more)

    async def wait_settled(self) -> None:
        """Wait until it is ready or has failed, without a time limit."""
        while self.state == "starting":
            await self._changed.wait()

    async def wait_ready(self, timeout: float) -> None:
        """Wait until a managed container is ready, at most `timeout` seconds.

        Raises ServiceUnavailable when it failed or is not ready in time. The client of the job
        reads its text, so that has the reason as a public text.
        """
        if (self.state == "ready" or not self.managed) and not self._closed:
            return
        try:
            async with asyncio.timeout(timeout):
                while self.state in ("starting", "suspect", "asleep") and not self._closed:
                    await self._changed.wait()
        except TimeoutError:
            raise ServiceUnavailable(f"Container is not ready: {public(self.reason)}") from None
        if self._closed:
            raise ServiceUnavailable(self._closed)
        if self.state == "failed":
            raise ServiceUnavailable(f"Container is not running: {public(self.reason)}")


class _Working:
    """A job in progress. These are classes, as each job passes them: a generator costs more."""

    __slots__ = ("_began", "_generation", "_service")

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> None:
        service = self._service
        service.calls += 1
        service.working_on += 1
        self._began, self._generation = time.monotonic(), service.generation

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        service = self._service
        seconds = time.monotonic() - self._began
        service.seconds.observe(seconds)
        if kind is None:
            service.hour.note(seconds, ok=True)
        elif issubclass(kind, Exception) and self._generation == service.generation:
            service.hour.note(seconds, ok=False)  # not of one that is cancelled, or called again
        service.working_on -= 1


class _Calling:
    """A call in progress."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> None:
        self._service.in_call += 1

    def __exit__(self, *_: object) -> None:
        self._service.end_call()


def make_services(config: Config, events: Events | None = None) -> dict[str, Service]:
    """All configured containers by id, in the order of the configuration."""
    managed = config.manage_containers
    return {
        container.id: Service(container, managed=managed and not container.url, events=events)
        for container in config.containers
    }
