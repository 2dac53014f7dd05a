"""Debian's HAProxy in front of a node.

with HAProxy(node.port, tmp_path) as proxy:
    Api(proxy.port).get("/info")
"""

from __future__ import annotations

from pathlib import Path

from tests.support.podman import need
from tests.support.ports import free_port
from tests.support.process import ServerProcess

_CONFIGURATION = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend clients
    bind 127.0.0.1:{port}
    default_backend node
backend node
    {options}
    server node 127.0.0.1:{node_port}
"""


class HAProxy(ServerProcess):
    """The proxy on a free port; it adds X-Forwarded-For unless `options` say otherwise."""

    def __init__(self, node_port: int, folder: Path, options: str = "option forwardfor") -> None:
        need("haproxy")
        self.port = free_port()
        path = folder / "haproxy.cfg"
        path.write_text(_CONFIGURATION.format(port=self.port, node_port=node_port, options=options))
        command = ["haproxy", "-f", str(path)]
        super().__init__(command, f"http://127.0.0.1:{self.port}", folder / "haproxy.log")
