"""Adds, changes and removes containers while the node runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from typing import Any, Final, NamedTuple

from infernet_edge.config.keys.changes import RECREATING, changed_fields, without_recreating
from infernet_edge.config.model import Container
from infernet_edge.containers.manager import ContainerManager
from infernet_edge.containers.service import Service
from infernet_edge.errors import EngineError, StartupError
from infernet_edge.events.bus import Events
from infernet_edge.jobs.orchestrator import NOT_CONFIGURED, Orchestrator
from infernet_edge.logs import log_exception
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

DRAIN_TIME: Final = 3600.0
"""Seconds for the jobs of a container to end, before it is replaced or removed anyway."""


class _Change(NamedTuple):
    task: asyncio.Task[None]
    is_replaceable: bool  # a later change of the same container replaces it


class ContainerChanges:
    """Adds, changes and removes containers while the node runs.

    What all parts share changes at once; the containers themselves follow in the background, since
    their jobs may have to end before.
    """

    def __init__(
        self,
        services: dict[str, Service],
        orchestrator: Orchestrator,
        manager: ContainerManager,
        events: Events,
        *,
        manages: bool,
    ) -> None:
        """`manages`: whether the node manages containers that have no url."""
        self._services = services
        self._orchestrator = orchestrator
        self._manager = manager
        self._events = events
        self._manages = manages
        self._changes: dict[str, _Change] = {}
        self._draining: dict[str, Service] = {}  # removed, and their jobs have not ended yet

    async def with_other_env_files(
        self, before: list[Container], after: list[Container]
    ) -> set[str]:
        """The ids of containers whose `env_file` is the same file, with other variables.

        Raises StartupError when one cannot be read.
        """
        old = {container.id: container.env_file for container in before}
        same = [each for each in after if each.env_file and old.get(each.id) == each.env_file]
        try:
            return await self._manager.with_other_env_files(same)
        except EngineError as error:
            raise StartupError(str(error)) from error

    def apply(
        self, before: list[Container], after: list[Container], renewed: Collection[str] = ()
    ) -> None:
        """Begin to make of the containers `before` those `after`; `renewed` are created again."""
        old = {container.id: container for container in before}
        new = {container.id: container for container in after}
        probed = [service for service in self._services.values() if not service.managed]
        for name in old.keys() - new.keys():
            self._remove(self._services.pop(name))
        for name, container in new.items():
            if name not in old:
                self._add(container)
            elif container != old[name] or name in renewed:
                self._change(self._services[name], old[name], container, renewed=name in renewed)
        ordered = {name: self._services[name] for name in new}
        self._services.clear()
        self._services.update(ordered)
        if probed != [service for service in ordered.values() if not service.managed]:
            self._begin("", self._manager.probe_again())

    async def stop(self) -> None:
        """Cancel what has not been done yet; the stop of the manager removes all containers."""
        await cancel(*(change.task for change in self._changes.values()))

    def _add(self, container: Container) -> None:
        managed = self._manages and not container.url
        draining = self._draining.pop(container.id, None)
        if managed and draining is not None:
            self._keep(draining, container)
            return
        service = Service(container, managed=managed, events=self._events)
        self._services[service.id] = service
        self._orchestrator.add(service)
        if service.managed:
            self._begin(service.id, self._manager.add(service))

    def _remove(self, service: Service) -> None:
        service.close(NOT_CONFIGURED)
        # Its jobs go on. Those that wait fail, one after the other, in an additional slot.
        slots = self._orchestrator.load(service.id).slots
        self._orchestrator.resize(service.id, slots + 1)
        if service.managed:
            self._begin(service.id, self._remove_when_quiet(service))

    async def _remove_when_quiet(self, service: Service) -> None:
        self._draining[service.id] = service
        try:
            await service.wait_quiet(DRAIN_TIME)
        finally:
            self._draining.pop(service.id, None)
        await self._manager.remove(service)

    def _keep(self, service: Service, container: Container) -> None:
        """A container that was removed comes back before its jobs have ended: it is changed."""
        self._changes.pop(service.id).task.cancel()  # which waits for these jobs
        self._services[service.id] = service
        service.reopen()
        self._change(service, service.container, container)

    def _change(
        self, service: Service, before: Container, after: Container, *, renewed: bool = False
    ) -> None:
        at_once = without_recreating(service.container, after)
        service.apply(at_once, managed=service.managed)
        service.publish("changed")
        pending = self._changes.get(service.id)
        is_pending = pending is not None and pending.is_replaceable
        if renewed or is_pending or RECREATING.intersection(changed_fields(before, after)):
            work = self._recreate_when_quiet(service, after)
            self._begin(service.id, work, is_replaceable=True)
        else:
            self._orchestrator.resize(service.id, after.max_concurrency)

    async def _recreate_when_quiet(self, service: Service, container: Container) -> None:
        """Give a service its new container when its jobs have ended; others wait meanwhile."""
        self._orchestrator.resize(service.id, 0)
        try:
            if service.managed and service.is_up:
                await service.wait_quiet(DRAIN_TIME)
            await self._recreate(service, container)
        finally:
            if self._services.get(service.id) is service:  # it was not removed meanwhile
                self._orchestrator.resize(service.id, service.container.max_concurrency)

    async def _recreate(self, service: Service, container: Container) -> None:
        was_managed, managed = service.managed, self._manages and not container.url
        if was_managed and not managed:
            await self._manager.remove(service)
        service.apply(container, managed=managed)
        if managed and was_managed:
            await self._manager.recreate(service)
            return
        service.set_starting("it has not been probed yet")
        if managed:
            await self._manager.add(service)
        await self._manager.probe_again()

    def _begin(
        self, name: str, work: Coroutine[Any, Any, None], *, is_replaceable: bool = False
    ) -> None:
        """Do this after what was begun before for the same container, or in its place."""
        earlier = self._changes.get(name)
        task = asyncio.create_task(_run(work, earlier), name=f"change of container {name}")
        change = self._changes[name] = _Change(task, is_replaceable)

        def end(task: asyncio.Task[None]) -> None:
            work.close()  # where the task was cancelled before its start
            if self._changes.get(name) is change:
                del self._changes[name]
            if not task.cancelled() and (error := task.exception()) is not None:
                log_exception(logger, "container.change_crashed", error, container=name)

        task.add_done_callback(end)


async def _run(work: Coroutine[Any, Any, None], earlier: _Change | None) -> None:
    if earlier is not None:
        if earlier.is_replaceable:
            earlier.task.cancel()
        await asyncio.wait({earlier.task})
    await work
