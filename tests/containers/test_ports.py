from __future__ import annotations

import socket

import pytest

from infernet_edge.containers.ports import Ports, is_free
from infernet_edge.errors import EngineError
from tests.support.ports import free_port


def test_a_port_is_free_until_a_socket_listens() -> None:
    port = free_port()
    assert is_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
    with socket.create_server(("0.0.0.0", port)):
        assert not is_free(port)
    assert is_free(port)


def test_a_port_with_connections_that_have_just_ended_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # this side closes first and so keeps TIME_WAIT
        client.recv(1)
        client.close()
    assert is_free(port)


def test_the_preferred_port_is_assigned_when_it_is_free() -> None:
    port = free_port()
    ports = Ports({port})
    assert ports.assign("a", port) == port
    assert ports.assign("a", port) == port


def test_another_port_is_assigned_downwards_from_3999() -> None:
    preferred = free_port()
    ports = Ports({preferred, 3999})
    assert ports.assign("a", preferred) == preferred
    others = [ports.assign(owner, preferred) for owner in "bcd"]
    assert others == sorted(others, reverse=True)
    assert len({preferred, *others}) == 4
    assert all(port < 3999 for port in others)


def test_a_registered_port_is_not_assigned_again() -> None:
    port = free_port()
    ports = Ports(set())
    ports.register("a", port)
    assert ports.assign("b", port) != port
    assert ports.assign("a", port) == port


def test_no_port_left() -> None:
    port = free_port()
    ports = Ports(set(range(1024, 4000)))
    ports.register("a", port)
    with pytest.raises(EngineError, match="No port"):
        ports.assign("b", port)
