"""The models that a server with OpenAI's API lists (GET /v1/models)."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec
from msgspec import Struct

from infernet_edge.containers.answers.failures import cause_of
from infernet_edge.containers.protocols.openai import models_path
from infernet_edge.containers.protocols.sending import headers_of, query_of
from infernet_edge.containers.service import Service
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError
from infernet_edge.http_client.urls import parse_url
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

MAX_MODELS: Final = 1000
"""Models of one server that are known here; others are left out."""

_MAX_BYTES: Final = 2**20  # of a list; Ollama writes 120 bytes for each model
_TIMEOUT: Final = 5.0  # seconds


class _ListedModel(Struct):
    id: str


class _ModelList(Struct):
    data: list[_ListedModel]


async def read_models(http: HttpClient, service: Service) -> None:
    """Update `model_ids` of a service, unless its models are configured.

    A server that does not answer, or without a list, leaves them as they are.
    """
    if service.container.models:
        return
    try:
        listed = await _read(http, service)
    except TimeoutError:
        problem = "no answer in time"
    except HttpError as error:
        problem = cause_of(error)
    except (ValueError, RecursionError) as error:  # another answer
        problem = str(error)
    else:
        service.model_ids = list(dict.fromkeys(listed))[:MAX_MODELS]
        return
    log_event(
        logger, "container.models_unknown", logging.DEBUG, container=service.id, reason=problem
    )


async def _read(http: HttpClient, service: Service) -> list[str]:
    container = service.container
    target = parse_url(service.base_url + models_path(container), query_of(container))
    async with (
        asyncio.timeout(_TIMEOUT),
        await http.request("GET", target, headers_of(container)) as response,
    ):
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        if response.is_compressed:
            raise ValueError("compressed, without being asked")
        content = await response.whole(_MAX_BYTES)
    if content is None:
        raise ValueError(f"more than {_MAX_BYTES} bytes")
    found = msgspec.json.decode(content, type=_ModelList).data
    return [each.id for each in found if each.id]
