"""Logins at registries: each is sent to one registry only, by real Podman."""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from infernet_edge.config.model import Registry as Login
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers.images.login import is_refusal, login_headers, remedy
from infernet_edge.containers.podman import Engine
from infernet_edge.errors import EngineError
from tests.support.events import listen
from tests.support.podman import IsolatedPodman, Registry, need
from tests.support.ports import free_port

PASSWORD = Registry.password
_NOBODY = "Basic Og=="  # what Podman sends without a login: an empty name and password
ENCODED = base64.b64encode(f"{Registry.username}:{PASSWORD}".encode()).decode()


def engine(podman: IsolatedPodman, registry: str, password: str = PASSWORD) -> Engine:
    login = Login(registry=registry, username=Registry.username, password=Secret(password))
    return Engine(podman.url, login)


def refusal(node: Engine, image: str) -> str:
    with pytest.raises(EngineError) as refused:
        node.pull(image, lambda text: None, threading.Event())
    text = str(refused.value)
    assert PASSWORD not in text
    assert ENCODED not in text
    return text


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def foreign_registry(status: int) -> Iterator[tuple[int, list[str]]]:
    """A registry that refuses everyone; its port, and the logins that it was sent."""
    sent: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", _NOBODY)
            if given != _NOBODY:
                sent.append(given)
            self.send_response(401 if status == 401 or self.path == "/v2/" else status)
            self.send_header("WWW-Authenticate", 'Basic realm="foreign"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with serving(Handler) as port:
        yield port, sent


@pytest.mark.parametrize("status", [401, 403])
def test_another_registry_is_not_sent_the_login(podman: IsolatedPodman, status: int) -> None:
    with foreign_registry(status) as (port, sent):
        podman.allow_insecure_registry(port)
        text = refusal(engine(podman, "docker.io"), f"127.0.0.1:{port}/team/x:1")
    assert sent == []
    assert "docker.username and docker.password belong to docker.io" in text
    assert f'set docker.registry = "127.0.0.1:{port}"' in text
    assert "podman login" in text


def test_a_mirror_is_not_sent_the_login(podman: IsolatedPodman, tmp_path: Path) -> None:
    need("docker-registry")
    with Registry(tmp_path) as registry, foreign_registry(401) as (port, sent):
        mirror = f'[[registry.mirror]]\nlocation = "127.0.0.1:{port}"\ninsecure = true\n'
        podman.allow_insecure_registry(registry.port, more=mirror)
        image = podman.echo_image(f"{registry.address}/team/echo:1")
        podman.run("push", "--tls-verify=false", f"--creds={registry.username}:{PASSWORD}", image)
        podman.run("rmi", image)
        node = engine(podman, registry.address)
        assert node.pull(image, lambda text: None, threading.Event()).id
        podman.run("rmi", image)
    assert sent == []


def test_other_registries_by_podmans_own_logins(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/containers.md says."""
    need("docker-registry")
    with Registry(tmp_path) as registry:
        podman.allow_insecure_registry(registry.port)
        image = podman.echo_image(f"{registry.address}/team/echo:1")
        login = f"--creds={registry.username}:{PASSWORD}"
        podman.run("push", "--tls-verify=false", login, image)
        podman.run("rmi", image)
        node = engine(podman, "docker.io", "the password of docker.io")
        assert "belong to docker.io" in refusal(node, image)
        # Where the service of Podman reads them: below the home of its user.
        monkeypatch.setitem(podman.environment, "HOME", str(tmp_path))
        podman.allow_insecure_registry(registry.port)
        auth = tmp_path / ".config/containers/auth.json"
        flags = ("--username", registry.username, "--password", PASSWORD, "--tls-verify=false")
        podman.run("login", "--authfile", str(auth), *flags, registry.address)
        try:
            assert node.pull(image, lambda text: None, threading.Event()).id
        finally:
            monkeypatch.undo()
            podman.allow_insecure_registry(registry.port)
        podman.run("rmi", image)


@contextmanager
def public_registry(registry: Registry) -> Iterator[int]:
    """Like Docker Hub: images are public, and a wrong login is refused; its port."""
    right = {"Authorization": f"Basic {ENCODED}"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            request = Request(f"http://{registry.address}{self.path}", headers=right)
            request.add_header("Accept", self.headers.get("Accept", "*/*"))
            if self.path == "/v2/" or self.headers.get("Authorization", _NOBODY) != _NOBODY:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="public"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            with urlopen(request, timeout=10) as answer:
                body = answer.read()
                self.send_response(answer.status)
                for name in ("Content-Type", "Docker-Content-Digest"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with serving(Handler) as port:
        yield port


def test_a_public_image_is_pulled_although_the_login_is_wrong(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    """Many configurations of the reference node have "username" and "password"."""
    need("docker-registry")
    with Registry(tmp_path) as registry, public_registry(registry) as port:
        podman.allow_insecure_registry(registry.port, port)
        pushed = podman.echo_image(f"{registry.address}/team/echo:1")
        login = f"--creds={registry.username}:{PASSWORD}"
        podman.run("push", "--tls-verify=false", login, pushed)
        podman.run("rmi", pushed)
        image = f"127.0.0.1:{port}/team/echo:1"
        node = engine(podman, f"127.0.0.1:{port}", "password")
        with listen("infernet_edge.containers") as events:
            assert node.pull(image, lambda text: None, threading.Event()).id
        [event] = events.of("image.login_refused")
        assert event["image"] == image
        assert "refuses docker.username and docker.password" in event["reason"]
        podman.run("rmi", image)


def test_the_password_is_in_no_command_line_and_no_file(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    """While a registry lets Podman wait."""
    password = secrets.token_hex(16)  # other tests of this machine have the usual one in theirs
    encoded = base64.b64encode(f"{Registry.username}:{password}".encode()).decode()
    with foreign_registry(401) as (port, sent):
        podman.allow_insecure_registry(port)
        address = f"127.0.0.1:{port}"
        text = refusal(engine(podman, address, password), f"{address}/team/x:1")
    assert f"{address} refuses docker.username" in text
    assert password not in text
    assert encoded not in text
    assert set(sent) == {f"Basic {encoded}"}
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes()
        except OSError:
            continue
        assert password.encode() not in words
        assert encoded.encode() not in words
    folder = Path(podman.environment["TMPDIR"])
    for file in folder.glob("*"):
        if file.is_file() and file.name != "auth.json":
            content = file.read_bytes()
            assert password.encode() not in content
            assert encoded.encode() not in content


def test_headers_only_for_the_registry_of_the_login() -> None:
    login = Login(username="me", password=Secret("secret"))
    for image in ("alpine", "you/llm:1", "docker.io/you/llm", "index.docker.io/you/llm"):
        assert login_headers(login, image), image
    for image in ("ghcr.io/you/llm", "localhost/x", f"127.0.0.1:{free_port()}/x", "docker.io.x/y"):
        assert not login_headers(login, image), image
    assert not login_headers(Login(username="me"), "alpine")
    assert not login_headers(Login(password=Secret("x")), "alpine")


@pytest.mark.parametrize(
    "error",
    [
        "initializing source docker://a: reading manifest 1: unauthorized: authentication required",
        "Error: requested access to the resource is denied",
        "unable to retrieve auth token: invalid username/password: unauthorized: incorrect",
        "denied: requested access to the resource is denied",
        "reading manifest 1 in a/b: received unexpected HTTP status: 403 Forbidden",
        "pinging container registry a: StatusCode: 403, ...: status code 403",
    ],
)
def test_texts_of_refusals(error: str) -> None:
    assert is_refusal(error)


@pytest.mark.parametrize(
    "error",
    [
        "open /var/lib/containers: permission denied",
        "manifest unknown",
        "dial tcp 127.0.0.1:401: connection refused",
        "no space left on device",
    ],
)
def test_texts_of_other_errors(error: str) -> None:
    assert not is_refusal(error)


def test_what_to_do_without_a_login() -> None:
    text = remedy(Login(), "ghcr.io/you/llm:1")
    assert "ghcr.io refuses it without a login" in text
    assert 'docker.registry = "ghcr.io"' in text
    assert "docker.registry" not in remedy(Login(), "you/llm")
