"""All protocols, by their names in the configuration (`containers[].protocol`)."""

from __future__ import annotations

from typing import Final

from infernet_edge.containers.protocols import http, infernet, openai
from infernet_edge.containers.protocols.call import ServiceProtocol

PROTOCOLS: Final[dict[str, ServiceProtocol]] = {
    "infernet": infernet,
    "http": http,
    "openai": openai,
}
