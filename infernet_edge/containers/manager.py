"""What should run, does run: the containers of the configuration, through Podman.

While the node runs, containers that end are started anew. At its end they are stopped and removed,
since each start makes a fresh one anyway; only what is in volumes stays. If the node is killed,
they run on, and its next start adopts those that are still as configured.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import aiohttp

from infernet_edge.backoff import Backoff
from infernet_edge.config.tree import Config
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.events import EventsRefused, deaths
from infernet_edge.containers.pace import Pace
from infernet_edge.containers.podman import CALL_TIMEOUT, Engine, Found, IPNetwork
from infernet_edge.containers.ports import Ports
from infernet_edge.containers.probe import watch_unmanaged
from infernet_edge.containers.service import Service
from infernet_edge.containers.specification import node_name
from infernet_edge.containers.supervisor import Means, Supervisor
from infernet_edge.containers.threads import EngineUnreachable, Threads
from infernet_edge.errors import EngineError
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_PARALLEL_PULLS = 2  # more only make each of them slower
_SETTLE_TIMEOUT = 5.0
_STOP_MARGIN = 10.0  # seconds that Podman may take beyond the containers' own stop time-out


class ContainerManager:
    """Starts, watches and stops managed containers, and probes those of others."""

    def __init__(
        self,
        config: Config,
        services: dict[str, Service],
        session: aiohttp.ClientSession,
        pace: Pace | None = None,
    ) -> None:
        self._config = config
        self._services = services
        self._session = session
        self._pace = pace or Pace()
        self._node = node_name(config.storage_path)
        self._threads = Threads()
        self.connection = Connection(config, self._threads)
        self._supervisors: dict[str, Supervisor] = {}
        self._tasks: list[asyncio.Task[None]] = []

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
        ports = {service.container.port for service in managed}
        means = Means(
            connection=self.connection,
            threads=self._threads,
            ports=Ports({self._config.server.port, *ports}),
            pulls=asyncio.Semaphore(_PARALLEL_PULLS),
            session=self._session,
            node=self._node,
            pace=self._pace,
        )
        self._supervisors = {service.id: Supervisor(service, means) for service in managed}
        for name, supervisor in self._supervisors.items():
            supervisor.service.set_starting("Podman is being looked for")
            self._hold(supervisor.run(), f"container {name}")
        self._hold(self._keep_connected(), "podman")

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
            return engine, await self._threads.run(CALL_TIMEOUT, engine.containers, self._node)
        except EngineUnreachable:
            # systemd may have ended Podman's service together with the node.
            engine = await self.connection.open()
            return engine, await self._threads.run(CALL_TIMEOUT, engine.containers, self._node)

    async def _remove(self, engine: Engine, found: Found) -> None:
        timeout = self._pace.stop + _STOP_MARGIN
        begin = time.monotonic()
        try:
            await self._threads.run(timeout, engine.remove, found.id)
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
        while True:
            since = int(time.time())
            try:
                engine = await self.connection.open()
                await self._compare(engine, remove_others=True)
                pauses.reset()
                self.connection.announce()
                await self._follow(engine, since)
                problem = "Podman's event stream ended"
            except EngineError as error:
                problem = str(error)
            self._report(problem)
            await asyncio.sleep(pauses.next())

    def _report(self, problem: str) -> None:
        if problem != self.connection.problem:
            log_event(logger, "podman.lost", logging.WARNING, reason=problem)
        self.connection.lost(problem)
        for supervisor in self._supervisors.values():
            supervisor.doubt(problem)

    async def _follow(self, engine: Engine, since: int) -> None:
        """Hand on events, and look now and then at what runs; until Podman is gone."""
        doubted = self.connection.doubted
        doubted.clear()
        period = self._pace.reconcile
        events = asyncio.create_task(self._hand_on_deaths(engine, since))
        events.add_done_callback(lambda _: doubted.set())
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(period):
                        await doubted.wait()
                doubted.clear()
                if events.done() and period == self._pace.reconcile:
                    try:
                        return events.result()
                    except EventsRefused as error:
                        log_event(logger, "podman.no_events", logging.WARNING, reason=error)
                        period = self._pace.reconcile_without_events
                await self._compare(engine)
        finally:
            events.cancel()
            await asyncio.gather(events, return_exceptions=True)

    async def _hand_on_deaths(self, engine: Engine, since: int) -> None:
        async for death in deaths(engine.url, self._node, since):
            for supervisor in self._supervisors.values():
                supervisor.end(death.container_id, death.exit_code)

    async def _compare(self, engine: Engine, *, remove_others: bool = False) -> None:
        """Tell supervisors of containers that ended unnoticed."""
        believed = {each.running_id: each for each in self._supervisors.values()}
        found = await self._threads.run(CALL_TIMEOUT, engine.containers, self._node)
        states = {each.id: each for each in found}
        for container_id, supervisor in believed.items():
            state = states.get(container_id)
            if container_id and (state is None or not state.running):
                supervisor.end(container_id, state.exit_code if state else None)
        if remove_others:
            others = [each for each in found if each.container not in self._supervisors]
            await self._remove_others(engine, others)

    async def _remove_others(self, engine: Engine, others: Sequence[Found]) -> None:
        for each in others:
            log_event(logger, "container.unconfigured", container=each.container)
        await asyncio.gather(*(self._remove(engine, each) for each in others))

    def _hold(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_report_failure)
        self._tasks.append(task)


def _report_failure(task: asyncio.Task[None]) -> None:
    """These tasks never end by themselves, so one that does must not do so in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("task.failed", exc_info=error, extra={"fields": {"task": task.get_name()}})
