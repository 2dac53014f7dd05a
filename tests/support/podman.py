"""Real Podman for tests, apart from the user's: storage, networks and images of its own.

with IsolatedPodman() as podman:
    image = podman.echo_image()
    config = {"podman": {"url": podman.url}, "containers": [{"id": "echo", "image": image}]}

A test that lets the node start Podman by itself gives it `podman.environment`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.locks import own_number
from tests.support.ports import free_port

__all__ = ["ENTRYPOINT", "IsolatedPodman", "Registry", "image_archive", "need"]

SERVICE = Path(__file__).with_name("container_service.py")
ECHO_IMAGE = "localhost/infernet-test/echo:1"

_PLAIN = """
[engine]
tmp_dir = "{folder}/tmp"
events_logger = "file"
{engine}
[network]
network_config_dir = "{folder}/networks"
{network}
"""

# What Podman needs where there is no systemd, no right to raise limits, and cgroups of version 1.
_BARE_ENGINE = """
runtime = "runc"
cgroup_manager = "cgroupfs"
"""
_BARE_NETWORK = """
network_backend = "netavark"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""

_STORAGE = """
[storage]
driver = "{driver}"
runroot = "{folder}/run"
graphroot = "{folder}/graph"
"""

_REGISTRIES = """
[[registry]]
location = "127.0.0.1:{port}"
insecure = true
"""


def need(program: str, setup: str = "tests/setup") -> None:
    """Skip the test when a program is missing, which `setup` installs; with CI=true fail."""
    if shutil.which(program) is None:
        message = f"{program} is not installed; {setup} installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def podman_environment(folder: Path, number: int = 0) -> dict[str, str]:
    """Configure a Podman whose files are all in `folder`; returns the variables that say so.

    The path must be short, since Podman makes sockets there. `number` (to 255) tells the network
    from those of others that run at the same time: 10.231.NUMBER.0/24. Raises AssertionError when
    Podman cannot run a container in any way known here.
    """
    environment = {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
        "TMPDIR": str(folder),
    }
    (folder / "registries.conf").write_text("")
    (folder / "auth.json").write_text("{}")
    attempts = []
    for driver in ("overlay", "vfs"):
        for engine, network in (("", ""), (_BARE_ENGINE, _BARE_NETWORK)):
            (folder / "storage.conf").write_text(_STORAGE.format(driver=driver, folder=folder))
            (folder / "containers.conf").write_text(
                _PLAIN.format(folder=folder, engine=engine, network=network)
            )
            trouble = _try_to_run(environment, folder, number)
            if not trouble:
                return environment
            attempts.append(trouble)
            _clear(environment, folder)
    raise AssertionError("Podman runs no container here:\n" + "\n".join(attempts))


def _try_to_run(environment: Mapping[str, str], folder: Path, number: int) -> str:
    try:
        with image_archive() as archive:
            podman(environment, "import", "-", ECHO_IMAGE, stdin=archive, changes=ENTRYPOINT)
        if os.getuid() == 0:
            _use_a_network_of_its_own(environment, folder, number)
        publish = f"127.0.0.1:{free_port()}:3000"
        podman(environment, "run", "--rm", "-p", publish, ECHO_IMAGE, "--crash", "0")
    except AssertionError as error:
        return str(error)
    return ""


def _use_a_network_of_its_own(environment: Mapping[str, str], folder: Path, number: int) -> None:
    """Leave the default network alone.

    The firewall rules of a network bear its name, and go when one Podman's last container leaves
    it, even if another Podman on this machine has containers in a network of the same name.
    """
    name, bridge = f"infernet-test-{number}", f"ietest{number}"
    # Tests that were killed leave it, and nobody else has this number now.
    subprocess.run(["ip", "link", "delete", bridge], capture_output=True, timeout=30, check=False)
    _remove_forwarded_ports(name)
    subnet = f"10.231.{number}.0/24"
    podman(environment, "network", "create", "--disable-dns", "--subnet", subnet, name)
    description = folder / "networks" / f"{name}.json"
    if description.exists():  # netavark's; the same holds for the bridge
        network = json.loads(description.read_text())
        network["network_interface"] = bridge
        description.write_text(json.dumps(network))
    conf = folder / "containers.conf"
    default = f'[network]\ndefault_network = "{name}"\n'
    conf.write_text(conf.read_text().replace("[network]\n", default))


