"""Code shared by the commands that read reports of the running node."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infernet_edge.config import Config


def fetch_report(config: Config, report: str, **parameters: str) -> Any | None:
    """The node's report; prints the reason and returns None when it is not available."""
    from infernet_edge.control.client import NotRunning, fetch

    try:
        return fetch(config, report, **parameters)
    except NotRunning as error:
        print(error, file=sys.stderr)
        return None
