"""GET /api/containers, POST /api/containers/{id}/restart and /pull."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.event_stream import reading
from tests.support.managing import eventually
from tests.support.operating import item, managed, operator
from tests.support.podman import IsolatedPodman, Registry, need
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving


async def until(node: RunningNode, container: str = "echo", **expected: Any) -> dict[str, Any]:
    """Wait until the item of a container has these values."""
    async with asyncio.timeout(30):
        while True:
            found = await item(node, container)
            if expected.items() <= found.items():
                return found
            await asyncio.sleep(0.05)


# Without Podman


async def test_services_that_the_node_does_not_manage(tmp_path: Path) -> None:
    echo = Echo()
    async with serving(echo) as url:
        containers = [
            {"id": "echo", "url": url, "max_concurrency": 1, "env": {"KEY": "s3cret"}},
            {"id": "down", "url": "http://127.0.0.1:1/path"},
        ]
        async with running(tmp_path, {"containers": containers}) as node:
            await node.job(data={"hold": True})
            await eventually(lambda: echo.open == 1)
            await node.job()
            reply = await node.get("/api/containers")
            assert reply.status == 200
            assert "s3cret" not in str(reply.body)
            found, down = reply.body["items"]
            now = found.pop("since")
            assert isinstance(now, int)
            assert found == {
                "id": "echo",
                "state": "elsewhere",
                "reason": "",
                "next_start_at": None,
                "managed": False,
                "restarts": None,
                "slots": {"used": 1, "of": 1},
                "waiting": 1,
                "hour": {"done": 0, "failed": 0, "p50_ms": None},
                "cpu_percent": None,
                "memory": None,
                "memory_limit": None,
                "image": None,
                "digest": None,
                "new_digest": None,
                "pull": None,
                "pull_error": None,
                "url": url,
                "input_schema": None,
            }
            assert (down["state"], down["url"]) == ("failed", "http://127.0.0.1:1/path")
            assert "no answer from http://127.0.0.1:1/path" in down["reason"]
            echo.release()


@pytest.mark.parametrize(("every", "name"), [("0", "container.failed"), ("0.1", "containers")])
async def test_only_operators_read_paths_and_output_of_containers(
    tmp_path: Path, every: str, name: str
) -> None:
    """In each place: events as they happen and resumed ones, the list, the overview, jobs."""
    document = {
        "manage_containers": True,
        "podman": {"url": f"unix://{tmp_path}/none.sock"},
        "containers": [{"id": "echo", "image": "docker.io/library/echo:1"}],
        "startup_wait": 0,
    }
    secret = "it stopped, see /srv/x; its last output: s3cret"
    events = f"/api/events?types=container&every={every}"
    async with running(tmp_path, document) as node, operator(node) as client:
        await until(node, state="failed")
        (service,) = node.node.services.values()
        for reader, in_full in ((client, True), (node, False)):
            service.set_failed("no image")
            async with reading(reader.session, reader.url + events) as stream:
                before = (await stream.until("hello"))[-1].last_id
                service.set_failed(secret)
                texts = [(await stream.until(name))[-1].data]
            resumed = f"{reader.url}{events}&last_event_id={before}"
            async with reading(reader.session, resumed) as stream:
                texts.append((await stream.until(name))[-1].data)
            for path in ("/api/containers", "/api/overview"):
                body = (await reader.get(path)).body
                texts.append(str(body.get("items", body.get("containers"))))
            for text in texts:
                assert ("see /srv/x; its last output: s3cret" in text) == in_full, text
                assert ("see (path)." in text) != in_full, text
        result = await node.finished(await node.job())
        assert result["result"]["error"] == "Container is not running: it stopped, see (path)."


@pytest.mark.parametrize("action", ["restart", "pull"])
async def test_what_cannot_be_acted_on(tmp_path: Path, action: str) -> None:
    async with serving(Echo()) as url:
        containers = [{"id": "echo", "url": url}]
        async with running(tmp_path, {"containers": containers}) as node, operator(node) as client:
            path = f"/api/containers/echo/{action}"
            assert (await node.post(path, None)).status == 403
            reply = await client.post(path, None)
            assert reply.status == 409
            assert reply.body["error"] == "The node does not manage this container"
            for name in ("none", "%00", "x" * 1000):
                reply = await client.post(f"/api/containers/{name}/{action}", None)
                assert reply.status == 404
                assert reply.body["error"].startswith("No such container")
            assert (await client.get(path)).status == 405


async def test_without_podman_there_is_no_action(tmp_path: Path) -> None:
    document = {
        "manage_containers": True,
        "podman": {"url": f"unix://{tmp_path}/none.sock"},
        "containers": [{"id": "echo", "image": "docker.io/library/echo:1"}],
        "startup_wait": 0,
    }
    async with running(tmp_path, document) as node, operator(node) as client:
        found = await until(node, state="failed")
        assert "Check podman.url" in found["reason"]
        for action in ("restart", "pull"):
            reply = await client.post(f"/api/containers/echo/{action}", None)
            assert reply.status == 503
            assert "Check podman.url" in reply.body["error"]


# With Podman


@pytest.fixture
async def node(podman: IsolatedPodman, tmp_path: Path) -> AsyncIterator[RunningNode]:
    container = {
        "id": "echo",
        "image": podman.echo_image(),
        "memory": "512m",
        "max_concurrency": 2,
        "health_path": "/health",
    }
    async with running(tmp_path, managed(podman, container)) as running_node:
        await until(running_node, state="ready")
        yield running_node


async def test_what_a_container_uses(node: RunningNode) -> None:
    found = await item(node)
    assert (found["managed"], found["reason"], found["restarts"]) == (True, "", 0)
    assert 2**20 < found["memory"] < found["memory_limit"] == 512 * 2**20
    assert 0 <= found["cpu_percent"] < 400
    assert found["digest"].startswith("sha256:")
    assert found["image"].startswith("localhost/")
    assert (found["url"], found["next_start_at"]) == (None, None)


async def test_a_restart_runs_the_jobs_again(node: RunningNode, podman: IsolatedPodman) -> None:
    """Those that run are called again, those that wait lose nothing."""
    before = podman.containers()
    (created,) = [podman.inspect(name)["Id"] for name in before]
    jobs = [await node.job(data={"sleep": 2, "n": n}) for n in range(4)]
    await until(node, slots={"used": 2, "of": 2}, waiting=2)
    await asyncio.sleep(0.3)
    since = (await item(node))["since"]
    async with operator(node) as client:
        reply = await client.post("/api/containers/echo/restart", None)
    assert (reply.status, reply.body) == (202, {"id": "echo", "state": "starting"})
    found = await until(node, state="ready", restarts=1)
    assert found["since"] > since
    assert podman.containers() == before
    assert podman.inspect(before[0])["Id"] != created
    for number, job in enumerate(jobs):
        result = await node.finished(job)
        assert result["status"] == "success", result
        assert result["result"]["output"]["output"]["n"] == number
        detail = (await node.get(f"/api/jobs/{job}?detail=true")).body["detail"]
        assert detail["attempts"] == (2 if number < 2 else 1)


@pytest.mark.parametrize(
    ("jobs", "error"),
    [
        ({"max_attempts": 1}, "The container was restarted while the job was running, 1 times"),
        ({"on_restart": "fail"}, "The container was restarted while the job was running"),
    ],
)
async def test_a_restart_keeps_the_limit_of_attempts(
    podman: IsolatedPodman, tmp_path: Path, jobs: dict[str, Any], error: str
) -> None:
    document = managed(podman, {"id": "echo", "image": podman.echo_image(), "max_concurrency": 1})
    async with running(tmp_path, {**document, "jobs": jobs}) as node:
        interrupted = await node.job(data={"sleep": 5})
        waiting = await node.job()
        await until(node, slots={"used": 1, "of": 1}, waiting=1)
        await asyncio.sleep(0.3)
        async with operator(node) as client:
            assert (await client.post("/api/containers/echo/restart", None)).status == 202
        result = await node.finished(interrupted)
        assert result["result"]["error"] == error
        assert (await node.finished(waiting))["status"] == "success"


async def test_a_stream_says_that_its_container_was_restarted(node: RunningNode) -> None:
    body = {"containers": ["echo"], "data": {"sleep": 5}}
    streaming = asyncio.create_task(node.post("/api/jobs/stream", body))
    await until(node, slots={"used": 1, "of": 2})
    await asyncio.sleep(0.3)
    async with operator(node) as client:
        await client.post("/api/containers/echo/restart", None)
    reply = await streaming
    assert reply.status == 502
    assert reply.body["error"] == "The container was restarted while the job was running"


async def test_a_restart_ends_the_pause_after_crashes(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    data = tmp_path / "volume"
    data.mkdir()
    crashing = {
        "id": "echo",
        "image": podman.echo_image(),
        "command": "--need /data/file",
        "volumes": [f"{data}:/data"],
    }
    async with running(tmp_path, managed(podman, crashing) | {"startup_wait": 0}) as node:
        async with asyncio.timeout(60):
            while (found := await item(node))["next_start_at"] is None or found["restarts"] < 2:
                await asyncio.sleep(0.02)
        assert "exit code" in found["reason"]
        (data / "file").touch()
        async with operator(node) as client:
            assert (await client.post("/api/containers/echo/restart", None)).status == 202
        async with asyncio.timeout(10):
            await until(node, state="ready", next_start_at=None)


@pytest.fixture(scope="module")
def registry(
    session_podman: IsolatedPodman, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    need("docker-registry")
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        session_podman.allow_insecure_registry(registry.port)
        yield registry


def publish(
    podman: IsolatedPodman, registry: Registry, folder: Path, version: str, more: str = ""
) -> str:
    """Push a version of an image, and remove it here; returns its name."""
    name = f"{registry.address}/team/pulled:1"
    recipe = folder / "Containerfile"
    recipe.write_text(f"FROM {podman.echo_image()}\nENV VERSION={version}\n{more}")
    podman.run("build", "--pull=never", "--tag", f"{name}-new", "--file", str(recipe), str(folder))
    login = f"--creds={registry.username}:{registry.password}"
    podman.run("push", "--tls-verify=false", login, f"{name}-new", name)
    podman.run("rmi", f"{name}-new")
    return name


async def test_a_newer_image_is_used_by_a_restart(
    podman: IsolatedPodman, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = publish(podman, registry, tmp_path, "1")
    document = managed(podman, {"id": "echo", "image": name})
    document["docker"] = {
        "registry": registry.address,
        "username": registry.username,
        "password": registry.password,
    }
    async with running(tmp_path, document) as node, operator(node) as client:
        first = await until(node, state="ready")
        assert first["new_digest"] is None
        reply = await client.post("/api/containers/echo/pull", None)
        assert (reply.status, reply.body) == (202, {"id": "echo", "state": "ready"})
        await until(node, pull=None, new_digest=None, pull_error=None)
        publish(podman, registry, tmp_path, "2")
        published: list[str] = []
        publish_event = node.parts.events.publish

        def noted(name: str, *arguments: Any, **options: Any) -> None:
            published.append(name)
            publish_event(name, *arguments, **options)

        monkeypatch.setattr(node.parts.events, "publish", noted)
        for _ in range(3):  # the same pull
            assert (await client.post("/api/containers/echo/pull", None)).status == 202
        async with asyncio.timeout(30):
            while not (found := await item(node))["new_digest"]:
                assert found["state"] == "ready"
                assert found["pull"] is not None
                await asyncio.sleep(0.05)
        await until(node, pull=None)
        assert found["digest"] == first["digest"] != found["new_digest"]
        assert {"container.pulling", "container.pulled"} <= set(published)
        await client.post("/api/containers/echo/restart", None)
        after = await until(node, state="ready", digest=found["new_digest"], new_digest=None)
        assert after["restarts"] == 1
        shown = await node.finished(await node.job(data={"show": True}))
        assert shown["result"]["output"]["environment"]["VERSION"] == "2"


@contextlib.asynccontextmanager
async def slow(port: int, rate: float) -> AsyncIterator[int]:
    """A port from which a service's answers come slowly, with `rate` bytes in a second."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(2**16):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(len(piece) / rate if pause else 0)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, other, False), copy(other_reader, writer, True))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_the_progress_of_a_pull(
    podman: IsolatedPodman, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "ballast").write_bytes(os.urandom(24 * 2**20))
    name = publish(podman, registry, tmp_path, "4", "COPY ballast /ballast\n")
    async with slow(registry.port, 8 * 2**20) as port:
        podman.allow_insecure_registry(registry.port, port)
        name = name.replace(str(registry.port), str(port))
        podman.run("tag", podman.echo_image(), name)
        document = managed(podman, {"id": "echo", "image": name, "pull": "missing"})
        document["docker"] = {
            "registry": f"127.0.0.1:{port}",
            "username": registry.username,
            "password": registry.password,
        }
        async with running(tmp_path, document) as node, operator(node) as client:
            await until(node, state="ready")
            await client.post("/api/containers/echo/pull", None)
            seen = []
            async with asyncio.timeout(60):
                while not (found := await item(node))["new_digest"]:
                    if found["pull"] and found["pull"]["of"]:
                        seen.append(found["pull"]["bytes"])
                        assert found["pull"]["of"] > 24 * 2**20
                    await asyncio.sleep(0.1)
            assert found["pull"] is None
            assert len(set(seen)) >= 2
            assert seen == sorted(seen)


