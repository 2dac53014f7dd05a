"""The LAN REST API as one ASGI application: its routes, and what all of them share."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infernet_edge.api.access.admission import OPERATOR, Access, Caller
from infernet_edge.api.access.origins import Headers, Preflight
from infernet_edge.api.access.permissions import Permission, demand, usual_permission
from infernet_edge.api.access.rate_limits import Charge
from infernet_edge.api.endpoints.cancelling import Cancellation
from infernet_edge.api.endpoints.container_logs import ContainerLogsEndpoint
from infernet_edge.api.endpoints.containers import ContainerActionEndpoint, ContainersEndpoint
from infernet_edge.api.endpoints.events import EventsEndpoint
from infernet_edge.api.endpoints.history import HistoryEndpoint
from infernet_edge.api.endpoints.job import JobEndpoint
from infernet_edge.api.endpoints.job_texts import JobTextEndpoint
from infernet_edge.api.endpoints.jobs import BatchEndpoint, JobsEndpoint
from infernet_edge.api.endpoints.metrics import MetricsEndpoint
from infernet_edge.api.endpoints.nodes import NodesEndpoint
from infernet_edge.api.endpoints.reload import ReloadEndpoint
from infernet_edge.api.endpoints.tokens import MeEndpoint, TokenEndpoint, TokensEndpoint
from infernet_edge.api.info import HealthEndpoint, InfoEndpoint, ResourcesEndpoint
from infernet_edge.api.jobs import JobIntake
from infernet_edge.api.json_io import Answer, BodyReader, error_answer
from infernet_edge.api.openai.paths import ROOT
from infernet_edge.api.openai.routes import OpenAIRoutes
from infernet_edge.api.openapi import document
from infernet_edge.api.overview.chain_endpoints import (
    ChainEndpoint,
    DeliveriesEndpoint,
    SubscriptionsEndpoint,
)
from infernet_edge.api.overview.endpoint import OverviewEndpoint
from infernet_edge.api.overview.overview import OverviewSource
from infernet_edge.api.overview.settings import SettingsEndpoint
from infernet_edge.api.parts import Parts
from infernet_edge.api.status import StatusEndpoint
from infernet_edge.api.streams import StreamEndpoint
from infernet_edge.config.model import Config
from infernet_edge.dashboard import FILES, INDEX, DashboardEndpoint
from infernet_edge.errors import (
    CANNOT_STORE,
    ApiError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    StorageError,
    TooManyRequests,
    Unavailable,
)
from infernet_edge.jobs.checking.inputs import InputSchemas
from infernet_edge.jobs.guardian import Guardian
from infernet_edge.jobs.reading.history import History
from infernet_edge.jobs.reading.parts_of_job import JobTexts
from infernet_edge.logs import log_event, log_exception

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)


class InternalError(ApiError):
    """An unexpected exception in the node; the log has the details."""


# Returns who calls, and the charge of the request; given the scope and the endpoint's name.
Admit = Callable[[Scope, str], tuple[Caller, Charge | None]]


class Api:
    """The ASGI application."""

    def __init__(self, parts: Parts) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()  # answered, by route and status
        self.overview = OverviewSource(parts, lambda: list(self.access.hosts.refused))
        settings = parts.config.server
        self._tokens = parts.tokens
        self._bodies = BodyReader(settings.max_body_bytes, settings.min_body_bytes_per_second)
        self._guardian = Guardian(parts.config.containers)
        self._schemas = InputSchemas(parts.config.containers)
        intake = JobIntake(
            self._guardian, self._schemas, parts.store, parts.orchestrator, parts.delegations
        )
        self._openai = OpenAIRoutes(parts, intake, self._bodies, self._guardian)
        routes = _routes(
            parts, self._requests, self.overview, self._bodies, intake, self._openai, self._schemas
        )
        # An exact path has precedence, also when it does not have the method of a request.
        exact = [route for route in routes if not route.param_convertors]
        self._templates = [route for route in routes if route.param_convertors]
        self._exact = Router(exact, redirect_slashes=False)
        self._others = Router(self._templates, redirect_slashes=False)
        self._memory = parts.memory
        self._paths = {route.path for route in exact}
        self._preflights = {
            route.path: Preflight(sorted(route.methods or ()), any_field=_is_openai(route.path))
            for route in routes
        }
        self._needed = _needed(routes)
        self.access = Access(parts.config.server, parts.tokens, _open_here(routes, self._needed))

    def apply(self, config: Config) -> None:
        """Serve requests by this configuration from now on."""
        self.access.apply(config.server)
        self._tokens.configure(config.server.tokens)
        self._bodies.min_rate = config.server.min_body_bytes_per_second
        self._guardian.apply(config.containers)
        self._openai.enabled = config.server.openai
        self._schemas.apply(config.containers)

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes of all endpoints."""
        return [*self._exact.routes, *self._others.routes]

    def _template(self, path: str) -> str:
        """The path of the endpoint as the document has it, such as /api/jobs/{id}; "*" for none."""
        if path in self._paths:
            return path
        found = (route.path for route in self._templates if route.path_regex.match(path))
        return next(found, "*")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send, self.access.admit)

    async def serve_operator(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that arrived at the control socket."""
        await self._serve(scope, receive, send, _admit_operator)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, admit: Admit) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served, not {scope['type']}")
        response = _Response(send, self.access.origins.headers(scope), self._requests)
        scope["memory"] = self._memory
        held = scope["held"] = self._memory.reserve("requests")
        try:
            path = scope["path"]
            template = response.route = self._template(path)
            endpoint = f"{scope['method']} {template}"
            scope["app"] = self  # makes Starlette raise on a wrong path or method
            caller, charge = admit(scope, endpoint)
            scope["caller"] = caller
            scope["charge"] = response.charge = charge
            demand(self._needed.get(endpoint, Permission.READ), caller.permissions)
            app: ASGIApp = self._exact if path in self._paths else self._others
            if self.access.origins.is_preflight(scope):
                app = self._preflights.get(template, app)
            await app(scope, receive, response)
        except ClientDisconnect:
            log_event(logger, "request.abandoned", logging.DEBUG, path=scope["path"])
        except Exception as error:
            failure = _as_api_error(error, scope)
            if response.started:  # the server closes the connection: the client sees a cut answer
                raise
            await _failed(response.counted(failure), scope["path"])(scope, receive, response)
        finally:
            held.release()


def _is_openai(path: str) -> bool:
    return path.startswith(ROOT)


def _failed(error: ApiError, path: str) -> Answer:
    """The answer to a request that failed, in the form of the API that it is for."""
    if not _is_openai(path):
        return error_answer(error)
    from infernet_edge.api.openai.errors import openai_answer

    return openai_answer(error)


def _admit_operator(scope: Scope, endpoint: str) -> tuple[Caller, Charge | None]:
    return OPERATOR, None


def _needed(routes: Iterable[Route]) -> dict[str, Permission]:
    """The permission that each endpoint needs, such as "POST /api/jobs".

    An endpoint that does not need the usual ones has `permissions`, by method.
    """
    return {
        f"{method} {route.path}": named.get(method, usual_permission(method))
        for route in routes
        for named in (getattr(route.endpoint, "permissions", {}),)
        for method in route.methods or ()
    }


def _open_here(routes: Iterable[Route], needed: dict[str, Permission]) -> dict[str, Permission]:
    """Those of `needed` whose endpoint has `open_to_this_machine`, see Access."""
    return {
        f"{method} {route.path}": needed[f"{method} {route.path}"]
        for route in routes
        if getattr(route.endpoint, "open_to_this_machine", False)
        for method in route.methods or ()
    }


class _Response:
    """Sends a response, with the headers that do not depend on the endpoint, and counts it.

    Raises TooManyRequests in place of an answer that counts and exceeds the limit.
    """

    __slots__ = ("_counts", "_headers", "_send", "charge", "route", "started")

    def __init__(self, send: Send, headers: Headers, counts: Counter[tuple[str, int]]) -> None:
        """`headers` are those of every answer to this request; `counts` as Api has them."""
        self._send = send
        self._headers = headers
        self._counts = counts
        self.route = "*"
        self.charge: Charge | None = None
        self.started = False

    def counted(self, failure: ApiError) -> ApiError:
        """The failure to answer: another one when the request counts and exceeds the limit."""
        try:
            if self.charge is not None:
                self.charge.settle()
        except TooManyRequests as refusal:
            return refusal
        return failure

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            limit = self.charge.settle() if self.charge is not None else []
            message["headers"] = [*message["headers"], *self._headers, *limit]
            self._counts[self.route, message["status"]] += 1
        await self._send(message)
        self.started = True


def _as_api_error(error: Exception, scope: Scope) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            return NotFound(
                "No such endpoint; GET /openapi.json lists them", {"path": scope["path"]}
            )
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            return MethodNotAllowed("Method not allowed", {"allow": allowed}, {"allow": allowed})
        return BadRequest(error.detail)
    if isinstance(error, StorageError):
        return Unavailable(CANNOT_STORE, retry_after=30)
    log_exception(logger, "request.crashed", error, method=scope["method"], path=scope["path"])
    return InternalError("Internal error; the node's log has the details")


def _routes(
    parts: Parts,
    requests: Counter[tuple[str, int]],
    overview: OverviewSource,
    bodies: BodyReader,
    intake: JobIntake,
    openai: OpenAIRoutes,
    schemas: InputSchemas,
) -> list[Route]:
    cancellation = Cancellation(parts.store, parts.orchestrator)
    texts = JobTexts(parts.database)
    history = History(parts.database)
    dashboard = DashboardEndpoint()
    endpoints: dict[str, Any] = {
        "/api/jobs": JobsEndpoint(intake, parts.store, bodies, cancellation),
        "/api/jobs/{id}": JobEndpoint(parts.store, parts.orchestrator, cancellation),
        "/api/jobs/{id}/input": JobTextEndpoint(texts, parts.store, "input"),
        "/api/jobs/{id}/result": JobTextEndpoint(texts, parts.store, "result"),
        "/api/jobs/{id}/steps/{number}": JobTextEndpoint(texts, parts.store, "step"),
        "/api/history": HistoryEndpoint(history, parts.store, parts.orchestrator),
        "/api/events": EventsEndpoint(parts.readers),
        "/api/jobs/batch": BatchEndpoint(intake, bodies),
        "/api/jobs/stream": StreamEndpoint(intake, bodies),
        "/health": HealthEndpoint(parts.database, parts.store, parts.services, parts.background),
        "/info": InfoEndpoint(parts.services, parts.store, parts.external_jobs, parts.delegations),
        "/resources": ResourcesEndpoint(parts.resources),
        "/api/reload": ReloadEndpoint(parts.reloader),
        "/api/status": StatusEndpoint(
            bodies,
            parts.store,
            parts.external_jobs,
            parts.manager,
            enabled=parts.config.server.external_jobs,
        ),
        "/api/tokens": TokensEndpoint(parts.tokens, history, bodies),
        "/api/tokens/{name}": TokenEndpoint(parts.tokens),
        "/api/me": MeEndpoint(parts.tokens),
        "/metrics": MetricsEndpoint(
            parts.config.storage_path,
            parts.database,
            parts.orchestrator,
            parts.manager,
            parts.memory,
            parts.delegations,
            requests,
            parts.services,
        ),
        "/api/overview": OverviewEndpoint(overview),
        "/api/chain": ChainEndpoint(parts.chain),
        "/api/chain/subscriptions": SubscriptionsEndpoint(parts.chain),
        "/api/chain/deliveries": DeliveriesEndpoint(parts.chain),
        "/api/settings": SettingsEndpoint(parts, overview),
        "/api/containers": ContainersEndpoint(parts.manager, parts.orchestrator),
        "/api/containers/{id}/restart": ContainerActionEndpoint(
            parts.services, parts.manager.operations.restart
        ),
        "/api/containers/{id}/logs": ContainerLogsEndpoint(parts.services, parts.manager),
        "/api/containers/{id}/pull": ContainerActionEndpoint(
            parts.services, parts.manager.operations.pull
        ),
        "/api/nodes": NodesEndpoint(parts.discovery),
        "/openapi.json": _DocumentEndpoint(schemas),
        **openai.endpoints(),
        INDEX: dashboard,
        FILES: dashboard,
    }
    return [
        Route(path, endpoint, methods=list(endpoint.methods))
        for path, endpoint in endpoints.items()
    ]


class _DocumentEndpoint:
    """GET /openapi.json."""

    methods = ("GET", "HEAD")

    def __init__(self, schemas: InputSchemas) -> None:
        self._schemas = schemas
        self._made_of: object = None
        self._answer: ASGIApp = Answer(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inputs = self._schemas.documents
        if self._made_of is not inputs:
            self._made_of, self._answer = inputs, Answer(document(inputs))
        await self._answer(scope, receive, send)
