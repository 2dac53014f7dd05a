"""A machine with systemd and Podman and without Python: a Debian, booted in a container.

with Machine(podman, executable.file, tmp_path) as machine:
    machine.run("systemctl", "is-system-running")

What the test puts into `machine.shared` is in /root/shared there. The API's port 4000 of the
machine is `machine.url` here.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.locks import only_one
from tests.support.podman import ENTRYPOINT, IsolatedPodman, image_archive, need
from tests.support.ports import free_port
from tests.support.process import ROOT

ECHO_IMAGE = "localhost/echo:1"

_SUITE = "bookworm"  # Debian 12: systemd 252, Podman 4.3
_PACKAGES = (
    "systemd-sysv,dbus,systemd,podman,crun,netavark,aardvark-dns,iptables,catatonit,uidmap,"
    "slirp4netns,sqlite3,sudo,libpam-systemd"
)
# With cgroups of version 1, Podman lays the host's hierarchy of systemd over the container's own:
# the machine would move about in that of the host. And systemd leaves it to whoever makes a
# container to let mounts be seen by all its services, as its credentials are.
_BOOT = """
cd /
[ "$(grep -c ' /sys/fs/cgroup/systemd ' /proc/self/mountinfo)" -lt 2 ] ||
    umount --lazy /sys/fs/cgroup/systemd
mount --make-rshared /
chmod 666 /dev/net/tun
exec /sbin/init
"""


class Machine:
    """The machine; it runs as long as the block lasts."""

    def __init__(self, podman: IsolatedPodman, executable: Path, folder: Path) -> None:
        self._podman = podman
        self._executable = executable
        self._name = f"infernet-machine-{os.getpid()}"
        self.shared = folder
        self.port = free_port()

    def __enter__(self) -> Self:
        root = _debian()
        self._podman.run(
            *("run", "--detach", "--name", self._name, "--hostname", "machine"),
            *("--systemd=always", "--privileged", "--cgroupns=private"),
            *("--publish", f"127.0.0.1:{self.port}:4000", "--volume", "/var/lib/containers"),
            *("--volume", f"{self._executable}:/root/infernet-edge:ro"),
            *("--volume", f"{self.shared}:/root/shared:ro"),
            *("--rootfs", f"{root}:O", "/bin/sh", "-c", _BOOT),
        )
        try:
            self.wait_until(lambda: self.try_to_run("systemctl", "is-system-running")[0] == 0)
            with image_archive() as archive:
                command = ("podman", "import", "--quiet", "--change", *ENTRYPOINT, "-", ECHO_IMAGE)
                self._podman.run("exec", "--interactive", self._name, *command, stdin=archive)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._podman.run("rm", "--force", "--volumes", "--time=5", self._name)

    def try_to_run(self, *command: str, timeout: float = 120) -> tuple[int, str]:
        """Run a command as root; returns its exit code and all that it printed."""
        done = subprocess.run(
            ["podman", "exec", self._name, *command],
            env={**os.environ, **self._podman.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout.strip()

    def run(self, *command: str, timeout: float = 120) -> str:
        """Run a command that has to succeed; returns what it printed."""
        code, said = self.try_to_run(*command, timeout=timeout)
        assert code == 0, f"{command} ended with {code}:\n{said}\n{self.log()}"
        return said

    def shell(self, script: str) -> str:
        """Run lines of a shell that have to succeed."""
        return self.run("sh", "-euc", script)

    def has(self, path: str) -> bool:
        """Whether there is something at this path."""
        return self.try_to_run("test", "-e", path)[0] == 0

    def property(self, name: str) -> str:
        """What systemd says of the node's unit."""
        return self.run("systemctl", "show", "infernet-edge", f"--property={name}", "--value")

    def log(self) -> str:
        """The newest lines of the node's log."""
        return self.try_to_run("journalctl", "-u", "infernet-edge*", "-n", "60", "--no-pager")[1]

    def wait_until(self, true: Callable[[], bool], timeout: float = 60) -> None:
        """Wait for a condition; raises AssertionError with the log when it does not come."""
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def request(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        """Ask the node's API; returns status and decoded body. Status 0: there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        try:
            encoded = None if body is None else json.dumps(body)
            connection.request(method, path, encoded, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or "null")
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()

    def start_job(self, **data: Any) -> str:
        """Give the echo container a job with this data, as soon as it is ready; returns the id."""
        given: list[str] = []

        def accepted() -> bool:
            body = {"containers": ["echo"], "data": data}
            status, answer = self.request("POST", "/api/jobs", body)
            if status == 200:
                given.append(answer["id"])
            return status == 200

        self.wait_until(accepted)
        return given[0]

    def result_of(self, job: str) -> Any:
        """Wait for the end of a job; returns the data that came back."""
        found: list[Any] = []

        def finished() -> bool:
            status, answer = self.request("GET", f"/api/jobs?id={job}")
            found[:] = answer if status == 200 else []
            return bool(found) and found[0]["status"] in ("success", "failed")

        self.wait_until(finished, 60)
        assert found[0]["status"] == "success", f"{found[0]}\n{self.log()}"
        return found[0]["result"]["output"]["output"]


def _debian() -> Path:
    """The root of the machine, made once; some 30 seconds."""
    need("mmdebstrap")
    if os.getuid() != 0:
        message = "a machine with systemd and Podman inside needs root"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    recipe = hashlib.sha256(f"{_SUITE} {_PACKAGES}".encode()).hexdigest()[:12]
    root = ROOT / f".cache/tests/machine-{recipe}"
    with only_one(root.with_suffix(".lock")):
        if not root.exists():
            made = root.with_suffix(".part")
            shutil.rmtree(made, ignore_errors=True)
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}"]
            done = subprocess.run(
                [*command, _SUITE, str(made)],
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            made.rename(root)
    return root


@contextlib.contextmanager
def booted(executable: Path, folder: Path) -> Iterator[Machine]:
    """A machine in a Podman of its own."""
    need("podman")
    with IsolatedPodman() as podman, Machine(podman, executable, folder) as machine:
        yield machine
