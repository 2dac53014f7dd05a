"""The settings by which the node stops idle containers: `start`, `idle_timeout`, `exclusive`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from infernet_edge.config.errors import Problem
from infernet_edge.config.model import Config, Container
from infernet_edge.config.texts import printable

_DEFAULTS: Final = Container(id="")


def check_sleep(container: Container, path: str) -> Iterator[Problem]:
    """The errors in these settings of a container, whose place is `path`."""
    if not container.url:
        return
    for key in _set_keys(container):
        value = getattr(container, key)
        found = f'"{printable(value)}"' if isinstance(value, str) else f"{value:g}"
        expected = "nothing beside url: the node does not start and stop it"
        yield Problem(f"{path}.{key}", found, expected)


def ignored_sleep(config: Config) -> list[str]:
    """A warning for each of these settings where the node starts and stops no containers."""
    if config.manage_containers:
        return []
    found = [
        f"containers[{position}].{key}"
        for position, container in enumerate(config.containers)
        for key in _set_keys(container)
    ]
    if config.max_running is not None:
        found.append("max_running")
    return [f"{key} is ignored: with manage_containers false the node stops none" for key in found]


def _set_keys(container: Container) -> list[str]:
    """Those of these keys that have a value of their own."""
    keys = ("start", "idle_timeout", "exclusive")
    return [key for key in keys if getattr(container, key) != getattr(_DEFAULTS, key)]


def may_sleep(container: Container, config: Config) -> bool:
    """Whether the node stops this container when no job needs it."""
    if container.url or not config.manage_containers:
        return False
    by_itself = container.start == "on_demand" or container.idle_timeout is not None
    return by_itself or bool(container.exclusive) or config.max_running is not None


def uses_sleep(config: Config) -> bool:
    """Whether the node stops any container when no job needs it."""
    return any(may_sleep(container, config) for container in config.containers)
