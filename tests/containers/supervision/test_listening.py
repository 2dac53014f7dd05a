from __future__ import annotations

import os
import socket
from collections.abc import Collection
from pathlib import Path

import pytest

from infernet_edge.containers.supervision.listening import FILES, Listeners, explain, parse


def tables() -> str:
    return "\n".join(Path(f"/proc/{os.getpid()}", file).read_text() for file in FILES)


@pytest.mark.parametrize(
    ("family", "address", "reachable"),
    [
        (socket.AF_INET, "127.0.0.1", False),
        (socket.AF_INET, "127.8.9.1", False),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET6, "::ffff:127.0.0.1", False),
    ],
)
def test_listening_sockets_are_found(
    family: socket.AddressFamily, address: str, reachable: bool
) -> None:
    with socket.socket(family) as listener:
        try:
            listener.bind((address, 0))
        except OSError:
            pytest.skip("no IPv6 here")
        port = listener.getsockname()[1]
        assert port not in parse(tables()).reachable | parse(tables()).loopback
        listener.listen()
        found = parse(tables())
        assert (port in found.reachable, port in found.loopback) == (reachable, not reachable)


def listeners(reachable: Collection[int] = (), loopback: Collection[int] = ()) -> Listeners:
    return Listeners(frozenset(reachable), frozenset(loopback))


ELSEWHERE = "where nothing outside of the container reaches it: let it listen on 0.0.0.0, port 3000"


@pytest.mark.parametrize(
    ("found", "exposed", "text"),
    [
        (listeners([3000]), [8080], ""),
        (listeners([3000, 9000]), [], ""),
        (listeners(), [], ""),
        (None, [], ""),
        (None, [3000], ""),
        (None, [3000, 9000], ""),
        (
            listeners([8080]),
            [],
            "it listens on port 8080 inside, not port 3000: set container_port = 8080",
        ),
        (
            listeners([8080], [3000]),
            [3000],
            "it listens on port 8080 inside, not port 3000: set container_port = 8080",
        ),
        (
            listeners([9000, 8080]),
            [],
            "it listens on ports 8080, 9000 inside, not port 3000: set container_port to the one"
            " of its API",
        ),
        (listeners([], [3000]), [], f"it listens on 127.0.0.1 only (port 3000), {ELSEWHERE}"),
        (listeners([], [5000]), [], f"it listens on 127.0.0.1 only (port 5000), {ELSEWHERE}"),
        (
            None,
            [80],
            "its image names (EXPOSE) port 80 inside, not port 3000: set container_port = 80",
        ),
        (
            listeners(),
            [80],
            "its image names (EXPOSE) port 80 inside, not port 3000: set container_port = 80",
        ),
    ],
)
def test_the_reason_names_the_port_and_the_setting(
    found: Listeners | None, exposed: list[int], text: str
) -> None:
    assert explain(3000, found, exposed) == text


def test_the_text_is_short_with_many_ports() -> None:
    assert len(explain(3000, listeners(range(10_000, 20_000)), [])) < 200