def _remove_forwarded_ports(network: str) -> None:
    """Remove the rules that forward ports to containers of a network, which has none now.

    A Podman that is killed leaves them, and whoever listens on such a port later gets no client.
    """
    if shutil.which("iptables") is None:
        return
    iptables = ["iptables", "--wait", "--table", "nat"]
    listed = subprocess.run(
        [*iptables, "--list-rules"], capture_output=True, text=True, timeout=30, check=False
    )
    for line in listed.stdout.splitlines():
        if f'"dnat name: {network} id: ' in line:
            _, *rule = shlex.split(line)
            for command in (["--delete", *rule], ["--flush", rule[-1]]):
                subprocess.run([*iptables, *command], timeout=30, check=True)


ENTRYPOINT = ('ENTRYPOINT ["/python", "-I", "/service.py"]',)


def podman(
    environment: Mapping[str, str],
    *arguments: str,
    stdin: Any = None,
    changes: Iterable[str] = (),
    timeout: float = 90,
) -> str:
    """Run a podman command and return what it prints; raises AssertionError when it fails."""
    command = ["podman", *arguments[:1]]
    for change in changes:
        command += ["--change", change]
    done = subprocess.run(
        [*command, *arguments[1:]],
        env={**os.environ, **environment},
        stdin=stdin or subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command} {arguments}: {done.stderr}"
    return done.stdout.strip()


class IsolatedPodman:
    """A Podman of the tests' own, with its API at `url` as long as the block lasts."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ie-"))
        self.socket = self.folder / "podman.sock"
        self.url = f"unix://{self.socket}"
        self._held = contextlib.ExitStack()
        self._number = self._held.enter_context(own_number("network", 256))
        self.subnet = f"10.231.{self._number}.0/24"
        self.environment: dict[str, str] = {}
        self._service: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.environment = podman_environment(self.folder, self._number)
            self.start_service()
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
        self.kill_service()
        if self.environment:
            _clear(self.environment, self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._held.close()

    def run(self, *arguments: str, **options: Any) -> str:
        """Run a podman command and return what it prints."""
        return podman(self.environment, *arguments, **options)

    def inspect(self, container: str) -> dict[str, Any]:
        """All that Podman says of a container."""
        found: list[dict[str, Any]] = json.loads(self.run("container", "inspect", container))
        return found[0]

    def containers(self, *filters: str) -> list[str]:
        """The names of the containers that there are, running or not."""
        wanted = [argument for each in filters for argument in ("--filter", each)]
        return self.run("ps", "--all", "--format", "{{.Names}}", *wanted).split()

    def start_service(self) -> None:
        """Start the API, unless it runs."""
        if self._service is not None and self._service.poll() is None:
            return
        self.socket.unlink(missing_ok=True)
        with (self.folder / "service.log").open("ab") as log:
            self._service = subprocess.Popen(
                ["podman", "system", "service", "--time=0", self.url],
                env={**os.environ, **self.environment},
                cwd=self.folder,  # conmon leaves files there
                stdin=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not _listens(self.socket):
            assert time.monotonic() < deadline, (self.folder / "service.log").read_text()
            time.sleep(0.02)

    def kill_service(self) -> None:
        """Kill the API; containers run on."""
        if self._service is not None:
            # Without root, it runs itself once more in a user namespace: both are to go.
            os.killpg(self._service.pid, signal.SIGKILL)
            self._service.wait(10)
            self._service = None

    def end_service(self) -> None:
        """Ask the API to end, as systemd does; it takes no connections any more."""
        assert self._service is not None
        self._service.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        while _listens(self.socket):
            assert time.monotonic() < deadline, "still listening"
            time.sleep(0.02)

    def remove_containers(self) -> None:
        """Remove all containers, and what a Podman that was killed left of them."""
        self.run("rm", "--all", "--force", "--time=0")
        if os.getuid() == 0:
            _remove_forwarded_ports(f"infernet-test-{self._number}")

    def echo_image(self, name: str = ECHO_IMAGE) -> str:
        """The image of the echo service, see container_service.py; returns its name."""
        if name != ECHO_IMAGE:
            self.run("tag", ECHO_IMAGE, name)
        return name

    def allow_insecure_registry(self, *ports: int, more: str = "") -> None:
        """Pull from 127.0.0.1:port without TLS. The API reads this when it starts.

        `more` is the end of registries.conf, containers-registries.conf(5).
        """
        text = "".join(_REGISTRIES.format(port=port) for port in ports)
        Path(self.environment["CONTAINERS_REGISTRIES_CONF"]).write_text(text + more)
        self.kill_service()
        self.start_service()


class Registry:
    """Debian's docker-registry on 127.0.0.1, with a password."""

    username = "edge"
    password = "s3cret-pass"
    # bcrypt of the password; Python's standard library will soon have none to make it.
    _line = f"{username}:$2b$04$s7UAvEatmFRN41Rg7ttKXuY9o7T91fY9Z1r9Mdw8qCI3ZUwgdnA22\n"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        (self._folder / "htpasswd").write_text(self._line)
        settings = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self._folder / "images")}},
            "http": {"addr": self.address},
            "auth": {"htpasswd": {"realm": "t", "path": str(self._folder / "htpasswd")}},
        }
        path = self._folder / "registry.json"  # JSON is YAML
        path.write_text(json.dumps(settings))
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not _connects(self.port):
            assert time.monotonic() < deadline, "docker-registry does not answer"
            time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


