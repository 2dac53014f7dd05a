"""On which ports a container listens inside, for one that does not answer on the expected one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from infernet_edge.containers.connection import Connection
from infernet_edge.containers.podman import CALL_TIMEOUT, LocalImage
from infernet_edge.containers.processes import read_beginning
from infernet_edge.errors import EngineError

FILES = ("net/tcp", "net/tcp6")
"""The tables of sockets below /proc/PID, see proc(5)."""

_LISTENS = "0A"  # TCP_LISTEN of the kernel
_MAX_NAMED = 5  # ports in a text
# 127.0.0.0/8 and ::1, as the kernel writes them: in words of the machine's byte order, which is
# little-endian on all machines that the node runs on.
_LOOPBACK_4 = "7F"
_LOOPBACK_6 = ("00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


class Listeners(NamedTuple):
    """Ports on which programs of a container listen."""

    reachable: frozenset[int]
    loopback: frozenset[int]  # that only the container itself reaches


def parse(table: str) -> Listeners:
    """The listening sockets of the tables tcp and tcp6, which may follow each other."""
    reachable: set[int] = set()
    loopback: set[int] = set()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 4 or fields[3] != _LISTENS:
            continue
        address, _, port = fields[1].partition(":")
        is_loopback = address.endswith(_LOOPBACK_4) if len(address) == 8 else address in _LOOPBACK_6
        (loopback if is_loopback else reachable).add(int(port, 16))
    return Listeners(frozenset(reachable), frozenset(loopback - reachable))


def explain(expected: int, listeners: Listeners | None, exposed: Collection[int]) -> str:
    """Why a service does not answer on the port `expected`, with the remedy; "" if not known.

    `listeners` is None when they are not known; `exposed` are the ports of the image's EXPOSE.
    """
    if listeners is not None:
        if expected in listeners.reachable:
            return ""
        if listeners.reachable:
            return _on_other_port(expected, "it listens on", listeners.reachable)
        if listeners.loopback:
            ports = _named(listeners.loopback)
            return (
                f"it listens on 127.0.0.1 only ({ports}), where nothing outside of the container"
                f" reaches it: let it listen on 0.0.0.0, {_named([expected])}"
            )
    if exposed and expected not in exposed:
        return _on_other_port(expected, "its image names (EXPOSE)", exposed)
    return ""


async def listeners_of(connection: Connection, container_id: str, pid: int) -> Listeners | None:
    """Where the programs of a container listen; None when that cannot be found out.

    `pid` is its first process where this machine shows it, else 0: then the container is asked, by
    a command in it, which not all images have.
    """
    if pid and (tables := [read_beginning(Path(f"/proc/{pid}", file)) for file in FILES])[0]:
        return parse("\n".join(tables))
    engine = connection.engine
    if engine is None:
        return None
    command = ["cat", *(f"/proc/{file}" for file in FILES)]
    try:
        text = await connection.run(CALL_TIMEOUT, engine.output_of, container_id, command)
    except EngineError:
        return None
    return parse(text) if text else None


async def why_silent(
    connection: Connection, container_id: str, pid: int, expected: int, image: LocalImage
) -> str:
    """`explain` for a running container of `image`."""
    return explain(expected, await listeners_of(connection, container_id, pid), image.ports)


def _on_other_port(expected: int, source: str, ports: Collection[int]) -> str:
    setting = f"container_port = {next(iter(ports))}"
    if len(ports) > 1:
        setting = "container_port to the one of its API"
    return f"{source} {_named(ports)} inside, not {_named([expected])}: set {setting}"


def _named(ports: Collection[int]) -> str:
    shown = sorted(ports)[:_MAX_NAMED]
    return f"port{'s' if len(shown) > 1 else ''} {', '.join(map(str, shown))}"
