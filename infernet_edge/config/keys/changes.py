"""What a change of the configuration needs: a reload, or a restart of the node.

This is the one place that says so. `node.reload` applies each of these keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from infernet_edge.config.model import Config, Container

RELOADED: Final = frozenset(
    {
        "server.rate_limit",
        "server.max_connections_per_client",
        "server.min_body_bytes_per_second",
        "server.trusted_proxies",
        "server.allowed_hosts",
        "server.allowed_origins",
        "server.tokens",
        "server.tls.cert",
        "server.tls.key",
        "server.openai",
        "docker",
        "containers",
        "max_running",
        "storage.min_free_bytes",
        "storage.max_bytes",
        "jobs.max_pending",
        "jobs.retention",
        "jobs.on_restart",
        "jobs.max_attempts",
        "jobs.keep_inputs",
    }
)
"""The keys that a reload applies, with all keys below them. All others need a restart."""

RECREATING: Final = frozenset(
    {
        *("image", "url", "port", "container_port", "init", "gpu", "command", "env", "volumes"),
        *("env_file", "memory", "cpus", "pids", "shm_size", "devices"),
    }
)
"""The keys of a container that need a new one; the others apply to the one that runs."""


def change_of(key: str) -> Literal["reload", "restart"]:
    """What a change of this key needs, such as "jobs.retention" or "containers[echo].env"."""
    parts = key.partition("[")[0].split(".")
    prefixes = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return "reload" if prefixes & RELOADED else "restart"


def changed_keys(before: Config, after: Config) -> list[str]:
    """The keys whose values differ; those of containers as "containers[ID].key"."""
    return list(_changed(before, after, ""))


def _changed(before: Struct, after: Struct, prefix: str) -> Iterator[str]:
    for name in before.__struct_fields__:
        old, new, key = getattr(before, name), getattr(after, name), f"{prefix}{name}"
        if key == "containers":
            yield from _changed_containers(old, new)
        elif isinstance(old, Struct) and isinstance(new, Struct):
            yield from _changed(old, new, f"{key}.")
        elif old != new:
            yield key


def _changed_containers(before: list[Container], after: list[Container]) -> Iterator[str]:
    old = {container.id: container for container in before}
    new = {container.id: container for container in after}
    for name in [*old, *(name for name in new if name not in old)]:
        if name in old and name in new:
            yield from (f"containers[{name}].{key}" for key in changed_fields(old[name], new[name]))
        else:
            yield f"containers[{name}]"
    if old.keys() == new.keys() and list(old) != list(new):
        yield "containers"


def changed_fields(before: Container, after: Container) -> list[str]:
    """The names of the fields that differ."""
    names = before.__struct_fields__
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def effective(before: Config, after: Config) -> Config:
    """What is in force after a reload: the new values of the keys that it applies."""
    found: Config = _effective(before, after, "")
    return found


def _effective(before: Any, after: Any, prefix: str) -> Any:
    values = {}
    for name in before.__struct_fields__:
        old, new, key = getattr(before, name), getattr(after, name), f"{prefix}{name}"
        if change_of(key) == "reload":
            values[name] = new
        elif isinstance(old, Struct) and isinstance(new, Struct):
            values[name] = _effective(old, new, f"{key}.")
        else:
            values[name] = old
    return msgspec.structs.replace(before, **values)


def without_recreating(before: Container, after: Container) -> Container:
    """The new values of those keys of a container that need no new one."""
    return msgspec.structs.replace(after, **{name: getattr(before, name) for name in RECREATING})
