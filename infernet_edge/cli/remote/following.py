"""Streams of a node that do not end, over lost connections."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from infernet_edge.backoff import Backoff
from infernet_edge.cli.remote.arguments import print_error
from infernet_edge.cli.remote.failures import NodeRefused, NodeUnreachable

SILENCE_SECONDS: Final = 45.0
"""Silence after which a connection counts as lost: nodes send something every 15 seconds."""

_FIRST_PAUSE: Final = 1.0  # seconds before it connects again
_MAX_PAUSE: Final = 30.0  # seconds; the pauses grow up to this
_TRANSIENT: Final = (http.client.SERVICE_UNAVAILABLE, http.client.TOO_MANY_REQUESTS)

Item = TypeVar("Item")


def followed(connect: Callable[[], Iterator[Item]]) -> Iterator[Item]:
    """The items of any number of connections, each of which `connect` opens and reads.

    What it waits for is said on stderr. Raises NodeError when the first connection fails, or when
    the node refuses another one and a retry does not help.
    """
    backoff = Backoff(_FIRST_PAUSE, _MAX_PAUSE)
    was_connected = is_away = False
    while True:
        reason = "The node has ended the stream"
        try:
            for item in connect():
                if is_away:
                    print_error("Connected again")
                was_connected, is_away = True, False
                backoff.reset()
                yield item
        except (NodeUnreachable, NodeRefused) as error:
            if isinstance(error, NodeRefused) and error.status not in _TRANSIENT:
                raise
            if not was_connected:
                raise
            reason = str(error)
        if not is_away:
            is_away = True
            print_error(f"{reason}. Connecting again")
        time.sleep(backoff.next())
