"""GET /resources: the resources that running containers report, completed by the node."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from msgspec import Raw

from infernet_edge.config.model import Container, Model
from infernet_edge.containers.answers.failures import cause_of
from infernet_edge.containers.answers.kept import Fields, KeptAnswers
from infernet_edge.containers.answers.numbers import has_numbers, without_numbers
from infernet_edge.containers.models import declared_model, is_declared, listed_model
from infernet_edge.containers.protocols.model_list import read_models
from infernet_edge.containers.service import Service
from infernet_edge.hardware import Hardware
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError
from infernet_edge.http_client.urls import parse_url
from infernet_edge.logs import log_event
from infernet_edge.schema import (
    ComputeCapability,
    HardwareCapability,
    ModelSupport,
    ServiceResources,
    encoder,
)

logger = logging.getLogger(__name__)

MAX_PARALLEL = 16
"""Maximum number of containers that are requested at the same time, for all clients together."""

MAX_WAIT = 10.0
"""Seconds for one container, the wait for a slot included, before its configuration is used."""

Answer = TypeVar("Answer")


class NoAnswer(Exception):
    """The container does not serve /service-resources, or not now; the text is the reason."""


class Resources:
    """Requests the resources of ready containers; the configuration replaces missing answers.

    `max_bytes` limits an answer, `timeout` (seconds) the wait for it.
    """

    def __init__(
        self,
        services: dict[str, Service],
        hardware: Hardware,
        http: HttpClient,
        max_bytes: int,
        *,
        timeout: float = 2.0,
    ) -> None:
        self._services = services
        self._hardware = hardware
        self._http = http
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._slots = asyncio.Semaphore(MAX_PARALLEL)
        self._kept = KeptAnswers()

    async def all(self) -> dict[str, Raw | ServiceResources]:
        """Container id -> its resources, for every container that takes jobs."""
        host = await self._hardware.capabilities()

        async def resources(service: Service) -> Raw | ServiceResources:
            if not service.is_up:
                return self._kept_resources(service, host)
            if service.container.protocol != "infernet":
                return declared_resources(await self._with_models(service), host)
            try:
                return completed(await self._request(service), host)
            except NoAnswer:
                return declared_resources(service.container, host)

        return await self._of_each(resources)

    async def support(self, model_id: str) -> dict[str, Raw | ModelSupport]:
        """Container id -> whether it serves the model, for every container that takes jobs."""

        async def support(service: Service) -> Raw | ModelSupport:
            if not service.is_up:
                return self._kept_support(service, model_id)
            if service.container.protocol != "infernet":
                container = await self._with_models(service)
                if model_id in service.model_ids:
                    return ModelSupport(supported=True)
                return declared_support(container, model_id)
            try:
                return checked(await self._request(service, model_id))
            except NoAnswer:
                return declared_support(service.container, model_id)

        return await self._of_each(support)

    async def read_models(self) -> None:
        """Update the models that servers list; those of servers that are silent, or sleep, stay."""

        async def read(service: Service) -> None:
            if service.is_up:
                await self._with_models(service)

        await self._of_each(read)

    async def _of_each(self, answer: Callable[[Service], Awaitable[Answer]]) -> dict[str, Answer]:
        available = [service for service in self._services.values() if service.is_available]
        answers = await asyncio.gather(*(answer(service) for service in available))
        return {service.id: each for service, each in zip(available, answers, strict=True)}

    def _kept_resources(
        self, service: Service, host: list[HardwareCapability]
    ) -> Raw | ServiceResources:
        """What a container that sleeps answered last, else what its configuration says."""
        kept = self._kept.find(service)
        if kept is not None:
            return completed(kept, host)
        return declared_resources(with_listed_models(service), host)

    def _kept_support(self, service: Service, model_id: str) -> Raw | ModelSupport:
        kept = self._kept.find(service, model_id)
        if kept is not None:
            return checked(kept)
        if model_id in service.model_ids:
            return ModelSupport(supported=True)
        return declared_support(with_listed_models(service), model_id)

    async def _with_models(self, service: Service) -> Container:
        """The configuration of a container, with the models that it lists now, or listed last."""
        if not service.protocol.NAMES_MODELS or service.container.models:
            return service.container
        if not service.is_up:  # it sleeps
            return with_listed_models(service)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MAX_WAIT), self._slots:
                await read_models(self._http, service)
        return with_listed_models(service)

    async def _request(self, service: Service, model_id: str = "") -> Fields:
        """The fields of the container's answer. Raises NoAnswer."""
        try:
            async with asyncio.timeout(MAX_WAIT), self._slots:
                body = await self._get(service, {"model_id": model_id} if model_id else {})
            if has_numbers(body):
                body = await without_numbers(body)
            # Raw fields are not checked for UTF-8, text is.
            fields = msgspec.json.decode(body.decode(), type=Fields)
        except (
            NoAnswer,
            HttpError,
            TimeoutError,
            ValueError,  # a body that is not a JSON object
            RecursionError,
        ) as error:
            reason = _reason(error)
            log_event(
                logger,
                "resources.request_failed",
                logging.DEBUG,
                container=service.id,
                reason=reason,
            )
            raise NoAnswer(reason) from error
        self._kept.keep(service, model_id, fields, len(body))
        return fields

    async def _get(self, service: Service, parameters: dict[str, str]) -> bytes:
        bearer = service.container.bearer
        headers = (("Authorization", f"Bearer {bearer.reveal()}"),) if bearer else ()
        target = parse_url(f"{service.base_url}/service-resources", tuple(parameters.items()))
        async with (
            asyncio.timeout(self._timeout),
            await self._http.request("GET", target, headers) as response,
        ):
            if response.status != 200:
                raise NoAnswer(f"status {response.status}")
            if response.is_compressed:
                raise NoAnswer("compressed, without being asked")
            body = await response.whole(self._max_bytes)
        if body is None:
            raise NoAnswer(f"more than {self._max_bytes} bytes")
        return body


