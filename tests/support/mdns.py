"""mDNS in tests: a network of two machines, nodes in it, and Avahi.

with second_machine() as other:  # tests.support.networks
    link = link_to(other)                      # as this machine sees that network
    with avahi(other, tmp_path) as there:
        there.publish("kitchen", 4123, "id=1")
        print(there.browse())
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infernet_edge.discovery.messages import DnsMessage, read_message, write_message
from infernet_edge.discovery.service import Description
from infernet_edge.hardware.network import Link, links
from tests.support.networks import SecondMachine
from tests.support.podman import need
from tests.support.process import ROOT

GROUP = "224.0.0.251"
PORT = 5353

_BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={bus}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/></policy></busconfig>
"""
_AVAHI = """\
[server]
host-name={host}
use-ipv4=yes
use-ipv6=yes
[publish]
publish-workstation=no
"""
# Its files in /run are the machine's; a mount namespace gives it others.
_START = """
mkdir -p /run/avahi-daemon && mount -t tmpfs avahi /run/avahi-daemon &&
exec avahi-daemon -f {config} --no-drop-root --no-chroot --no-rlimits
"""


def link_to(other: SecondMachine) -> Link:
    """The network that this machine has with the other one."""
    [found] = links(other.here)
    return found


def description(**changes: Any) -> Description:
    """What a node may say of itself."""
    plain = Description("0123456789abcdef", "1.4.0+edge.0.1.0", 4000, False, False, ("a", "b"))
    return plain._replace(**changes)


class Querier:
    """Another program of this machine that takes part in mDNS in one network."""

    def __init__(self, here: str, port: int = PORT) -> None:
        """`port` is another one, 0 for any, for a program that does not know mDNS."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((GROUP if port == PORT else here, port))
        self._socket.setsockopt(socket.IPPROTO_IP, 49, 0)  # IP_MULTICAST_ALL: only this network
        own = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton(here))
        if port == PORT:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, own)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(here))
        self._socket.setblocking(False)

    def send(self, message: DnsMessage | bytes) -> None:
        packet = message if isinstance(message, bytes) else write_message(message)
        self._socket.sendto(packet, (GROUP, PORT))

    async def receive(
        self, wanted: Callable[[DnsMessage], bool], seconds: float = 3.0
    ) -> DnsMessage | None:
        """The next message that is wanted, None when there is none in this time."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    message = read_message(await loop.sock_recv(self._socket, 9000))
                    if wanted(message):
                        return message
        return None

    def drain(self) -> None:
        """Forget what has arrived."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(9000)

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def querier(here: str, port: int = PORT) -> Iterator[Querier]:
    made = Querier(here, port)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def node_on(
    other: SecondMachine, folder: Path, document: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """A node on the other machine; gives its URL as seen from here, once it answers."""
    port = 4000
    laid = {
        "manage_containers": False,
        "server": {"host": "0.0.0.0", "port": port, "rate_limit": {"num_requests": 0}},
        "storage": {"path": str(folder / "other"), "min_free_bytes": 0},
        "discovery": {"enabled": True, "name": "pi-kitchen"},
        **(document or {}),
    }
    other.run("ip", "link", "set", "lo", "up")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "other.json"
    path.write_text(json.dumps(laid))
    path.chmod(0o600)
    command = [*other.within, sys.executable, "-m", "infernet_edge", "run", "--config", str(path)]
    with (folder / "other.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 60
        while "discovery.announced" not in (folder / "other.log").read_text():
            assert process.poll() is None, (folder / "other.log").read_text()
            assert time.monotonic() < end, (folder / "other.log").read_text()
            time.sleep(0.05)
        yield f"http://{other.address}:{port}"
    finally:
        process.terminate()
        process.wait(30)


class Avahi(NamedTuple):
    """A running avahi-daemon, and the commands that ask it."""

    within: tuple[str, ...]
    environment: dict[str, str]
    log: Path

    def browse(self) -> str:
        """What `avahi-browse -rpt _infernet._tcp` prints."""
        done = subprocess.run(
            [*self.within, "avahi-browse", "-rpt", "_infernet._tcp"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout

    @contextlib.contextmanager
    def publish(self, name: str, port: int, *texts: str) -> Iterator[None]:
        """Let Avahi announce a service within the block."""
        process = subprocess.Popen(
            [*self.within, "avahi-publish", "-s", name, "_infernet._tcp", str(port), *texts],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert "Established" in process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


@contextlib.contextmanager
def avahi(within: Sequence[str], folder: Path) -> Iterator[Avahi]:
    """A real avahi-daemon with a bus of its own, on the machine that `within` leads to."""
    for program in ("avahi-daemon", "avahi-browse", "avahi-publish", "dbus-daemon", "unshare"):
        need(program)
    folder.mkdir(parents=True, exist_ok=True)
    bus, log = folder / "bus", folder / "avahi.log"
    (folder / "bus.conf").write_text(_BUS.format(bus=bus))
    (folder / "avahi.conf").write_text(_AVAHI.format(host="avahi-test"))
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
    commands = (
        ("dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--nopidfile"),
        (*within, "unshare", "-m", "sh", "-c", _START.format(config=folder / "avahi.conf")),
    )
    with contextlib.ExitStack() as undone, log.open("w") as output:
        for command, ready in zip(commands, (bus.exists, _starts(log)), strict=True):
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
            undone.callback(process.wait, 10)
            undone.callback(process.terminate)
            end = time.monotonic() + 60
            while not ready():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
        yield Avahi(tuple(within), environment, log)


def _starts(log: Path) -> Callable[[], bool]:
    return lambda: "Server startup complete" in log.read_text()
