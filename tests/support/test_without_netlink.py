"""Programs that are not informed of changes of the networks."""

from __future__ import annotations

import subprocess
import sys

from tests.support import without_netlink

TRY = """
import socket
socket.socket(socket.AF_INET).close()
socket.socket(socket.AF_UNIX).close()
try:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
except OSError as error:
    print(error.strerror)
"""


def test_only_sockets_of_netlink_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, without_netlink.__file__, sys.executable, "-c", TRY],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("Address family not supported by protocol\n", "")
