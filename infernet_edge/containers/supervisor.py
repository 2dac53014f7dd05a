"""Run one managed container: pull its image, start it, probe it, and restart it when it stops."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from infernet_edge.backoff import Backoff
from infernet_edge.containers import specification
from infernet_edge.containers.blocking import EngineUnreachable
from infernet_edge.containers.podman import CALL_TIMEOUT, Engine, Found, IPNetwork
from infernet_edge.containers.processes import WatchedProcess
from infernet_edge.containers.readiness import probe
from infernet_edge.containers.service import Service
from infernet_edge.containers.supervision.context import SupervisorContext
from infernet_edge.containers.supervision.endings import stop_reason, with_last_output
from infernet_edge.containers.supervision.listening import why_silent
from infernet_edge.containers.supervision.log_lines import LastLine
from infernet_edge.containers.supervision.port_checks import PortChecks
from infernet_edge.containers.supervision.preparation import Preparation
from infernet_edge.containers.supervision.rest import Rest, stop_running
from infernet_edge.containers.supervision.restarts import Restarts
from infernet_edge.containers.supervision.startup import report_silence
from infernet_edge.containers.supervision.usage import RunningContainer
from infernet_edge.errors import EngineError
from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

_PORT_ATTEMPTS = 3
_FAILED_PROBES = 3  # in a row, after which a container that ran is down


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
        self._was_ready = False
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process: WatchedProcess | None = None
        self._pid = 0
        self._cgroup = ""
        self._is_first, self._started_at = True, 0.0
        self.restarts = 0
        """How often it was started again since the node runs, without those after a rest."""
        self._ended_process = ("", 0)  # the last container and process whose end was detected
        timing = context.timing
        self.pauses = Restarts(timing)
        self.rest = Rest()
        self._port_checks = PortChecks(timing)
        self._silent_cause = ""
        self._last_line = LastLine(context.connection)
        self.preparation = Preparation(service.container, context, self)

    @property
    def running_id(self) -> str:
        """The id of the container that is believed to run, or ""."""
        return self._container_id if self._started and not self._ended.done() else ""

    @property
    def container_id(self) -> str:
        """The id of the current container, or of the last one until it is replaced; "" for none."""
        return self._container_id

    @property
    def running(self) -> RunningContainer | None:
        """The container that is believed to run."""
        if not self.running_id:
            return None
        seconds = time.monotonic() - self._started_at
        visible = self._process is not None
        return RunningContainer(self._container_id, self._pid, visible, self._cgroup, seconds)

    async def sleep(self) -> None:
        """Stop its container, and start none until `wake`; returns when none runs.

        An image that is being pulled is pulled to its end.
        """
        self.rest.begin()
        self.pauses.interrupt()
        self.mark_ended(self.running_id)
        if not self.preparation.is_running:
            await self.rest.wait_reached()
        await stop_running(self._context, self.service.id)

    def wake(self) -> None:
        """Start its container, which is stopped."""
        self.pauses.forget()
        self._is_first = True
        self.rest.end()

    def request_restart(self, reason: str) -> None:
        """Replace its container now, which interrupts its jobs; `reason` is shown until then.

        One that rests is started instead, where nothing prevents that.
        """
        if self.rest.is_requested:
            if self.rest.on_request is not None:
                self.rest.on_request()
            return
        self.pauses.request()
        if self.running_id:
            self.service.interrupt()
            self.mark_ended(self._container_id)
        self.report_state(reason)

    def recreate(self) -> None:
        """Replace its container by one with the present configuration of the service."""
        self.preparation = Preparation(self.service.container, self._context, self)
        if not self.rest.is_requested:
            self.request_restart("its configuration was changed")

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
        return await self._port_checks.is_needed(self.service.port)

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
            if self.rest.is_requested:
                await self.rest.wait_end()
            if problem := self._context.connection.problem:
                self.service.set_failed(problem)
            engine = await self._context.connection.ready()
            self.report_state("its container is being looked up")
            try:
                started = await self._start(engine)
            except EngineUnreachable as error:
                self.report_state(str(error))
                self._context.connection.request_check()
                await asyncio.sleep(self._context.timing.reconnect)
            except EngineError as error:
                reason = await self.preparation.reason_for_failure(engine, error)
                if not reason or self.rest.is_requested:
                    continue
                pause = self.pauses.after_failure()
                self.service.set_failed(reason)
                self.log_container(
                    "failed", logging.ERROR, reason=reason, next_attempt_seconds=pause
                )
                await self.pauses.pause(pause)
            else:
                if started:
                    self.pauses.note_started()
                    await self._watch_until_stopped()

    async def _start(self, engine: Engine) -> bool:
        """Returns whether it was started: it may have to rest now."""
        run = self._context.connection.run
        container = self.service.container
        specified = await self.preparation.specify(engine)
        if self.rest.is_requested:
            return False
        fingerprint = specified["labels"][specification.SPECIFICATION_LABEL]
        for found in await run(CALL_TIMEOUT, engine.containers, self._context.node):
            if found.container != container.id:
                continue
            runs = found.running and (found.id, found.pid) != self._ended_process
            fits = found.specification == fingerprint and not self.pauses.requested
            if runs and found.port and fits:
                self._adopt(found)
                break
            await self._replace(engine, found)
        else:
            self.preparation.warn_about_limits()
            await self._create(engine, specified)
        await self._watch_process(engine)
        if self._ended.done():
            return True
        self.networks = await run(CALL_TIMEOUT, engine.networks_of, self._container_id)
        self.addresses = await run(CALL_TIMEOUT, engine.addresses_of, self._container_id)
        self.located = True
        return True

    def _adopt(self, found: Found) -> None:
        self._context.ports.register(self.service.id, found.port)
        self.service.set_port(found.port)
        self._watch(found.id)
        self._set_started()
        self.log_container("adopted", port=found.port, podman_id=found.id[:12])

    async def _replace(self, engine: Engine, found: Found) -> None:
        if found.running:
            reason = "its configuration or image changed, or a restart was requested"
            self.log_container("replaced", podman_id=found.id[:12], reason=reason)
        timeout = CALL_TIMEOUT + self._context.timing.stop
        await self._context.connection.run(timeout, engine.remove, found.id)

    async def _create(self, engine: Engine, specified: dict[str, Any]) -> None:
        run = self._context.connection.run
        container_port = self.service.container.container_port
        for attempt in range(_PORT_ATTEMPTS):
            port = self._assign_port()
            self.pauses.note_created()
            published = specification.publish(specified, port, container_port)
            created = await run(CALL_TIMEOUT, engine.create, published)
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
                self._set_started()
                self.service.set_port(port)
                self.log_container("started", port=port, podman_id=created[:12])
                return

    def _assign_port(self) -> int:
        configured = self.service.container.port
        port = self._context.ports.assign(self.service.id, configured)
        if port != configured:
            self.log_container(
                "port_replaced", logging.WARNING, configured_port=configured, port=port
            )
        return port

    def _watch(self, container_id: str) -> None:
        self._container_id, self._started = container_id, False
        self._was_ready = self.located = False
        self._ended = asyncio.get_running_loop().create_future()
        self.service.probe_requested.clear()
        self._port_checks.reset()

    def _set_started(self) -> None:
        self._started, self._started_at = True, time.monotonic()
        self.restarts += not self._is_first
        self._is_first = False

    async def _watch_process(self, engine: Engine) -> None:
        """Detect the end of the container's process, or poll its port if that is not possible."""
        self._stop_watching()
        container_id = self._container_id
        for _ in range(2):  # the process may end between the two calls; then check the state again
            state = await self._context.connection.run(CALL_TIMEOUT, engine.state, container_id)
            if state is None or not state.running:
                self.mark_ended(container_id)
                return
            self._pid, self._cgroup = state.process.pid, state.process.cgroup

            def on_end() -> None:
                self._ended_process = (container_id, self._pid)
                self.mark_ended(container_id)

            self._process = WatchedProcess.open_container(container_id, state.process, on_end)
            if self._process is not None:
                return
        self._context.polling_needed.set()
        self.log_container(
            "watch_failed", reason="its process is not visible, so its port is polled"
        )

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
        problem = "" if self.rest.is_requested else await self._probe_until_ended()
        if self.rest.is_requested:
            return
        if self.pauses.requested:
            await self._remove()
            return
        uptime = time.monotonic() - begin
        self.report_state(problem or "it stopped")  # from now on jobs wait
        connection = self._context.connection
        if problem:
            reason = await with_last_output(connection, self._container_id, problem)
            await self._remove()
        else:
            reason = await stop_reason(connection, self._container_id, self._pid)
            if not self._was_ready:
                reason = await self.preparation.after_crash(reason, self._remove)
        self.pauses.last_stop = reason
        pause = self.pauses.after_stop(uptime)
        if self.pauses.in_loop:
            reason = f"it stopped {self.pauses.crashes} times in a row, most recently: {reason}"
            self.service.set_failed(reason)
        self.report_state(reason)
        self.service.publish("unresponsive" if problem else "stopped", reason)
        self.log_container(
            "unresponsive" if problem else "stopped",
            logging.WARNING,
            reason=reason,
            uptime_seconds=round(uptime, 1),
            next_start_seconds=pause,
        )
        await self.pauses.pause(pause)

    async def _probe_until_ended(self) -> str:
        """Probe until it is ready, and again on request, until it stops or is down.

        Returns "" when it stopped, and the reason when it runs but does not answer any more.
        """
        timing = self._context.timing
        begin = time.monotonic()
        backoff = Backoff(timing.probe, timing.probe_limit, factor=1.5)
        searches, cause = Backoff(timing.silent, timing.silent_limit), ""
        search_at = begin + searches.next()
        while not self._ended.done():
            problem = await self._probe()
            if self._ended.done():
                break
            if problem:
                if time.monotonic() >= search_at:
                    cause = await self._why_silent()
                    search_at = time.monotonic() + searches.next()
                report_silence(self.service, self, cause or problem, begin)
                await asyncio.wait({self._ended}, timeout=backoff.next())
                continue
            if self.service.state != "ready":
                self.log_container("became_ready", seconds=round(time.monotonic() - begin, 2))
            self.service.set_ready()
            if not self._was_ready:
                self._was_ready, self.pauses.last_stop = True, ""
                await self.preparation.remove_replaced_images()
            await self._wait_for_end_or_request()
            if self.service.state == "suspect" and (problem := await self._is_down()):
                return f"it does not answer any more: {problem}"
            backoff.reset()
            cause, begin = "", time.monotonic()
        return ""

    async def _why_silent(self) -> str:
        """On which other port it seems to listen; "" if that is not the reason."""
        container = self.service.container
        cause = await why_silent(
            self._context.connection,
            self._container_id,
            pid=self._pid if self._process is not None else 0,
            expected=container.container_port,
            image=self.preparation.image,
        )
        if cause and cause != self._silent_cause:
            self.log_container("port_missed", logging.WARNING, reason=cause)
        self._silent_cause = cause
        return cause

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

    async def _remove(self) -> None:
        """Remove the current container; if Podman cannot, the next start does."""
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
            self.log_container("remove_failed", logging.WARNING, reason=error)

    async def _probe(self) -> str:
        """The result of `probe`, or immediately "it stopped" when the container ends."""
        probing = asyncio.ensure_future(probe(self._context.http, self.service))
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

    def report_state(self, reason: str) -> None:
        """Set the state `starting`; in a crash loop `failed`, so that jobs do not wait for it."""
        state = self.service.state
        if self.rest.is_requested:
            return
        if self.pauses.in_loop:
            if state != "failed":  # keep the reason of the crash until it is ready
                self.service.set_failed(reason)
        elif (state, self.service.reason) != ("starting", reason):
            self.service.set_starting(reason)

    def log_container(self, verb: str, level: int = logging.INFO, **fields: object) -> None:
        log_event(logger, f"container.{verb}", level, container=self.service.id, **fields)