async def test_a_pull_ends_when_the_node_stops(
    podman: IsolatedPodman, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "ballast").write_bytes(os.urandom(8 * 2**20))
    name = publish(podman, registry, tmp_path, "5", "COPY ballast /ballast\n")
    async with slow(registry.port, 2**19) as port:
        podman.allow_insecure_registry(registry.port, port)
        name = name.replace(str(registry.port), str(port))
        podman.run("tag", podman.echo_image(), name)
        document = managed(podman, {"id": "echo", "image": name, "pull": "missing"})
        document["docker"] = {
            "registry": f"127.0.0.1:{port}",
            "username": registry.username,
            "password": registry.password,
        }
        async with running(tmp_path, document) as node, operator(node) as client:
            await until(node, state="ready")
            await client.post("/api/containers/echo/pull", None)
            async with asyncio.timeout(30):
                while not (await item(node))["pull"]:
                    await asyncio.sleep(0.05)
            async with asyncio.timeout(15):
                await node.node.stop()


async def test_a_pull_that_fails_says_why(
    podman: IsolatedPodman, registry: Registry, tmp_path: Path
) -> None:
    name = publish(podman, registry, tmp_path, "3")
    podman.run(
        "pull", "--tls-verify=false", f"--creds={registry.username}:{registry.password}", name
    )
    document = managed(podman, {"id": "echo", "image": name, "pull": "missing"})
    async with running(tmp_path, document) as node, operator(node) as client:
        await until(node, state="ready")
        assert (await client.post("/api/containers/echo/pull", None)).status == 202
        async with asyncio.timeout(30):
            while not (found := await item(node))["pull_error"]:
                await asyncio.sleep(0.05)
        assert "refuses it without a login" in found["pull_error"]
        assert found["state"] == "ready"
        assert (await node.finished(await node.job()))["status"] == "success"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"image": "docker.io/library/x:1", "pull": "never"}, 'its pull is "never"'),
        ({"image": "localhost/x:1"}, "was made on this machine"),
    ],
)
async def test_an_image_that_is_not_pulled(
    podman: IsolatedPodman, tmp_path: Path, settings: dict[str, Any], why: str
) -> None:
    document = managed(podman, {"id": "echo", **settings}) | {"startup_wait": 0}
    async with running(tmp_path, document) as node, operator(node) as client:
        await until(node, state="failed")
        reply = await client.post("/api/containers/echo/pull", None)
        assert reply.status == 409
        assert why in reply.body["error"]
