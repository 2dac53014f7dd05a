"""Run the containers of the configuration with Podman.

While the node runs, containers that stop are started again. At its shutdown they are stopped and
removed, since each start creates a new one anyway; only the content of volumes is kept. If the node
is killed, they keep running, and its next start adopts those that are still as configured.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from infernet_edge.backoff import Backoff
from infernet_edge.config.model import Config, Container
from infernet_edge.config.rules import size_in_bytes
from infernet_edge.config.values.sleep import uses_sleep
from infernet_edge.containers.blocking import EngineUnreachable, Threads
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.images.provider import Images
from infernet_edge.containers.leftovers import abandoned, folders_of, running, storage_labels
from infernet_edge.containers.operating.operations import Operations
from infernet_edge.containers.podman import CALL_TIMEOUT, Engine, Found, IPNetwork
from infernet_edge.containers.ports import Ports
from infernet_edge.containers.readiness import watch_unmanaged
from infernet_edge.containers.service import Service
from infernet_edge.containers.specification import STORAGE_LABEL, env_file_digest, node_name
from infernet_edge.containers.supervision.context import SupervisorContext
from infernet_edge.containers.supervision.port_polling import poll_ports
from infernet_edge.containers.supervision.usage import ContainerUsage, usage_of
from infernet_edge.containers.supervisor import Supervisor
from infernet_edge.containers.timing import Timing
from infernet_edge.errors import EngineError, Unavailable
from infernet_edge.folders import remove_abandoned_folders
from infernet_edge.http_client.client import HttpClient
from infernet_edge.logs import log_event
from infernet_edge.tasks import Background, cancel

if TYPE_CHECKING:
    from infernet_edge.containers.sleeping.control import SleepControl
    from infernet_edge.containers.sleeping.member import Gates

logger = logging.getLogger(__name__)

_IDLE_TIMEOUT = 5.0
_PROBES = "probes of services"
_STOP_MARGIN = 10.0  # seconds for Podman in addition to the stop time-out of the containers


class ContainerManager:
    """Starts, watches and stops managed containers, and probes unmanaged ones."""

    def __init__(
        self,
        config: Config,
        services: dict[str, Service],
        http: HttpClient,
        timing: Timing | None = None,
        background: Background | None = None,
    ) -> None:
        """`background` runs the manager's tasks, and reports those that fail."""
        self._config = config
        self._services = services
        self._http = http
        self._timing = timing or Timing()
        self._node = node_name(config.storage_path)
        self._threads = Threads()
        self.connection = Connection(config, self._threads)
        self._images = Images(self.connection)
        self._supervisors: dict[str, Supervisor] = {}
        self.operations = Operations(
            services, self._supervisors, self.connection, self._images, self._node
        )
        self._background = background or Background()
        self._task_names: list[str] = []
        self._polling_needed = asyncio.Event()
        self._context: SupervisorContext | None = None
        self._changing = asyncio.Lock()  # several containers may be changed at the same time
        self._sleep: SleepControl | None = None

    @property
    def stop_seconds(self) -> float:
        """The maximum time for stopping and removing the containers."""
        return self._timing.stop + _STOP_MARGIN

    @property
    def engine_problem(self) -> str:
        """Why Podman cannot be used; "" when it can be used or is not needed."""
        return self.connection.problem

    def networks(self) -> list[IPNetwork]:
        """The networks of managed containers, from which their requests come."""
        found = {network for each in self._supervisors.values() for network in each.networks}
        return sorted(found, key=str)

    def container_at(self, address: str) -> str | None:
        """The id of the managed container that has this address, or had it last; "" for none.

        None if it is not known, because a container was just started and its address is not known.
        """
        matching = [each for each in self._supervisors.values() if address in each.addresses]
        for supervisor in sorted(matching, key=lambda each: not each.running_id):
            return supervisor.service.id
        starting = any(each.running_id and not each.located for each in self._supervisors.values())
        return None if starting else ""

    async def last_log_line(self, service: Service) -> str:
        """The last line of a managed container's log; "" when there is none."""
        supervisor = self._supervisors.get(service.id)
        return await supervisor.last_log_line() if supervisor is not None else ""

    async def report(self) -> list[dict[str, Any]]:
        """What `infernet-edge status` shows of each container, in the configuration's order.

        `restarts`, `uptime` (seconds), `memory` and `memory_limit` (bytes) are None where they are
        not known; those of services that the node does not manage are not.
        """
        usages = await asyncio.to_thread(self.usages)
        return [
            self._report(service, usages.get(service.id)) for service in self._services.values()
        ]

    def usages(self) -> dict[str, ContainerUsage]:
        """What each running container uses, by its id. Blocks for a moment; Podman is not asked."""
        running = {name: each.running for name, each in list(self._supervisors.items())}
        return {name: usage_of(each) for name, each in running.items() if each is not None}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each managed container was started again since the node runs, by its id."""
        return {name: each.restarts for name, each in self._supervisors.items()}

    def _report(self, service: Service, usage: ContainerUsage | None) -> dict[str, Any]:
        supervisor = self._supervisors.get(service.id)
        container, memory = service.container, service.container.memory
        return {
            "id": service.id,
            "state": service.state,
            "reason": service.reason,
            "image": None if container.url else container.image or None,
            "url": container.url or None,
            "port": None if container.url else service.port,
            "restarts": supervisor.restarts if supervisor is not None else None,
            "uptime": round(usage.seconds, 1) if usage is not None else None,
            "memory": usage.memory if usage is not None else None,
            "memory_limit": size_in_bytes(memory) if service.managed and memory else None,
        }

    def let_sleep(self, config: Config, gates: Gates) -> None:
        """Stop and start containers as jobs need them, where this configuration says so.

        To be called before jobs are resumed, and with each changed configuration.
        """
        if self._sleep is not None:
            self._sleep.apply(config)
        elif uses_sleep(config):
            from infernet_edge.containers.sleeping.control import SleepControl

            parts = (self._services, self._supervisors, gates, self._timing)
            self._sleep = SleepControl(config, *parts, self.connection.problem)
            if self._context is not None:
                self._sleep.start()

    async def start(self) -> None:
        """Start all tasks in the background, and return immediately."""
        self._probe_unmanaged()
        managed = [service for service in self._services.values() if service.managed]
        if not managed:
            return
        context = await self._shared_context()
        for service in managed:
            self._begin(service, context)
        self._connect()
        if self._sleep is not None:
            self._sleep.start()

    def _probe_unmanaged(self) -> None:
        unmanaged = [service for service in self._services.values() if not service.managed]
        if unmanaged:
            probe = functools.partial(watch_unmanaged, self._http, unmanaged, self._timing)
            self._supervise(_PROBES, probe)

    async def _shared_context(self) -> SupervisorContext:
        async with self._changing:
            return await self._make_context()

    async def _make_context(self) -> SupervisorContext:
        if self._context is None:
            storage = self._config.storage_path
            self._context = SupervisorContext(
                connection=self.connection,
                threads=self._threads,
                ports=Ports({self._config.server.port}),
                images=self._images,
                http=self._http,
                node=self._node,
                node_labels=await self._threads.run(CALL_TIMEOUT, storage_labels, storage),
                polling_needed=self._polling_needed,
                timing=self._timing,
            )
        for service in self._services.values():
            if service.managed:
                self._context.ports.reserve(service.container.port)
        return self._context

    def _begin(self, service: Service, context: SupervisorContext) -> None:
        supervisor = self._supervisors[service.id] = Supervisor(service, context)
        if self._sleep is not None:
            self._sleep.attach(supervisor)
        if not supervisor.rest.is_requested:
            connecting = "the node is connecting to Podman"
            service.set_starting(connecting if self.connection.engine is None else "")
        self._supervise(_task_of(service), supervisor.run)

    def _connect(self) -> None:
        if "podman" not in self._task_names:
            self._supervise("podman", self._keep_connected)
            parts = (self._services, self._supervisors, self.connection)
            poll = functools.partial(poll_ports, *parts, self._polling_needed, self._timing)
            self._supervise("ports of containers", poll)

    async def probe_again(self) -> None:
        """Probe the services that the node does not manage, which have changed, immediately."""
        async with self._changing:
            if _PROBES in self._task_names:
                await self._end(_PROBES)
            self._probe_unmanaged()

    async def add(self, service: Service) -> None:
        """Run the container of a service that is managed now."""
        context = await self._shared_context()
        if self._sleep is not None:
            self._sleep.join()
        self._begin(service, context)
        self._connect()

    async def recreate(self, service: Service) -> None:
        """Replace the container of a service, whose configuration was changed."""
        await self._shared_context()
        self.operations.forget(service.id)
        self._supervisors[service.id].recreate()

    async def with_other_env_files(self, containers: Iterable[Container]) -> set[str]:
        """The ids of those whose `env_file` has other variables than their container was made with.

        Raises EngineError when one cannot be read.
        """
        found = set()
        for container in containers:
            supervisor = self._supervisors.get(container.id)
            used = "" if supervisor is None else supervisor.preparation.env_file_digest
            if used and container.env_file:
                read = self._threads.run(CALL_TIMEOUT, env_file_digest, container)
                if await read != used:
                    found.add(container.id)
        return found

    async def remove(self, service: Service) -> None:
        """Stop and remove the container of a service that is not managed any more.

        If Podman cannot, the next connection to it does.
        """
        await self._end(_task_of(service))
        self.operations.forget(service.id)
        self.operations.logs.forget(service.id)
        # A thread may be creating the container, which the list below has to contain.
        await self._threads.wait_idle(_IDLE_TIMEOUT)
        try:
            engine = self.operations.usable_engine()
            found = await self.connection.run(CALL_TIMEOUT, engine.containers, self._node)
        except (EngineError, Unavailable) as error:
            log_event(
                logger,
                "container.remove_failed",
                logging.WARNING,
                container=service.id,
                reason=error,
            )
            self.connection.request_check()
        else:
            own = [each for each in found if each.container == service.id]
            await asyncio.gather(*(self._remove(engine, each) for each in own))
        del self._supervisors[service.id]
        if self._sleep is not None:
            self._sleep.removed(service)

    async def _end(self, task: str) -> None:
        await self._background.stop(task)
        self._task_names.remove(task)

    async def wait_until_settled(self, timeout: float) -> None:
        """Wait until every service is ready or has failed, at most `timeout` seconds."""
        waits = [asyncio.ensure_future(s.wait_settled()) for s in self._services.values()]
        try:
            if waits:
                await asyncio.wait(waits, timeout=timeout)
        finally:
            await cancel(*waits)

    async def stop(self) -> None:
        """Stop and remove the managed containers, all at the same time, and stop Podman's service.

        Takes at most the containers' stop time-out and _STOP_MARGIN. May be called twice.
        """
        if self._sleep is not None:
            await self._sleep.stop()
        if self._task_names:
            await self._background.stop(*self._task_names)
        self._task_names = []
        await self.operations.stop()
        # Wait for threads that create a container, so that the list below contains it.
        await self._threads.wait_idle(_IDLE_TIMEOUT)
        if self._supervisors:
            for supervisor in self._supervisors.values():
                supervisor.service.set_failed("the node is shutting down")
            await self._remove_all()
        self._supervisors.clear()
        await self.connection.close()

    async def _remove_all(self) -> None:
        if self.connection.engine is None:
            return
        try:
            async with asyncio.timeout(_STOP_MARGIN):
                engine, found = await self._list_with_reconnect(self.connection.engine)
        except (EngineError, TimeoutError) as error:
            reason = str(error) or "Podman does not answer"
            log_event(logger, "container.remove_failed", logging.WARNING, reason=reason)
            return
        await asyncio.gather(*(self._remove(engine, each) for each in found))

    async def _list_with_reconnect(self, engine: Engine) -> tuple[Engine, list[Found]]:
        try:
            return engine, await self.connection.run(CALL_TIMEOUT, engine.containers, self._node)
        except EngineUnreachable:
            # systemd may have stopped Podman's service together with the node.
            engine = await self.connection.open()
            return engine, await self.connection.run(CALL_TIMEOUT, engine.containers, self._node)

    async def _remove(self, engine: Engine, found: Found) -> None:
        timeout = self.stop_seconds
        begin = time.monotonic()
        try:
            await self.connection.run(timeout, engine.remove, found.id)
        except EngineError as error:
            log_event(
                logger,
                "container.remove_failed",
                logging.WARNING,
                container=found.container,
                reason=error,
            )
        else:
            seconds = round(time.monotonic() - begin, 1)
            log_event(logger, "container.removed", container=found.container, seconds=seconds)

    async def _keep_connected(self) -> None:
        backoff = Backoff(self._timing.reconnect, self._timing.reconnect_limit)
        with running(self._node):
            while True:
                try:
                    engine = await self.connection.open()
                    # Cleared before the check, so that a request during it leads to another one.
                    self.connection.check_requested.clear()
                    await self._reconcile(engine)
                    await self._remove_unconfigured(engine)
                    backoff.reset()
                    self.connection.set_ready()
                    if self._sleep is not None:
                        self._sleep.connected()
                    await self._remove_abandoned(engine)
                    await self._keep_reconciled(engine)
                except EngineError as error:
                    self._disconnected(str(error))
                await asyncio.sleep(backoff.next())

    def _disconnected(self, problem: str) -> None:
        if problem != self.connection.problem:
            log_event(logger, "podman.lost", logging.WARNING, reason=problem)
        self.connection.set_lost(problem)
        for supervisor in self._supervisors.values():
            supervisor.request_probe(problem)
        if self._sleep is not None:
            self._sleep.disconnected(problem)

    async def _keep_reconciled(self, engine: Engine) -> None:
        """Reconcile on request and periodically; raises EngineError when Podman fails."""
        check_requested = self.connection.check_requested
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.reconcile):
                    await check_requested.wait()
            check_requested.clear()
            await self._reconcile(engine)

    async def _reconcile(self, engine: Engine) -> None:
        """Find containers whose end was not detected."""
        # Before the call: a container that starts during the call may be missing in its result.
        expected = {each.running_id: each for each in self._supervisors.values()}
        found = await self.connection.run(CALL_TIMEOUT, engine.containers, self._node)
        running_ids = {each.id for each in found if each.running}
        for container_id, supervisor in expected.items():
            if container_id and container_id not in running_ids:
                supervisor.mark_ended(container_id)

    async def _remove_unconfigured(self, engine: Engine) -> None:
        found = await self.connection.run(CALL_TIMEOUT, engine.containers, self._node)
        unconfigured = [each for each in found if not self._may_stay(each)]
        for each in unconfigured:
            log_event(logger, "container.unconfigured_found", container=each.container)
        await asyncio.gather(*(self._remove(engine, each) for each in unconfigured))

    def _may_stay(self, found: Found) -> bool:
        # Podman may still start what a killed node has asked for.
        supervisor = self._supervisors.get(found.container)
        return supervisor is not None and (found.ended or not supervisor.rest.is_requested)

    async def _remove_abandoned(self, engine: Engine) -> None:
        """Remove the containers and folders of killed nodes.

        A failure is only logged, since this node does not depend on it.
        """
        run = self._threads.run
        try:
            found = await self.connection.run(CALL_TIMEOUT, engine.containers)
            for path in await run(CALL_TIMEOUT, remove_abandoned_folders, folders_of(found)):
                log_event(logger, "folder.removed", path=path)
            leftovers = await run(CALL_TIMEOUT, abandoned, found, self._node)
        except (EngineError, OSError) as error:
            log_event(logger, "container.search_failed", logging.WARNING, reason=error)
            return
        for each in leftovers:
            storage = each.labels.get(STORAGE_LABEL)
            log_event(
                logger, "container.abandoned_found", container=each.container, storage=storage
            )
        await asyncio.gather(*(self._remove(engine, each) for each in leftovers))

    def _supervise(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._background.supervise(name, work)
        self._task_names.append(name)


def _task_of(service: Service) -> str:
    return f"container {service.id}"
