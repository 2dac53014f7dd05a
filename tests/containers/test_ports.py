from __future__ import annotations

import socket

import pytest

from infernet_edge.containers.ports import Ports, is_free
from infernet_edge.errors import EngineError
from tests.support.ports import free_port


def test_a_port_is_free_until_somebody_listens() -> None:
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


def test_the_wanted_port_is_taken_when_it_is_free() -> None:
    port = free_port()
    ports = Ports({port})
    assert ports.take("a", port) == port
    assert ports.take("a", port) == port


def test_another_port_is_taken_downwards_from_3999() -> None:
    wanted = free_port()
    ports = Ports({wanted, 3999})
    assert ports.take("a", wanted) == wanted
    others = [ports.take(owner, wanted) for owner in "bcd"]
    assert others == sorted(others, reverse=True)
    assert len({wanted, *others}) == 4
    assert all(port < 3999 for port in others)


def test_a_port_that_is_kept_goes_to_nobody_else() -> None:
    port = free_port()
    ports = Ports(set())
    ports.keep("a", port)
    assert ports.take("b", port) != port
    assert ports.take("a", port) == port


def test_no_port_left() -> None:
    port = free_port()
    ports = Ports(set(range(1024, 4000)))
    ports.keep("a", port)
    with pytest.raises(EngineError, match="No port"):
        ports.take("b", port)
