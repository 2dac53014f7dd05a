"""What should run, does run: the containers of the configuration, through Podman.

While the node runs, containers that end are started anew. At its end they are stopped and removed,
since each start makes a fresh one anyway; only what is in volumes stays. If the node is killed,
they run on, and its next start adopts those that are still as configured.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Coroutine
from typing import Any

import aiohttp

from infernet_edge.backoff import Backoff
from infernet_edge.config.model import Config
from infernet_edge.containers.blocking import EngineUnreachable, Threads
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.leftovers import abandoned, folders_of, running, storage_labels
from infernet_edge.containers.podman import CALL_TIMEOUT, Engine, Found, IPNetwork
from infernet_edge.containers.ports import Ports
from infernet_edge.containers.readiness import watch_unmanaged
from infernet_edge.containers.service import Service
from infernet_edge.containers.specification import STORAGE_LABEL, node_name
from infernet_edge.containers.supervisor import Means, Supervisor
from infernet_edge.containers.timing import Timing
from infernet_edge.errors import EngineError
from infernet_edge.folders import remove_abandoned_folders
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_PARALLEL_PULLS = 2  # more only make each of them slower
_STILL_BUSY = 4.5  # checks that are made at a busy node's pace after the last job
_SETTLE_TIMEOUT = 5.0
_STOP_MARGIN = 10.0  # seconds that Podman may take beyond the containers' own stop time-out


class ContainerManager:
    """Starts, watches and stops managed containers, and probes those of others."""

    def __init__(
        self,
        config: Config,
        services: dict[str, Service],
        session: aiohttp.ClientSession,
        pace: Timing | None = None,
    ) -> None:
        self._config = config
        self._services = services
        self._session = session
        self._pace = pace or Timing()
        self._node = node_name(config.storage_path)
        self._threads = Threads()
        self.connection = Connection(config, self._threads)
        self._supervisors: dict[str, Supervisor] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._unseen = asyncio.Event()

    @property
    def engine_problem(self) -> str:
        """Why Podman cannot be used, or "" when it can or is not needed."""
        return self.connection.problem

    def networks(self) -> list[IPNetwork]:
        """The networks that managed containers are in, from which their requests come."""
        return sorted(
            {
                network
                for supervisor in self._supervisors.values()
                for network in supervisor.networks
            },
            key=str,
        )

    def container_at(self, address: str) -> str | None:
        """The id of the managed container that has this address, or had it last; "" for none.

        None: some container has just been started, and it is not known yet where it is.
        """
        had = [each for each in self._supervisors.values() if address in each.addresses]
        for supervisor in sorted(had, key=lambda each: not each.running_id):
            return supervisor.service.id
        starting = any(each.running_id and not each.located for each in self._supervisors.values())
        return None if starting else ""

    async def start(self) -> None:
        """Begin with everything, and return at once."""
        managed = [service for service in self._services.values() if service.managed]
        unmanaged = [service for service in self._services.values() if not service.managed]
        if unmanaged:
            self._hold(watch_unmanaged(self._session, unmanaged, self._pace), "probe services")
        if not managed:
            return
        storage = self._config.storage_path
        ports = {service.container.port for service in managed}
        means = Means(
            connection=self.connection,
            threads=self._threads,
            ports=Ports({self._config.server.port, *ports}),
            pulls=asyncio.Semaphore(_PARALLEL_PULLS),
            session=self._session,
            node=self._node,
            node_labels=await self._threads.run(CALL_TIMEOUT, storage_labels, storage),
            unseen=self._unseen,
            pace=self._pace,
        )
        self._supervisors = {service.id: Supervisor(service, means) for service in managed}
        for name, supervisor in self._supervisors.items():
            supervisor.service.set_starting("Podman is being looked for")
            self._hold(supervisor.run(), f"container {name}")
        self._hold(self._keep_connected(), "podman")
        self._hold(self._knock(), "containers' ports")

    async def wait_until_settled(self, timeout: float) -> None:
        """Wait until every service is ready or has failed, at most `timeout` seconds."""
        waits = [asyncio.ensure_future(s.wait_settled()) for s in self._services.values()]
        try:
            if waits:
                await asyncio.wait(waits, timeout=timeout)
        finally:
            for wait in waits:
                wait.cancel()

    async def stop(self) -> None:
        """Stop and remove the managed containers, all at the same time, and end Podman's service.

        Takes the containers' stop time-out and some seconds more at most. May be called twice.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A container that is being created just now must not be overlooked.
        await self._threads.settle(_SETTLE_TIMEOUT)
        if self._supervisors:
            for supervisor in self._supervisors.values():
                supervisor.service.set_failed("the node is being stopped")
            await self._remove_all()
        self._supervisors = {}
        await self.connection.close()

    async def _remove_all(self) -> None:
        if self.connection.engine is None:
            return
        try:
            async with asyncio.timeout(_STOP_MARGIN):
                engine, found = await self._list_once_more(self.connection.engine)
        except (EngineError, TimeoutError) as error:
            reason = str(error) or "Podman does not answer"
            log_event(logger, "container.left_running", logging.WARNING, reason=reason)
            return
        await asyncio.gather(*(self._remove(engine, each) for each in found))

    async def _list_once_more(self, engine: Engine) -> tuple[Engine, list[Found]]:
        try:
            return engine, await self.connection.run(CALL_TIMEOUT, engine.containers, self._node)
        except EngineUnreachable:
            # systemd may have ended Podman's service together with the node.
            engine = await self.connection.open()
            return engine, await self.connection.run(CALL_TIMEOUT, engine.containers, self._node)

    async def _remove(self, engine: Engine, found: Found) -> None:
        timeout = self._pace.stop + _STOP_MARGIN
        begin = time.monotonic()
        try:
            await self.connection.run(timeout, engine.remove, found.id)
        except EngineError as error:
            log_event(
                logger,
                "container.left_running",
                logging.WARNING,
                container=found.container,
                reason=error,
            )
        else:
            seconds = round(time.monotonic() - begin, 1)
            log_event(logger, "container.removed", container=found.container, seconds=seconds)

    async def _keep_connected(self) -> None:
        pauses = Backoff(self._pace.reconnect, self._pace.reconnect_limit)
        with running(self._node):
            while True:
                try:
                    engine = await self.connection.open()
                    self.connection.doubted.clear()
                    await self._compare(engine)
                    await self._remove_unconfigured(engine)
                    pauses.reset()
                    self.connection.announce()
                    await self._remove_abandoned(engine)
                    await self._keep_comparing(engine)
                except EngineError as error:
                    self._report(str(error))
                await asyncio.sleep(pauses.next())

    def _report(self, problem: str) -> None:
        if problem != self.connection.problem:
            log_event(logger, "podman.lost", logging.WARNING, reason=problem)
        self.connection.lost(problem)
        for supervisor in self._supervisors.values():
            supervisor.doubt(problem)

    async def _keep_comparing(self, engine: Engine) -> None:
        """Ask Podman when there is doubt, and now and then; raises EngineError when it is gone."""
        doubted = self.connection.doubted
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.reconcile):
                    await doubted.wait()
            doubted.clear()
            await self._compare(engine)

    async def _compare(self, engine: Engine) -> None:
        """Find containers that ended unnoticed."""
        believed = {each.running_id: each for each in self._supervisors.values()}
        found = await self.connection.run(CALL_TIMEOUT, engine.containers, self._node)
        runs = {each.id for each in found if each.running}
        for container_id, supervisor in believed.items():
            if container_id and container_id not in runs:
                supervisor.end(container_id)

    async def _knock(self) -> None:
        """Check the ports of containers whose processes cannot be seen, see `Timing`."""
        checked = busy_until = 0.0
        calls = 0
        services = self._services.values()
        await self._unseen.wait()
        while True:
            await asyncio.sleep(self._pace.knock_busy)
            now = time.monotonic()
            before, calls = calls, sum(service.calls for service in services)
            if calls != before or any(service.working_on for service in services):
                # Somewhat longer, since what ends a container ends its job, too.
                busy_until = now + _STILL_BUSY * self._pace.knock_busy
            if now >= busy_until and now - checked < self._pace.knock_idle:
                continue
            checked = now
            supervisors = list(self._supervisors.values())
            gone = await asyncio.gather(*(each.seems_gone() for each in supervisors))
            if any(gone) and not self.connection.problem:
                self.connection.doubt()
                continue
            for supervisor in itertools.compress(supervisors, gone):
                supervisor.doubt(self.connection.problem)

    async def _remove_unconfigured(self, engine: Engine) -> None:
        found = await self.connection.run(CALL_TIMEOUT, engine.containers, self._node)
        unwanted = [each for each in found if each.container not in self._supervisors]
        for each in unwanted:
            log_event(logger, "container.unconfigured", container=each.container)
        await asyncio.gather(*(self._remove(engine, each) for each in unwanted))

    async def _remove_abandoned(self, engine: Engine) -> None:
        """Remove what killed nodes left; a failure is only logged, since this node needs none."""
        run = self._threads.run
        try:
            found = await self.connection.run(CALL_TIMEOUT, engine.containers)
            for path in await run(CALL_TIMEOUT, remove_abandoned_folders, folders_of(found)):
                log_event(logger, "folder.removed", path=path)
            left = await run(CALL_TIMEOUT, abandoned, found, self._node)
        except (EngineError, OSError) as error:
            log_event(logger, "container.search_failed", logging.WARNING, reason=error)
            return
        for each in left:
            storage = each.labels.get(STORAGE_LABEL)
            log_event(logger, "container.abandoned", container=each.container, storage=storage)
        await asyncio.gather(*(self._remove(engine, each) for each in left))

    def _hold(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_report_failure)
        self._tasks.append(task)


def _report_failure(task: asyncio.Task[None]) -> None:
    """These tasks never end by themselves, so one that does must not do so in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("task.failed", exc_info=error, extra={"fields": {"task": task.get_name()}})
