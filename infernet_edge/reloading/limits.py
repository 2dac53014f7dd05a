"""Puts the limits of another configuration in force."""

from __future__ import annotations

from infernet_edge.api.parts import Parts
from infernet_edge.config.model import Config
from infernet_edge.jobs import idempotency


def apply_limits(parts: Parts, config: Config) -> None:
    """Change what the parts keep of jobs, how they start them, and the login for pulls."""
    parts.store.max_pending = parts.external_jobs.limit = config.jobs.max_pending
    parts.store.answers.max_bytes = idempotency.part_of(config.storage)
    parts.store.keep_inputs = config.jobs.keep_inputs
    parts.orchestrator.apply(config.jobs)
    parts.manager.connection.apply(config.docker)
    if parts.backups is not None:
        parts.backups.apply(config)
