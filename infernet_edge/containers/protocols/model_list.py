"""The models that a server with OpenAI's API lists (GET /v1/models)."""

from __future__ import annotations

import logging
from typing import Final

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from infernet_edge.containers.answers.failures import cause_of
from infernet_edge.containers.protocols.openai import models_path
from infernet_edge.containers.protocols.sending import headers_of, query_of
from infernet_edge.containers.service import Service
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


async def read_models(session: aiohttp.ClientSession, service: Service) -> None:
    """Update `model_ids` of a service, unless its models are configured.

    A server that does not answer, or without a list, leaves them as they are.
    """
    if service.container.models:
        return
    try:
        listed = await _read(session, service)
    except TimeoutError:
        problem = "no answer in time"
    except (aiohttp.ClientError, OSError) as error:
        problem = cause_of(error)
    except (ValueError, RecursionError) as error:  # an invalid URL, or another answer
        problem = str(error)
    else:
        service.model_ids = list(dict.fromkeys(listed))[:MAX_MODELS]
        return
    log_event(
        logger, "container.models_unknown", logging.DEBUG, container=service.id, reason=problem
    )


async def _read(session: aiohttp.ClientSession, service: Service) -> list[str]:
    container = service.container
    url = URL(service.base_url + models_path(container))
    async with session.get(
        url.update_query(query_of(container)),
        headers=headers_of(container),
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
    ) as response:
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        content = b""
        while part := await response.content.read(_MAX_BYTES + 1 - len(content)):
            content += part
            if len(content) > _MAX_BYTES:
                raise ValueError(f"more than {_MAX_BYTES} bytes")
    found = msgspec.json.decode(content, type=_ModelList).data
    return [each.id for each in found if each.id]
