"""Are the ports free that the node wants, or its own already?"""

from __future__ import annotations

import contextlib
import errno
import socket

from infernet_edge.containers.ports import is_free
from infernet_edge.containers.specification import node_name
from infernet_edge.control import NotAllowed, NotRunning
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.errors import EngineError

NAME = "ports"


async def check(case: Case) -> Finding:
    """Try the API's port and those of the managed containers, unless the node runs."""
    try:
        await case.status()
        return ok("the running node has them")
    except NotAllowed:
        return ok("unknown, since this user may not ask the node whether it runs")
    except NotRunning:
        pass  # so nobody should listen there
    host, port = case.config.server.host, case.config.server.port
    trouble = await case.blocking(_try_to_listen, host, port)
    if trouble == errno.EADDRINUSE:
        return problem(
            f"port {port} is taken{await case.blocking(_by_whom, port)}",
            f"stop that program (sudo ss -ltnp 'sport = :{port}'), or set server.port",
        )
    if trouble == errno.EACCES:
        return problem(
            f"this user may not listen on port {port}", "set server.port to one above 1023"
        )
    if trouble:
        return problem(
            f"nobody can listen on {host} port {port}",
            "set server.host to 0.0.0.0 or to an address of this machine (ip address)",
        )
    wanted = {container.port for container in case.managed}
    taken = sorted(each for each in wanted if not is_free(each))
    foreign = sorted(set(taken) - await _of_own_containers(case)) if taken else []
    if foreign:
        shown = [f"{each}{await case.blocking(_by_whom, each)}" for each in foreign]
        return warning(
            f"taken: {', '.join(shown)}; their containers will be given other ports",
            "set containers[].port to free ones, or stop what uses these",
        )
    free = sorted({port, *wanted} - {0, *taken})
    return ok(f"free: {', '.join(map(str, free)) or 'any will do'}")


async def _of_own_containers(case: Case) -> set[int]:
    """The ports of containers that a killed node left: the next one takes them over."""
    try:
        engine = await case.engine()
        found = await case.blocking(engine.containers, node_name(case.config.storage_path))
    except EngineError:
        return set()
    return {container.port for container in found if container.running}


def _try_to_listen(host: str, port: int) -> int:
    """The error number of listening as the node would, 0 when that works. Blocks."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    return 0


def _by_whom(port: int) -> str:
    """The program that listens there, as far as this user may know. Blocks."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} ({connection.pid})"
    return ""
