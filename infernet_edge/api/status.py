"""PUT /api/status: registers external jobs, of containers without the Infernet interface."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Protocol

import msgspec
from starlette.types import Receive, Scope, Send

from infernet_edge import schema
from infernet_edge.api.access.admission import Caller
from infernet_edge.api.json_io import Answer, BodyReader, check_utf8, decode
from infernet_edge.clock import milliseconds
from infernet_edge.errors import BadRequest, Conflict, Forbidden, Unavailable
from infernet_edge.jobs.external_jobs import ExternalJobs
from infernet_edge.jobs.job import STATUS_NAMES
from infernet_edge.jobs.store import JobStore

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_BODY_BYTES = 64 * 2**10  # bytes: an id, a word and a few container ids
_MAX_CONTAINERS = 64
_decoder = msgspec.json.Decoder(schema.StatusReport)
_codes: dict[str, int] = {name: code for code, name in enumerate(STATUS_NAMES)}


class Containers(Protocol):
    """The functions of the container manager that this endpoint needs."""

    def networks(self) -> Sequence[Network]:
        """The networks of the containers that the node manages."""

    def container_at(self, address: str) -> str | None:
        """The id of the container with an address; "" for none, None when it is not yet known."""


class StatusEndpoint:
    """Only for this machine and the containers that the node manages."""

    methods = ("PUT",)

    def __init__(
        self,
        bodies: BodyReader,
        store: JobStore,
        external_jobs: ExternalJobs,
        containers: Containers,
        *,
        enabled: bool = True,
    ) -> None:
        self._bodies = bodies
        self._store = store
        self._external_jobs = external_jobs
        self._containers = containers
        self._enabled = enabled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope["caller"]
        if not self._enabled:
            raise Forbidden("External jobs are switched off (server.external_jobs)")
        if caller.relayed or not self._is_local(caller.address):
            raise Forbidden("Unauthorized")
        if scope["charge"] is not None:
            scope["charge"].waive()
        body = await self._bodies.read(scope, receive, MAX_BODY_BYTES)
        check_utf8(body)
        report = decode(body, _decoder)
        status = _codes.get(report.status)
        if status is None:
            raise BadRequest("Status is invalid", {"field": "status", "expected": STATUS_NAMES})
        if len(report.containers) > _MAX_CONTAINERS:
            raise BadRequest(
                f"containers: expected at most {_MAX_CONTAINERS} ids", {"field": "containers"}
            )
        if await self._store.has(report.id):
            raise Conflict("The node itself runs this job", {"id": report.id})
        owner = self._owner(caller)
        await self._external_jobs.record(
            report.id, caller.client, owner, status, report.containers, milliseconds()
        )
        await Answer(None)(scope, receive, send)

    def _is_local(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return parsed.is_loopback or any(
            parsed in network
            for network in self._containers.networks()
            if network.version == parsed.version
        )

    def _owner(self, caller: Caller) -> str:
        """The only caller that may change the job later; a container counts by its id."""
        if caller.client != caller.address:
            return caller.client  # the token's name
        if ipaddress.ip_address(caller.address).is_loopback:
            return "loopback"
        container = self._containers.container_at(caller.address)
        if container is None:
            raise Unavailable("A container is just being started; try again", retry_after=1)
        return f"container:{container}" if container else f"address:{caller.address}"
