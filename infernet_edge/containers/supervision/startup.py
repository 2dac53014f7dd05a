"""How long a container may take until it is ready."""

from __future__ import annotations

import logging
import time

from infernet_edge.containers.images.provider import Reporter
from infernet_edge.containers.service import Service


def report_silence(service: Service, reporter: Reporter, reason: str, started: float) -> None:
    """Report that a container which has not been ready yet does not answer.

    `started` is a monotonic time. After `startup_timeout` its jobs fail instead of waiting; it
    still gets ready when it answers.
    """
    limit = service.container.startup_timeout
    if limit is None or time.monotonic() - started < limit:
        reporter.report_state(f"it does not answer yet: {reason}")
        return
    reason = f"it was not ready within startup_timeout ({limit:g} s): {reason}"
    if service.state != "failed":
        reporter.log_container("failed", logging.ERROR, reason=reason)
    service.set_failed(reason)