def _clear(environment: Mapping[str, str], folder: Path) -> None:
    for arguments in (("rm", "--all", "--force", "--time=0"), ("rmi", "--all", "--force")):
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            podman(environment, *arguments)
    for name in ("graph", "run", "tmp", "networks"):
        # Without root, files in layers belong to other users of the user namespace.
        remove = ["rm", "-rf", "--", str(folder / name)]
        if os.getuid() != 0:
            remove = ["podman", "unshare", *remove]
        _run_anyway(environment, remove)
    if os.getuid() != 0:
        # Ends the process that keeps the user namespace.
        _run_anyway(environment, ["podman", "system", "migrate"])


def _run_anyway(environment: Mapping[str, str], command: list[str]) -> None:
    subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, timeout=60, check=False
    )


@contextlib.contextmanager
def image_archive() -> Iterator[Any]:
    """A tar archive of Python, what it needs, and the service."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for source, target in _python_files():
                archive.add(Path(source).resolve(), target, filter=_without_ballast)
            archive.add(SERVICE, "service.py")
            for name in ("tmp", "etc"):
                directory = tarfile.TarInfo(name)
                directory.type, directory.mode = tarfile.DIRTYPE, 0o1777
                archive.addfile(directory, io.BytesIO())
        file.seek(0)
        yield file


@functools.cache
def _python_files() -> list[tuple[str, str]]:
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    library = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    binaries = [python, *map(str, Path(library, "lib-dynload").glob("*.so"))]
    shown = subprocess.run(
        ["ldd", *binaries], capture_output=True, text=True, check=True
    ).stdout.split()
    libraries = sorted({word for word in shown if word.startswith("/") and ".so" in word})
    libraries = [path.rstrip(":") for path in libraries if "lib-dynload" not in path]
    files = [(path, path.lstrip("/")) for path in libraries]
    return [*files, (library, library.lstrip("/")), (python, "python")]


def _without_ballast(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    unwanted = ("test", "idlelib", "tkinter", "ensurepip", "dist-packages", "site-packages")
    parts = member.name.split("/")
    return None if any(name in parts for name in unwanted) or "config-3" in member.name else member


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as attempt:
        return attempt.connect_ex(str(path)) == 0


def _connects(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex(("127.0.0.1", port)) == 0
