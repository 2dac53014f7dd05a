"""One managed container: from its image to a service that answers, over and over."""

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
from infernet_edge.containers.readiness import probe, seems_gone
from infernet_edge.containers.service import Service
from infernet_edge.containers.timing import Timing
from infernet_edge.errors import EngineError
from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

_PULL_TIMEOUT = 12 * 3600.0  # a large image over a slow line
_PORT_ATTEMPTS = 3
# Seconds in which Podman learns that a container's process has ended: conmon writes that down.
_EXIT_CODE_TIME = 10.0

_EXIT_CODES = {
    125: " (Podman itself failed)",
    126: " (its command cannot be executed)",
    127: " (its command was not found)",
    137: " (killed; out of memory?)",
    139: " (segmentation fault)",
    143: " (terminated)",
}
_UNKNOWN = "its process ended, and Podman does not say why"

_HINTS = {
    "unresolvable CDI devices": "describe the GPU for Podman with:"
    " nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, or change gpu or devices in the"
    " configuration; infernet-edge doctor lists the names that exist",
    "stat /dev/": "connect the device, or change containers[].devices and gpu in the configuration;"
    " infernet-edge doctor lists what is missing",
    "unauthorized": "check docker.username and docker.password in the configuration",
    "no space left on device": "make room, for instance with: podman image prune",
}


class Means(NamedTuple):
    """What all supervisors share."""

    connection: Connection
    threads: Threads
    ports: Ports
    pulls: asyncio.Semaphore
    session: aiohttp.ClientSession
    node: str
    node_labels: Mapping[str, str]
    unseen: asyncio.Event  # set when there is a container whose process cannot be seen
    pace: Timing


