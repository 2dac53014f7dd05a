"""What operators see of the containers of a node, and do to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from infernet_edge.containers.connection import Connection
from infernet_edge.containers.images.progress import PullProgress
from infernet_edge.containers.images.provider import Images
from infernet_edge.containers.images.reference import is_made_here
from infernet_edge.containers.operating.forms import ContainerItem, PullState
from infernet_edge.containers.operating.listing import Load, Management, item_of
from infernet_edge.containers.operating.logs import ContainerLogs, Current
from infernet_edge.containers.operating.pulls import RequestedPulls
from infernet_edge.containers.operating.sampling import Sampler, Use
from infernet_edge.containers.podman import CALL_TIMEOUT, Engine
from infernet_edge.containers.service import Service
from infernet_edge.containers.supervision.usage import RunningContainer
from infernet_edge.containers.supervisor import Supervisor
from infernet_edge.errors import Conflict, Unavailable
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)


class Operations:
    """Lists containers, restarts them, pulls their images, reads their logs."""

    def __init__(
        self,
        services: Mapping[str, Service],
        supervisors: Mapping[str, Supervisor],
        connection: Connection,
        images: Images,
        node: str,
    ) -> None:
        """`services` and `supervisors` are the manager's, by id; `node` is its name in Podman."""
        self._services = services
        self._supervisors = supervisors
        self._connection = connection
        self._images = images
        self._node = node
        self._sampler = Sampler(connection, self.running)
        self._pulls = RequestedPulls(connection, images)
        self.logs = ContainerLogs(connection, self._current, self._ended)

    def running(self) -> dict[str, RunningContainer]:
        """The managed containers that run, by id."""
        running = {name: each.running for name, each in self._supervisors.items()}
        return {name: each for name, each in running.items() if each is not None}

    async def items(self, load: Callable[[str], Load]) -> list[ContainerItem]:
        """All containers as operators see them, in the configuration's order.

        `load` is asked for their slots, by id. CPU and memory are sampled, for seconds at most.
        """
        uses = await self.uses()
        return [
            item_of(each, load(each.id), self._management(each, uses.get(each.id)))
            for each in self._services.values()
        ]

    def known_items(self, load: Callable[[str], Load]) -> list[ContainerItem]:
        """The same at once: CPU and memory only if they were sampled a moment ago."""
        uses = self._sampler.recent
        return [
            item_of(each, load(each.id), self._management(each, uses.get(each.id)))
            for each in self._services.values()
        ]

    async def uses(self) -> Mapping[str, Use]:
        """CPU and memory of the managed containers that run, by id; takes seconds at most."""
        return await self._sampler.uses() if self._supervisors else {}

    def restart(self, service: Service) -> None:
        """Begin to replace a managed container; returns immediately.

        It gets the newest local image. The jobs that it runs are called again, see orchestrator.
        Raises Unavailable while Podman cannot be used.
        """
        self.usable_engine()
        supervisor = self._supervisors.get(service.id)
        if supervisor is None or supervisor.service is not service:
            raise Unavailable("The container is being added; try again")
        log_event(logger, "container.restart_requested", container=service.id)
        supervisor.request_restart("an operator restarted it")

    def pull(self, service: Service) -> None:
        """Begin to pull the image of a managed container, which runs on; returns immediately.

        Raises Conflict when it is not to be pulled, Unavailable while Podman cannot be used.
        """
        container = service.container
        why = ""
        if container.pull == "never":
            why = 'its pull is "never" in the configuration'
        elif is_made_here(container.image):
            why = "its image was made on this machine, so no registry has it"
        if why:
            raise Conflict(f"The image of this container is not pulled: {why}", {"id": service.id})
        self._pulls.start(service, self.usable_engine())

    def usable_engine(self) -> Engine:
        """Podman; raises Unavailable while it cannot be used."""
        engine = self._connection.engine
        if engine is None or self._connection.problem:
            problem = self._connection.problem or "the node is connecting to Podman"
            raise Unavailable(f"Podman cannot be used now: {problem}")
        return engine

    def forget(self, container: str) -> None:
        """Forget the last pull of a container that has another configuration, or none any more."""
        self._pulls.forget(container)

    async def stop(self) -> None:
        """End pulls and readers of logs."""
        await self._pulls.stop()
        await self.logs.stop()

    def _management(self, service: Service, use: Use | None) -> Management:
        supervisor = self._supervisors.get(service.id)
        if supervisor is None or supervisor.service is not service:
            return Management()
        name, used = service.container.image, supervisor.preparation.image
        pulled = self._images.pulling.get(name)
        if pulled is None and self._pulls.is_running(service.id):
            pulled = PullProgress()
        found = Management(
            restarts=supervisor.restarts,
            next_start=supervisor.pauses.next_start,
            image=used,
            newer=self._images.newer(name, used),
            pull=None if pulled is None else PullState(pulled.bytes, pulled.of),
            pull_error=self._pulls.failure(service.id),
        )
        return found if use is None else found._replace(use=use)

    def _current(self, container: str) -> Current:
        supervisor = self._supervisors.get(container)
        if supervisor is None:
            return Current("", runs=False)
        return Current(supervisor.container_id, runs=bool(supervisor.running_id))

    async def _ended(self, container: str) -> str:
        """The id of a container that Podman still has, though it is not the current one."""
        engine = self.usable_engine()
        found = await self._connection.run(CALL_TIMEOUT, engine.containers, self._node)
        return next((each.id for each in found if each.container == container), "")
