"""The endpoints of OpenAI's API, which are imported at the first request to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.types import Receive, Scope, Send

from infernet_edge.api.openai.paths import ENDPOINTS, MODEL, MODELS
from infernet_edge.errors import NotFound

if TYPE_CHECKING:
    from infernet_edge.api.jobs import JobIntake
    from infernet_edge.api.json_io import BodyReader
    from infernet_edge.api.openai.front import Front
    from infernet_edge.api.parts import Parts
    from infernet_edge.jobs.guardian import Guardian

_SWITCHED_OFF: Final = "OpenAI's API is switched off on this node (server.openai)"
_NO_MODELS: Final = (
    "No container of this node has a model: name them in containers[].models, or set"
    ' containers[].protocol = "openai" for a server that lists them'
)


class OpenAIRoutes:
    """Makes the endpoints. `enabled` is `server.openai`, which a reload may change."""

    def __init__(
        self, parts: Parts, intake: JobIntake, bodies: BodyReader, guardian: Guardian
    ) -> None:
        self.enabled = parts.config.server.openai
        self._parts = parts
        self._intake = intake
        self._bodies = bodies
        self._guardian = guardian
        self._front: Front | None = None

    def endpoints(self) -> dict[str, Any]:
        """The endpoints by path."""
        reading, writing = ("GET", "HEAD"), ("POST",)
        methods = {
            MODELS: reading,
            MODEL: reading,
            **dict.fromkeys(ENDPOINTS, writing),
        }
        return {path: _Endpoint(self, path, methods[path]) for path in methods}

    def front(self) -> Front:
        """What serves requests; raises NotFound while there is nothing to serve."""
        if not self.enabled:
            raise NotFound(_SWITCHED_OFF, {"field": "server.openai"})
        services = self._parts.services.values()
        if not any(each.model_ids or each.protocol.NAMES_MODELS for each in services):
            raise NotFound(_NO_MODELS, {"field": "containers[].models"})
        if self._front is None:
            from infernet_edge.api.openai.front import Front

            self._front = Front(self._parts, self._intake, self._bodies, self._guardian)
        return self._front


class _Endpoint:
    """One path."""

    def __init__(self, routes: OpenAIRoutes, path: str, methods: tuple[str, ...]) -> None:
        self.methods = methods
        self._routes = routes
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._routes.front().serve(self._path, scope, receive, send)
