"""The state of the containers as text, for `status`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from infernet_edge.cli.chain_report import duration
from infernet_edge.cli.text import wrapped

if TYPE_CHECKING:
    from infernet_edge.cli.remote.container_list import ListedContainer
    from infernet_edge.cli.remote.overview import RemoteContainer

_RUNNING = ("ready", "suspect", "elsewhere")


def container_lines(
    containers: list[dict[str, Any]], explained: Collection[str | None] = ()
) -> Iterator[str]:
    """How many run, and some lines for each; the reasons of the `explained` are left out."""
    yield f"  containers: {_count([each['state'] for each in containers], 'none is configured')}"
    for each in containers:
        yield from wrapped(f"  {each['id']:<18} ", ", ".join(_parts(each)), indent=4)
        if each["reason"] and each["id"] not in explained:
            yield from wrapped("    ", each["reason"])
        yield from wrapped("    ", each["image"] or each["url"] or "")


def remote_container_lines(
    containers: list[RemoteContainer], explained: Collection[str | None]
) -> Iterator[str]:
    """The same of another node, as far as clients may see it."""
    yield f"  containers: {_count([each.state for each in containers], 'none')}"
    for each in containers:
        yield from wrapped(f"  {each.id:<18} ", each.state, indent=4)
        if each.reason and each.id not in explained:
            yield from wrapped("    ", each.reason)


def listed_lines(container: ListedContainer) -> Iterator[str]:
    """Some lines about a container of `infernet-edge containers`."""
    yield from wrapped(f"{container.id:<18} ", ", ".join(_figures(container)), indent=4)
    if container.reason:
        yield from wrapped("    ", container.reason)
    if container.image:
        yield from wrapped("    ", container.image)
        if container.digest:
            yield from wrapped("    ", container.digest)
    elif container.url:
        yield from wrapped("    ", container.url)
    if container.new_digest:
        yield from wrapped("    ", "a newer image was pulled: a restart uses it")
    if container.pull is not None:
        yield from wrapped("    ", "its image is being pulled")
    if container.pull_error:
        yield from wrapped("    ", f"the last pull failed: {container.pull_error}")


def _count(states: list[str], none: str) -> str:
    """How many run, and how many do not because no job needs them."""
    asleep = states.count("asleep")
    running = f"{sum(state in _RUNNING for state in states)} of {len(states)} run"
    return (f"{running}, {asleep} asleep" if asleep else running) if states else none


def _figures(container: ListedContainer) -> Iterator[str]:
    yield "runs elsewhere, not managed" if container.state == "elsewhere" else container.state
    yield f"{container.slots.used} of {container.slots.of} slots used"
    if container.waiting:
        yield f"{container.waiting} waiting"
    if container.cpu_percent is not None:
        yield f"CPU {container.cpu_percent:.0f} %"
    if container.memory is not None:
        limit = container.memory_limit
        yield mebibytes(container.memory) + (f" of {mebibytes(limit)}" if limit else "")
    if restarts := container.restarts:
        yield f"{restarts} restart{'' if restarts == 1 else 's'}"


def _parts(container: dict[str, Any]) -> Iterator[str]:
    yield container["state"]
    if container["port"] is not None:
        yield f"port {container['port']}"
    if container["uptime"] is not None:
        yield f"up {duration(container['uptime'])}"
    if container["memory"] is not None:
        limit = container["memory_limit"]
        yield mebibytes(container["memory"]) + (f" of {mebibytes(limit)}" if limit else "")
    if restarts := container["restarts"]:
        yield f"{restarts} restart{'' if restarts == 1 else 's'}"


def mebibytes(size: int) -> str:
    """A size in MiB, without decimals."""
    return f"{size / 2**20:.0f} MiB"
