"""Objects that all supervisors of containers share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from infernet_edge.containers.blocking import Threads
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.images.provider import Images
from infernet_edge.containers.ports import Ports
from infernet_edge.containers.timing import Timing
from infernet_edge.http_client.client import HttpClient


class SupervisorContext(NamedTuple):
    """Objects that all supervisors share."""

    connection: Connection
    threads: Threads
    ports: Ports
    images: Images
    http: HttpClient
    node: str
    node_labels: Mapping[str, str]
    polling_needed: asyncio.Event  # set when a container's process is not visible
    timing: Timing
