"""Are the configured ports free, or used by the node itself?"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from pathlib import Path
from typing import NamedTuple

from infernet_edge.containers.ports import is_free
from infernet_edge.containers.specification import node_name
from infernet_edge.control.client import NotAllowed, NotRunning
from infernet_edge.doctor.commands import as_owner, as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem, warning
from infernet_edge.doctor.user import user_of
from infernet_edge.errors import EngineError

NAME = "ports"
NEEDS = ("server.host", "server.port")

_UNPRIVILEGED = "proc/sys/net/ipv4/ip_unprivileged_port_start"  # ip_sysctl of the kernel
_SYSTEM_SERVICE = re.compile(r"/system\.slice/(?:.*/)?([^/]+\.service)(?:/|$)", re.MULTILINE)


class Holder(NamedTuple):
    """A program that listens on a port; `unit` is its systemd service, or ""."""

    name: str
    pid: int
    uid: int
    unit: str

    def __str__(self) -> str:
        return f" by {self.name} ({self.unit or self.pid})"


async def check(case: Case) -> list[Finding]:
    """Try to listen on the ports of the API and of the managed containers, unless the node runs."""
    try:
        await case.status()
        return [ok("the running node uses them")]
    except NotAllowed:
        return [not_checked("this user may not read the node's status", "run the doctor with sudo")]
    except NotRunning:
        pass  # so the ports should be free
    found = [await case.blocking(_check_own, case)]
    wanted = {container.port: container.id for container in case.managed_with("port")}
    taken = {each for each in wanted if not is_free(each)}
    foreign = taken - await _of_own_containers(case) if taken else set()
    for port in sorted(foreign):
        holder = await case.blocking(_holder, port)
        found.append(
            warning(
                f"port {port} of container {wanted[port]} is in use{holder or ''}; the node will"
                " choose another one",
                f"give container {wanted[port]} a free port, or none",
            )
        )
    free = sorted(set(wanted) - taken - {0})
    if free:
        found.append(ok(f"free for containers: {', '.join(map(str, free))}"))
    return found


def _check_own(case: Case) -> Finding:
    """The API's port."""
    host, port = case.config.server.host, case.config.server.port
    error = _try_to_listen(host, port)
    if error == errno.EADDRINUSE:
        holder = _holder(port)
        text = f"port {port} is in use{holder or ''}"
        if holder is None:
            hidden = "; with sudo the doctor names the program that uses this one"
            return problem(text, f"set server.port to a free one{hidden if os.geteuid() else ''}")
        if holder.unit:
            return problem(text, _ELSE, command=as_root("systemctl", "stop", holder.unit))
        stop = as_owner(user_of(holder.uid), "kill", str(holder.pid))
        return problem(text, _ELSE, command=stop)
    # The service has no capabilities: only root may use low ports.
    lowest = _lowest_port(case.root)
    is_low = 0 < port < lowest and case.user is not None and case.user.uid != 0
    if error == errno.EACCES or is_low:
        name = case.user.name if case.user is not None else "the node's user"
        return problem(
            f"{name} may not listen on port {port}", f"set server.port to {lowest} or more"
        )
    if error:
        return problem(
            f"listening on {host} port {port} is not possible",
            "set server.host to 0.0.0.0 or to an address of this machine",
        )
    return ok(f"free for the API: {port or 'any port'}")


_ELSE = "or set server.port to a free one"


def _lowest_port(root: Path) -> int:
    try:
        return int((root / _UNPRIVILEGED).read_text("ascii"))
    except (OSError, ValueError):
        return 1024


async def _of_own_containers(case: Case) -> set[int]:
    """The ports of containers that a killed node left: the next node adopts them."""
    try:
        engine = await case.engine()
        found = await case.blocking(engine.containers, node_name(case.config.storage_path))
    except EngineError:
        return set()
    return {container.port for container in found if container.running or container.paused}


def _try_to_listen(host: str, port: int) -> int:
    """Try to listen as the node would: the error number, or 0 for success. Blocks."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    return 0


def _holder(port: int) -> Holder | None:
    """The program that listens there, None when it is not visible to this user. Blocks."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                uid = process.uids().real
                return Holder(process.name(), process.pid, uid, _unit_of(process.pid))
    return None


def _unit_of(pid: int) -> str:
    """The service of systemd that a process belongs to, "" for none (cgroups(7)). Blocks."""
    if pid == os.getpid():
        return ""
    try:
        found = _SYSTEM_SERVICE.search(Path(f"/proc/{pid}/cgroup").read_text("utf-8", "replace"))
    except OSError:
        return ""
    return found[1] if found else ""