def with_listed_models(service: Service) -> Container:
    """The configuration of a container, with the models that it listed last where it names none."""
    if not service.protocol.NAMES_MODELS or service.container.models:
        return service.container
    models: list[str | Model] = [listed_model(name) for name in service.model_ids]
    return msgspec.structs.replace(service.container, models=models)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, HttpError):
        return cause_of(error)
    return str(error) or type(error).__name__


def completed(fields: Fields, host: list[HardwareCapability]) -> Raw:
    """A container's answer, with the host's hardware if it reports none."""
    hardware = bytes(fields.get("hardware_capabilities", b""))
    if b"".join(hardware.split()) in (b"", b"null", b"[]", b"{}", b'""'):
        fields["hardware_capabilities"] = Raw(encoder.encode(host))
    return Raw(encoder.encode(fields))


def checked(fields: Fields) -> Raw | ModelSupport:
    """A container's answer about a model, if it is valid; else one with an error."""
    if bytes(fields.get("supported", b"")) in (b"true", b"false"):
        return Raw(encoder.encode(fields))
    return ModelSupport(
        supported=False,
        error='The container\'s answer has no "supported" that is true or false',
    )


def declared_resources(container: Container, host: list[HardwareCapability]) -> ServiceResources:
    """The resources by the configuration, for a container that does not answer."""
    declared = container.models or container.task or container.type
    # "ml" is the id of machine learning in Ritual's services (ComputeId of infernet-ml).
    capability = ComputeCapability(
        id="ml",
        type=container.type,
        task=container.task,
        models=[declared_model(model) for model in container.models],
        cached_models=[],
    )
    return ServiceResources(
        service_id=container.id,
        compute_capability=[capability] if declared else [],
        hardware_capabilities=host,
    )


def declared_support(container: Container, model_id: str) -> ModelSupport:
    """The support of a model by the configuration, for a container that does not answer."""
    if is_declared(model_id, container.models):
        return ModelSupport(supported=True)
    if container.models:
        error = "The model is not among those declared for the container"
    else:
        error = "The container does not report its models, and none are declared for it"
    return ModelSupport(supported=False, error=error)
