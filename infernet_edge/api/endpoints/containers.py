"""GET /api/containers, and POST /api/containers/{id}/restart and /pull."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.admission import Caller
from infernet_edge.api.access.permissions import Permission
from infernet_edge.api.json_io import Answer
from infernet_edge.containers.manager import ContainerManager
from infernet_edge.containers.operating.forms import ContainerAction, ContainerList
from infernet_edge.containers.operating.listing import for_others, shown_state
from infernet_edge.containers.service import Service
from infernet_edge.errors import Conflict, NotFound
from infernet_edge.jobs.orchestrator import Orchestrator


class ContainersEndpoint:
    """All configured containers; operators read their reasons in full."""

    methods = ("GET", "HEAD")

    def __init__(self, manager: ContainerManager, orchestrator: Orchestrator) -> None:
        self._manager = manager
        self._orchestrator = orchestrator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        items = await self._manager.operations.items(self._orchestrator.load)
        caller: Caller = scope["caller"]
        if not caller.is_operator:
            items = [for_others(each) for each in items]
        await Answer(ContainerList(items))(scope, receive, send)


class ContainerActionEndpoint:
    """Begins an action on a managed container, and answers with its state."""

    methods = ("POST",)
    permissions: Mapping[str, Permission] = {"POST": Permission.OPERATE}

    def __init__(self, services: Mapping[str, Service], begin: Callable[[Service], None]) -> None:
        """`begin` returns immediately; what it raises is the answer."""
        self._services = services
        self._begin = begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = managed_service(self._services, scope)
        self._begin(service)
        answer = Answer(ContainerAction(service.id, shown_state(service)), status=202)
        await answer(scope, receive, send)


def managed_service(services: Mapping[str, Service], scope: Scope) -> Service:
    """The container in the path of a request.

    Raises NotFound; Conflict when the node does not manage it.
    """
    identifier: str = scope["path_params"]["id"]
    service = services.get(identifier)
    if service is None:
        raise NotFound(
            "No such container; GET /api/containers lists them", {"id": identifier[:200]}
        )
    if not service.managed:
        raise Conflict("The node does not manage this container", {"id": service.id})
    return service