class Supervisor:
    """Keeps the container of one service running and says in the service how it is."""

    def __init__(self, service: Service, means: Means) -> None:
        self.service = service
        self.networks: list[IPNetwork] = []
        self.addresses: list[str] = []  # of the present container, else of the last one
        self.located = False  # whether they are the present one's
        self._means = means
        self._container_id = ""
        self._started = False
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._doubt = asyncio.Event()
        self._process: WatchedProcess | None = None
        self._pid = 0
        self._ended_process = ("", 0)  # the last container and process whose end was seen
        self._crashes = 0
        self._warned = False
        self._warned_of_groups = False
        pace = means.pace
        self._restarts = Backoff(pace.restart, pace.restart_limit)
        self._retries = Backoff(pace.retry, pace.retry_limit)
        self._knocks = Backoff(pace.knock_busy, pace.reconcile)
        self._next_question = 0.0

    @property
    def running_id(self) -> str:
        """The id of the container that runs as far as is known, or ""."""
        return self._container_id if self._started and not self._ended.done() else ""

    def end(self, container_id: str) -> None:
        """A container has ended; others than the present one do not matter."""
        if container_id == self._container_id and not self._ended.done():
            self._ended.set_result(None)

    def doubt(self, problem: str) -> None:
        """Podman cannot be asked, so find out by probing; `problem` says why it cannot."""
        if self.running_id:
            if self._process is None:
                self._doubt.set()
        elif not self._container_id:
            self.service.set_failed(problem)

    async def seems_gone(self) -> bool:
        """Whether Podman has to be asked for the container, whose process cannot be seen."""
        if not self.running_id or self._process is not None:
            return False
        if not await seems_gone(self.service.port):
            self._knocks.reset()
            return False
        # A program may close its port and go on: then Podman is asked less and less often.
        now = time.monotonic()
        if now < self._next_question:
            return False
        self._next_question = now + self._knocks.next()
        return True

    async def run(self) -> None:
        """Never returns; the container goes on running when this is cancelled."""
        try:
            await self._run()
        finally:
            self._stop_watching()

    async def _run(self) -> None:
        while True:
            self._stop_watching()
            self._container_id, self._started = "", False
            if problem := self._means.connection.problem:
                self.service.set_failed(problem)
            engine = await self._means.connection.ready()
            self._say("Podman is asked for its container")
            try:
                await self._bring_up(engine)
            except EngineUnreachable as error:
                self._say(str(error))
                self._means.connection.doubt()
                await asyncio.sleep(self._means.pace.reconnect)
            except EngineError as error:
                pause = self._retries.next()
                reason = f"{error}{_hint(str(error))}"
                self.service.set_failed(reason)
                self._log("failed", logging.ERROR, reason=reason, next_attempt_seconds=pause)
                await asyncio.sleep(pause)
            else:
                self._retries.reset()
                await self._accompany()

    async def _bring_up(self, engine: Engine) -> None:
        run = self._means.connection.run
        container = self.service.container
        image = await run(CALL_TIMEOUT, engine.find_image, container.image)
        if image is None:
            image = await self._pull(engine)
        self._say("its container is being started")
        wanted = await self._specify(engine, image)
        fingerprint = wanted["labels"][specification.SPECIFICATION_LABEL]
        for found in await run(CALL_TIMEOUT, engine.containers, self._means.node):
            if found.container != container.id:
                continue
            runs = found.running and (found.id, found.pid) != self._ended_process
            if runs and found.port and found.specification == fingerprint:
                self._adopt(found)
                break
            await self._replace(engine, found)
        else:
            self._warn_of_missing_limits()
            await self._create(engine, wanted)
        await self._watch_process(engine)
        if self._ended.done():
            return
        self.networks = await run(CALL_TIMEOUT, engine.networks_of, self._container_id)
        self.addresses = await run(CALL_TIMEOUT, engine.addresses_of, self._container_id)
        self.located = True

    async def _specify(self, engine: Engine, image: str) -> dict[str, Any]:
        container, info = self.service.container, self._means.connection.info
        groups: list[int] = []
        # A Podman on another machine has other devices.
        if (container.devices or container.gpu) and engine.url.startswith("unix:"):
            groups = await self._means.threads.run(
                CALL_TIMEOUT, specification.device_groups, container
            )
        if groups and info.rootless and info.runtime != "crun" and not self._warned_of_groups:
            self._warned_of_groups = True
            self._log(
                "groups_dropped",
                logging.WARNING,
                runtime=info.runtime,
                reason="with this runtime a Podman without root cannot pass on the groups of"
                " devices; install the package crun",
            )
        return specification.make_specification(
            *(container, self._means.node, image, info.limits, self._means.pace.stop, groups),
            rootless=info.rootless,
            node_labels=self._means.node_labels,
        )

    async def _pull(self, engine: Engine) -> str:
        loop = asyncio.get_running_loop()
        given_up = threading.Event()
        image = self.service.container.image

        def progress(text: str) -> None:
            self._log("pulling", image=image, progress=text)
            loop.call_soon_threadsafe(self._say, f"its image is being pulled: {text}")

        self._say("its image waits to be pulled")
        async with self._means.pulls:
            self._say("its image is being pulled")
            self._log("pulling", image=image)
            begin = time.monotonic()
            try:
                # In threads of its own, for which the node does not wait at its end: a pull may
                # hang, and one that is broken off leaves nothing that has to be removed.
                threads = Threads()
                async with self._means.connection.in_use():
                    pulled = await threads.run(
                        _PULL_TIMEOUT, engine.pull, image, progress, given_up
                    )
            finally:
                given_up.set()
            self._log("pulled", image=image, seconds=round(time.monotonic() - begin, 1))
            return pulled

    def _adopt(self, found: Found) -> None:
        self._means.ports.keep(self.service.id, found.port)
        self.service.set_port(found.port)
        self._watch(found.id)
        self._started = True
        self._log("adopted", port=found.port, podman_id=found.id[:12])

    async def _replace(self, engine: Engine, found: Found) -> None:
        if found.running:
            self._log("replaced", podman_id=found.id[:12], reason="its configuration changed")
        timeout = CALL_TIMEOUT + self._means.pace.stop
        await self._means.connection.run(timeout, engine.remove, found.id)

    async def _create(self, engine: Engine, wanted: dict[str, Any]) -> None:
        run = self._means.connection.run
        for attempt in range(_PORT_ATTEMPTS):
            port = self._take_port()
            created = await run(CALL_TIMEOUT, engine.create, specification.publish(wanted, port))
            self._watch(created)
            try:
                await run(CALL_TIMEOUT, engine.start, created)
            except EngineUnreachable:
                raise
            except EngineError as error:
                self._container_id = ""
                await run(CALL_TIMEOUT, engine.remove, created)
                # Another program was quicker: the port is looked at again.
                if "address already in use" not in str(error) or attempt + 1 == _PORT_ATTEMPTS:
                    raise
            else:
                self._started = True
                self.service.set_port(port)
                self._log("started", port=port, podman_id=created[:12])
                return

    def _take_port(self) -> int:
        wanted = self.service.container.port
        port = self._means.ports.take(self.service.id, wanted)
        if port != wanted:
            self._log("port_taken", logging.WARNING, wanted=wanted, used=port)
        return port

    def _watch(self, container_id: str) -> None:
        self._container_id, self._started = container_id, False
        self.located = False
        self._ended = asyncio.get_running_loop().create_future()
        self._doubt.clear()
        self._knocks.reset()

    async def _watch_process(self, engine: Engine) -> None:
        """Have the end of the container noticed when it comes."""
        self._stop_watching()
        container_id = self._container_id
        for _ in range(2):  # it may end in between
            state = await self._means.connection.run(CALL_TIMEOUT, engine.state, container_id)
            if state is None or not state.running:
                self.end(container_id)
                return
            self._pid = state.process.pid

            def on_end() -> None:
                self._ended_process = (container_id, self._pid)
                self.end(container_id)

            self._process = WatchedProcess.open_container(container_id, state.process, on_end)
            if self._process is not None:
                return
        self._means.unseen.set()
        self._log("unseen", reason="its process cannot be seen from here: its port is checked")

    def _stop_watching(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    async def _accompany(self) -> None:
        """From the start of the container to the end of the pause after its end."""
        begin = time.monotonic()
        await self._until_ended()
        uptime = time.monotonic() - begin
        self._say("it stopped")  # jobs wait from now on
        reason = await self._find_out_why()
        pace = self._means.pace
        if uptime < pace.quick_crash:
            self._crashes += 1
        else:
            self._crashes = 1
            self._restarts.reset()
        pause = self._restarts.next()
        if self._hopeless:
            pause = pace.crash_loop
            reason = f"it stopped {self._crashes} times in a row, most recently: {reason}"
            self.service.set_failed(reason)
        self._say(reason)
        self._log(
            "stopped",
            logging.WARNING,
            reason=reason,
            uptime_seconds=round(uptime, 1),
            next_start_seconds=pause,
        )
        await asyncio.sleep(pause)

    async def _until_ended(self) -> None:
        """Probe until it is ready, and again when there is doubt."""
        pace = self._means.pace
        begin = time.monotonic()
        pauses = Backoff(pace.probe, pace.probe_limit, factor=1.5)
        while not self._ended.done():
            problem = await self._probe()
            if self._ended.done():
                return
            if problem:
                self._say(f"it does not answer yet: {problem}")
                await asyncio.wait({self._ended}, timeout=pauses.next())
                continue
            if self.service.state != "ready":
                self._log("ready", seconds=round(time.monotonic() - begin, 2))
            self.service.set_ready()
            await self._ended_or_doubted()
            pauses.reset()

    async def _probe(self) -> str:
        """What is wrong with it, as `probe` says; at once when it ends meanwhile."""
        probing = asyncio.ensure_future(probe(self._means.session, self.service))
        either: set[asyncio.Future[Any]] = {self._ended, probing}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return probing.result() if probing.done() else "it stopped"
        finally:
            await cancel(probing)

    async def _ended_or_doubted(self) -> None:
        doubted = asyncio.ensure_future(self._doubt.wait())
        either: set[asyncio.Future[Any]] = {self._ended, doubted}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            doubted.cancel()
            self._doubt.clear()

    async def _find_out_why(self) -> str:
        """Why it ended, as far as Podman can be asked."""
        engine = self._means.connection.engine
        if engine is None:
            return _UNKNOWN
        reason = _UNKNOWN
        try:
            reason = await self._exit_reason(engine)
            words = await self._means.connection.run(CALL_TIMEOUT, engine.logs, self._container_id)
        except EngineUnreachable:
            self._means.connection.doubt()
            return reason
        except EngineError:  # there is no log of one that was removed
            return reason
        return f"{reason}; its last words: {words}" if words else reason

    async def _exit_reason(self, engine: Engine) -> str:
        run = self._means.connection.run
        pauses = Backoff(0.05, 1.0)
        until = time.monotonic() + _EXIT_CODE_TIME
        while True:
            state = await run(CALL_TIMEOUT, engine.state, self._container_id)
            if state is None:
                return "it was removed"
            if not state.running:
                code = state.exit_code
                return f"it stopped with exit code {code}{_EXIT_CODES.get(code, '')}"
            if state.process.pid != self._pid:
                return "it was restarted by another program"
            if time.monotonic() > until:
                return _UNKNOWN
            await asyncio.sleep(pauses.next())

    @property
    def _hopeless(self) -> bool:
        return self._crashes >= self._means.pace.crash_cap

    def _say(self, reason: str) -> None:
        """It is on its way, unless it has crashed too often: then jobs shall not wait for it."""
        state = self.service.state
        if self._hopeless:
            if state != "failed":  # else why it crashed is what matters, until it is ready
                self.service.set_failed(reason)
        elif (state, self.service.reason) != ("starting", reason):
            self.service.set_starting(reason)

    def _warn_of_missing_limits(self) -> None:
        limits = self._means.connection.info.limits
        missing = specification.missing_limits(self.service.container, limits)
        if missing and not self._warned:
            self._warned = True
            self._log(
                "unlimited",
                logging.WARNING,
                limits=", ".join(missing),
                reason="this kernel or a Podman without root has no control over them;"
                " on a Raspberry Pi add cgroup_enable=memory to the kernel's command line",
            )

    def _log(self, verb: str, level: int = logging.INFO, **fields: object) -> None:
        log_event(logger, f"container.{verb}", level, container=self.service.id, **fields)


def _hint(problem: str) -> str:
    """What to do about a problem that has a known remedy."""
    return next((f". To mend it, {do}" for sign, do in _HINTS.items() if sign in problem), "")
