"""What the commands share that ask the running node."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infernet_edge.config import Config


def ask(config: Config, report: str, **parameters: str) -> Any | None:
    """The node's report; prints why and returns None when it cannot be had."""
    from infernet_edge.control.client import NotRunning, fetch

    try:
        return fetch(config, report, **parameters)
    except NotRunning as error:
        print(error, file=sys.stderr)
        return None
