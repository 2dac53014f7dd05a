"""Run one managed container: pull its image, start it, probe it, and restart it when it stops."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp

from infernet_edge.backoff import Backoff
from infernet_edge.containers import specification
from infernet_edge.containers.blocking import EngineUnreachable, Threads
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.podman import CALL_TIMEOUT, Engine, Found, IPNetwork
from infernet_edge.containers.ports import Ports
from infernet_edge.containers.processes import WatchedProcess
from infernet_edge.containers.readiness import port_seems_closed, probe
from infernet_edge.containers.service import Service
from infernet_edge.containers.supervision.endings import stop_reason, with_last_output
from infernet_edge.containers.supervision.log_lines import LastLine
from infernet_edge.containers.timing import Timing
from infernet_edge.errors import EngineError
from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

_PULL_TIMEOUT = 12 * 3600.0  # seconds; a large image over a slow network
_PORT_ATTEMPTS = 3
_FAILED_PROBES = 3  # in a row, after which a container that ran is down

_HINTS = {
    "unresolvable CDI devices": "describe the GPU for Podman with:"
    " nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, or change gpu or devices in the"
    " configuration; infernet-edge doctor lists the names that exist",
    "stat /dev/": "connect the device, or change containers[].devices and gpu in the configuration;"
    " infernet-edge doctor lists what is missing",
    "unauthorized": "check docker.username and docker.password in the configuration",
    "no space left on device": "free disk space, for example with: podman image prune",
}


class SupervisorContext(NamedTuple):
    """Objects that all supervisors share."""

    connection: Connection
    threads: Threads
    ports: Ports
    pulls: asyncio.Semaphore
    session: aiohttp.ClientSession
    node: str
    node_labels: Mapping[str, str]
    polling_needed: asyncio.Event  # set when a container's process is not visible
    timing: Timing


class Supervisor:
    """Keeps the container of one service running, and updates the state of the service."""

    def __init__(self, service: Service, context: SupervisorContext) -> None:
        self.service = service
        self.networks: list[IPNetwork] = []
        self.addresses: list[str] = []  # of the current container, else of the last one
        self.located = False  # whether they are those of the current one
        self._context = context
        self._container_id = ""
        self._started = False
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process: WatchedProcess | None = None
        self._pid = 0
        self._ended_process = ("", 0)  # the last container and process whose end was detected
        self._crashes = 0
        self._limits_warned = False
        self._groups_warned = False
        timing = context.timing
        self._restarts = Backoff(timing.restart, timing.restart_limit)
        self._retries = Backoff(timing.retry, timing.retry_limit)
        self._polls = Backoff(timing.port_poll_busy, timing.reconcile)
        self._next_check = 0.0
        self._last_line = LastLine(context.connection)

    @property
    def running_id(self) -> str:
        """The id of the container that is believed to run, or ""."""
        return self._container_id if self._started and not self._ended.done() else ""

    def mark_ended(self, container_id: str) -> None:
        """Record that a container has ended; one that is not the current one is ignored."""
        if container_id == self._container_id and not self._ended.done():
            self._ended.set_result(None)

    def request_probe(self, problem: str) -> None:
        """Request a probe of the service because Podman cannot be used; `problem` is the reason."""
        if self.running_id:
            if self._process is None:
                self.service.probe_requested.set()
        elif not self._container_id:
            self.service.set_failed(problem)

    async def needs_check(self) -> bool:
        """Whether a container whose process is not visible has to be checked with Podman."""
        if not self.running_id or self._process is not None:
            return False
        if not await port_seems_closed(self.service.port):
            self._polls.reset()
            return False
        # A program may close its port and keep running, so the interval of the checks grows.
        now = time.monotonic()
        if now < self._next_check:
            return False
        self._next_check = now + self._polls.next()
        return True

    async def run(self) -> None:
        """Never returns; the container keeps running when this is cancelled."""
        try:
            await self._run()
        finally:
            self._stop_watching()

    async def _run(self) -> None:
        while True:
            self._stop_watching()
            self._container_id, self._started = "", False
            if problem := self._context.connection.problem:
                self.service.set_failed(problem)
            engine = await self._context.connection.ready()
            self._set_starting("its container is being looked up")
            try:
                await self._start(engine)
            except EngineUnreachable as error:
                self._set_starting(str(error))
                self._context.connection.request_check()
                await asyncio.sleep(self._context.timing.reconnect)
            except EngineError as error:
                pause = self._retries.next()
                reason = f"{error}{_hint(str(error))}"
                self.service.set_failed(reason)
                self._log("failed", logging.ERROR, reason=reason, next_attempt_seconds=pause)
                await asyncio.sleep(pause)
            else:
                self._retries.reset()
                await self._watch_until_stopped()

    async def _start(self, engine: Engine) -> None:
        run = self._context.connection.run
        container = self.service.container
        image = await run(CALL_TIMEOUT, engine.find_image, container.image)
        if image is None:
            image = await self._pull(engine)
        self._set_starting("its container is being started")
        specified = await self._specify(engine, image)
        fingerprint = specified["labels"][specification.SPECIFICATION_LABEL]
        for found in await run(CALL_TIMEOUT, engine.containers, self._context.node):
            if found.container != container.id:
                continue
            runs = found.running and (found.id, found.pid) != self._ended_process
            if runs and found.port and found.specification == fingerprint:
                self._adopt(found)
                break
            await self._replace(engine, found)
        else:
            self._warn_about_limits()
            await self._create(engine, specified)
        await self._watch_process(engine)
        if self._ended.done():
            return
        self.networks = await run(CALL_TIMEOUT, engine.networks_of, self._container_id)
        self.addresses = await run(CALL_TIMEOUT, engine.addresses_of, self._container_id)
        self.located = True

    async def _specify(self, engine: Engine, image: str) -> dict[str, Any]:
        container, info = self.service.container, self._context.connection.info
        groups: list[int] = []
        # Podman on another machine has other devices.
        if (container.devices or container.gpu) and engine.url.startswith("unix:"):
            groups = await self._context.threads.run(
                CALL_TIMEOUT, specification.device_groups, container
            )
        if groups and info.rootless and info.runtime != "crun" and not self._groups_warned:
            self._groups_warned = True
            self._log(
                "groups_dropped",
                logging.WARNING,
                runtime=info.runtime,
                reason="with this runtime rootless Podman cannot pass the groups of devices to the"
                " container; install the package crun",
            )
        return specification.make_specification(
            *(container, self._context.node, image, info.limits, self._context.timing.stop, groups),
            rootless=info.rootless,
            node_labels=self._context.node_labels,
        )

    async def _pull(self, engine: Engine) -> str:
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()
        image = self.service.container.image

        def progress(text: str) -> None:
            self._log("pull_progressed", image=image, progress=text)
            loop.call_soon_threadsafe(self._set_starting, f"its image is being pulled: {text}")

        self._set_starting("its image waits for other pulls")
        async with self._context.pulls:
            self._set_starting("its image is being pulled")
            self._log("pull_started", image=image)
            begin = time.monotonic()
            try:
                # Separate threads, for which the shutdown does not wait: a pull may hang, and a
                # cancelled one leaves nothing that has to be removed.
                threads = Threads()
                async with self._context.connection.in_use():
                    pulled = await threads.run(
                        _PULL_TIMEOUT, engine.pull, image, progress, cancelled
                    )
            finally:
                cancelled.set()
            self._log("pulled", image=image, seconds=round(time.monotonic() - begin, 1))
            return pulled

    def _adopt(self, found: Found) -> None:
        self._context.ports.register(self.service.id, found.port)
        self.service.set_port(found.port)
        self._watch(found.id)
        self._started = True
        self._log("adopted", port=found.port, podman_id=found.id[:12])

    async def _replace(self, engine: Engine, found: Found) -> None:
        if found.running:
            self._log("replaced", podman_id=found.id[:12], reason="its configuration changed")
        timeout = CALL_TIMEOUT + self._context.timing.stop
        await self._context.connection.run(timeout, engine.remove, found.id)

    async def _create(self, engine: Engine, specified: dict[str, Any]) -> None:
        run = self._context.connection.run
        for attempt in range(_PORT_ATTEMPTS):
            port = self._assign_port()
            created = await run(CALL_TIMEOUT, engine.create, specification.publish(specified, port))
            self._watch(created)
            try:
                await run(CALL_TIMEOUT, engine.start, created)
            except EngineUnreachable:
                raise
            except EngineError as error:
                self._container_id = ""
                await run(CALL_TIMEOUT, engine.remove, created)
                # Another program took the port after it was checked: check it again.
                if "address already in use" not in str(error) or attempt + 1 == _PORT_ATTEMPTS:
                    raise
            else:
                self._started = True
                self.service.set_port(port)
                self._log("started", port=port, podman_id=created[:12])
                return

    def _assign_port(self) -> int:
        configured = self.service.container.port
        port = self._context.ports.assign(self.service.id, configured)
        if port != configured:
            self._log("port_replaced", logging.WARNING, configured_port=configured, port=port)
        return port

    def _watch(self, container_id: str) -> None:
        self._container_id, self._started = container_id, False
        self.located = False
        self._ended = asyncio.get_running_loop().create_future()
        self.service.probe_requested.clear()
        self._polls.reset()

    async def _watch_process(self, engine: Engine) -> None:
        """Detect the end of the container's process, or poll its port if that is not possible."""
        self._stop_watching()
        container_id = self._container_id
        for _ in range(2):  # the process may end between the two calls; then check the state again
            state = await self._context.connection.run(CALL_TIMEOUT, engine.state, container_id)
            if state is None or not state.running:
                self.mark_ended(container_id)
                return
            self._pid = state.process.pid

            def on_end() -> None:
                self._ended_process = (container_id, self._pid)
                self.mark_ended(container_id)

            self._process = WatchedProcess.open_container(container_id, state.process, on_end)
            if self._process is not None:
                return
        self._context.polling_needed.set()
        self._log("watch_failed", reason="its process is not visible, so its port is polled")

    def _stop_watching(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    async def last_log_line(self) -> str:
        """The last line of the log of its container; "" when there is none."""
        return await self._last_line.of(self._container_id)

    async def _watch_until_stopped(self) -> None:
        """Watch the container until it stops, log the reason, and wait before the next start."""
        begin = time.monotonic()
        problem = await self._probe_until_ended()
        uptime = time.monotonic() - begin
        self._set_starting(problem or "it stopped")  # from now on jobs wait
        connection = self._context.connection
        if problem:
            reason = await with_last_output(connection, self._container_id, problem)
            await self._remove_unresponsive()
        else:
            reason = await stop_reason(connection, self._container_id, self._pid)
        timing = self._context.timing
        if uptime < timing.quick_crash:
            self._crashes += 1
        else:
            self._crashes = 1
            self._restarts.reset()
        pause = self._restarts.next()
        if self._in_crash_loop:
            pause = timing.crash_loop
            reason = f"it stopped {self._crashes} times in a row, most recently: {reason}"
            self.service.set_failed(reason)
        self._set_starting(reason)
        self._log(
            "unresponsive" if problem else "stopped",
            logging.WARNING,
            reason=reason,
            uptime_seconds=round(uptime, 1),
            next_start_seconds=pause,
        )
        await asyncio.sleep(pause)

    async def _probe_until_ended(self) -> str:
        """Probe until it is ready, and again on request, until it stops or is down.

        Returns "" when it stopped, and the reason when it runs but does not answer any more.
        """
        timing = self._context.timing
        begin = time.monotonic()
        backoff = Backoff(timing.probe, timing.probe_limit, factor=1.5)
        while not self._ended.done():
            problem = await self._probe()
            if self._ended.done():
                break
            if problem:
                self._set_starting(f"it does not answer yet: {problem}")
                await asyncio.wait({self._ended}, timeout=backoff.next())
                continue
            if self.service.state != "ready":
                self._log("became_ready", seconds=round(time.monotonic() - begin, 2))
            self.service.set_ready()
            await self._wait_for_end_or_request()
            if self.service.state == "suspect" and (problem := await self._is_down()):
                return f"it does not answer any more: {problem}"
            backoff.reset()
        return ""

    async def _is_down(self) -> str:
        """Probe a suspect until it answers, stops, or is down; returns the reason when it is down.

        A probe counts only while no call is in progress: a service with a single worker answers
        nothing else while it computes. A call that has reached its time-out is not in progress.
        """
        service, failed = self.service, 0
        while service.state == "suspect" and not self._ended.done():
            idle = not service.in_call
            problem = await self._probe()
            if not problem:
                service.set_ready()
                break
            failed = failed + 1 if idle and not service.in_call else 0
            if failed == _FAILED_PROBES:
                return "" if self._ended.done() else problem
            await asyncio.wait({self._ended}, timeout=self._context.timing.suspect)
        return ""

    async def _remove_unresponsive(self) -> None:
        """Remove a container that runs but is down; if Podman cannot, the next start does."""
        self._ended_process = (self._container_id, self._pid)  # which is not adopted again
        connection = self._context.connection
        if connection.engine is None:
            return
        timeout = CALL_TIMEOUT + self._context.timing.stop
        try:
            await connection.run(timeout, connection.engine.remove, self._container_id)
        except EngineUnreachable:
            connection.request_check()
        except EngineError as error:
            self._log("remove_failed", logging.WARNING, reason=error)

    async def _probe(self) -> str:
        """The result of `probe`, or immediately "it stopped" when the container ends."""
        probing = asyncio.ensure_future(probe(self._context.session, self.service))
        either: set[asyncio.Future[Any]] = {self._ended, probing}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return probing.result() if probing.done() else "it stopped"
        finally:
            await cancel(probing)

    async def _wait_for_end_or_request(self) -> None:
        requested = asyncio.ensure_future(self.service.probe_requested.wait())
        either: set[asyncio.Future[Any]] = {self._ended, requested}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(requested)
            self.service.probe_requested.clear()

    @property
    def _in_crash_loop(self) -> bool:
        return self._crashes >= self._context.timing.crash_cap

    def _set_starting(self, reason: str) -> None:
        """Set the state `starting`; in a crash loop `failed`, so that jobs do not wait for it."""
        state = self.service.state
        if self._in_crash_loop:
            if state != "failed":  # keep the reason of the crash until it is ready
                self.service.set_failed(reason)
        elif (state, self.service.reason) != ("starting", reason):
            self.service.set_starting(reason)

    def _warn_about_limits(self) -> None:
        limits = self._context.connection.info.limits
        missing = specification.missing_limits(self.service.container, limits)
        if missing and not self._limits_warned:
            self._limits_warned = True
            self._log(
                "limits_ignored",
                logging.WARNING,
                limits=", ".join(missing),
                reason="this kernel, or rootless Podman, cannot apply them; on a Raspberry Pi add"
                " cgroup_enable=memory to the kernel's command line",
            )

    def _log(self, verb: str, level: int = logging.INFO, **fields: object) -> None:
        log_event(logger, f"container.{verb}", level, container=self.service.id, **fields)


def _hint(problem: str) -> str:
    """The remedy for a known problem, as a sentence; "" for others."""
    return next(
        (f". To fix it, {remedy}" for part, remedy in _HINTS.items() if part in problem), ""
    )
