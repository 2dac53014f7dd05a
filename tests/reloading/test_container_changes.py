"""Containers that a reload adds, changes and removes, without interrupting jobs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infernet_edge.reloading import container_changes
from tests.support.managing import eventually
from tests.support.operating import item, managed
from tests.support.podman import IsolatedPodman, Registry, need
from tests.support.ports import free_port
from tests.support.reloading import Reloadable, reloadable
from tests.support.serving import Echo, serving

HOLD = {"hold": True}

# Services that the node does not manage


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[Reloadable]:
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url, "max_concurrency": 1}]}
        async with reloadable(tmp_path, document) as running:
            running.echo = echo
            yield running
            echo.release()


def only(node: Reloadable, **changes: Any) -> list[dict[str, Any]]:
    """The first container with these changes."""
    return [{**node.document["containers"][0], **changes}]


async def test_a_removed_container_ends_its_jobs(node: Reloadable, echo: Echo) -> None:
    running = await node.job(data=HOLD)
    await eventually(lambda: echo.open == 1)
    waiting = [await node.job() for _ in range(20)]
    chain = await node.job(["echo", "echo"], HOLD)
    stream = asyncio.create_task(
        node.post("/api/jobs/stream", {"containers": ["echo"], "data": {}})
    )
    await eventually(lambda: len(node.parts.store.pending) == 23)
    report = await node.reload(containers=[])
    assert report["applied"] == ["containers[echo]"]
    assert (await node.get("/api/containers")).body == {"items": []}
    assert (await node.get("/info")).body["containers"] == []
    for job in [*waiting, chain]:
        result = await node.finished(job)
        assert result["result"]["error"] == "A container of the job is no longer configured"
    with pytest.raises(aiohttp.ClientPayloadError):  # it had its id already
        await stream
    assert (await node.result(running))["status"] == "running"
    echo.release()
    assert (await node.finished(running))["status"] == "success"
    refused = await node.post("/api/jobs", {"containers": ["echo"], "data": {}})
    assert (refused.status, refused.body["error"]) == (405, "Container not supported")


async def test_the_next_container_of_a_chain_is_removed(node: Reloadable, echo: Echo) -> None:
    both = [*only(node), {**only(node)[0], "id": "second"}]
    await node.reload(containers=both)
    chain = await node.job(["echo", "second"], HOLD)
    await eventually(lambda: echo.open == 1)
    await node.reload(containers=both[:1])
    echo.release()
    result = await node.finished(chain)
    assert result["result"]["error"] == "A container of the job is no longer configured"


async def test_a_container_that_comes_back(node: Reloadable, echo: Echo) -> None:
    containers = node.document["containers"]
    running = await node.job(data=HOLD)
    await eventually(lambda: echo.open == 1)
    await node.reload(containers=[])
    await node.reload(containers=containers)
    later = await node.job(data={"n": 1})
    assert (await node.finished(later))["status"] == "success"
    assert (await node.result(running))["status"] == "running"
    echo.release()
    assert (await node.finished(running))["status"] == "success"


async def test_more_slots_at_once_and_fewer_when_jobs_end(node: Reloadable, echo: Echo) -> None:
    jobs = [await node.job(data=HOLD) for _ in range(4)]
    await eventually(lambda: echo.open == 1)
    await node.reload(containers=only(node, max_concurrency=3))
    await eventually(lambda: echo.open == 3)
    assert (await item(node))["slots"] == {"used": 3, "of": 3}
    await node.reload(containers=only(node, max_concurrency=1))
    assert (await item(node))["slots"] == {"used": 3, "of": 1}
    echo.release()
    for job in jobs:
        assert (await node.finished(job))["status"] == "success"
    assert (await item(node))["slots"] == {"used": 0, "of": 1}


async def test_rules_and_times_apply_at_once(node: Reloadable, echo: Echo) -> None:
    await node.reload(containers=only(node, external=False, description="new", timeout=0.3))
    assert (await node.post("/api/jobs", {"containers": ["echo"], "data": {}})).status == 405
    (shown,) = (await node.get("/info")).body["containers"]
    assert (shown["external"], shown["description"]) == (False, "new")
    await node.reload(containers=only(node, external=True))
    result = await node.finished(await node.job(data=HOLD))
    assert result["result"]["error"] == "Container did not answer within 0.3 s"


async def test_another_url(node: Reloadable) -> None:
    other = Echo()
    async with serving(other) as url:
        await node.reload(containers=only(node, url=f"{url}/other"))
        await eventually(lambda: node.node.services["echo"].base_url == f"{url}/other")
        result = await node.finished(await node.job())
        assert result["result"]["output"]["by"] == "/other"
        await node.reload(containers=only(node, url="http://127.0.0.1:1"))
        async with asyncio.timeout(10):
            while (await item(node))["state"] != "failed":
                await asyncio.sleep(0.05)


async def test_several_urls_change_at_the_same_time(
    node: Reloadable, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is probed again, by one task, also when another reload follows at once."""
    (first,) = node.document["containers"]
    for path in ("/a", "/b"):
        several = [{**first, "id": f"echo{n}", "url": first["url"] + path} for n in range(4)]
        await node.reload(containers=several)
    for path in ("/c", "/d"):
        several = [{**each, "url": first["url"] + path} for each in several]
        await node.reload(containers=several)
    services = node.node.services.values()
    await eventually(lambda: all(each.base_url.endswith("/d") and each.is_up for each in services))
    crashed = [record for record in caplog.records if "crashed" in record.message]
    assert crashed == []


async def test_numbers_after_a_removal(node: Reloadable, echo: Echo) -> None:
    """The metrics have only configured containers: else an alert would last until a restart."""
    await node.finished(await node.job())
    running = await node.job(data=HOLD)
    await eventually(lambda: echo.open == 1)
    others = [{**node.document["containers"][0], "id": "other"}]
    await node.reload(containers=others)
    jobs = (await node.get("/api/overview")).body["jobs"]
    assert (jobs["running"], jobs["waiting"]) == (1, 0)
    text = (await node.get("/metrics")).body.decode()
    assert 'container="echo"' not in text
    assert 'container_up{container="other"} 1' in text
    assert 'jobs_total{container="*",outcome="success"} 1' in text
    echo.release()
    assert (await node.finished(running))["status"] == "success"
    text = (await node.get("/metrics")).body.decode()
    assert 'jobs_total{container="*",outcome="success"} 2' in text


async def test_the_order_is_that_of_the_configuration(node: Reloadable) -> None:
    one = only(node)[0]
    names = ["b", "echo", "a"]
    report = await node.reload(containers=[{**one, "id": name} for name in names])
    assert report["applied"] == ["containers[b]", "containers[a]"]
    items = (await node.get("/api/containers")).body["items"]
    assert [each["id"] for each in items] == names
    report = await node.reload(containers=[{**one, "id": name} for name in sorted(names)])
    assert report["applied"] == ["containers"]
    items = (await node.get("/api/containers")).body["items"]
    assert [each["id"] for each in items] == sorted(names)


# With Podman


def document(podman: IsolatedPodman, **settings: Any) -> dict[str, Any]:
    echo = {"id": "echo", "image": podman.echo_image(), "max_concurrency": 2}
    return managed(podman, {**echo, **settings})


async def release(podman: IsolatedPodman) -> None:
    """Let the jobs end that hold in the containers that there are."""
    code = "open('/tmp/go', 'w').close()"
    for name in await asyncio.to_thread(podman.containers):
        with contextlib.suppress(AssertionError):  # it may be replaced before the command has ended
            await asyncio.to_thread(podman.run, "exec", name, "/python", "-I", "-c", code)


async def ready(node: Reloadable, container: str = "echo") -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (found := await item(node, container))["state"] != "ready":
            await asyncio.sleep(0.05)
    return found


async def environment(node: Reloadable) -> dict[str, str]:
    result = await node.finished(await node.job(data={"show": True}))
    return dict(result["result"]["output"]["environment"])


async def test_containers_are_added_and_removed(podman: IsolatedPodman, tmp_path: Path) -> None:
    async with reloadable(tmp_path, managed(podman)) as node:
        containers = document(podman)["containers"]
        report = await node.reload(containers=containers)
        assert report["applied"] == ["containers[echo]"]
        early = await node.job()  # it waits for the container
        await ready(node)
        assert (await node.finished(early))["status"] == "success"
        second = {"id": "second", "image": podman.echo_image(), "port": free_port()}
        await node.reload(containers=[*containers, second])
        await ready(node, "second")
        assert len(podman.containers()) == 2
        job = await node.job(data=HOLD)
        await eventually(lambda: node.node.services["echo"].in_call == 1)
        await node.reload(containers=[second])
        await release(podman)
        assert (await node.finished(job))["status"] == "success"
        async with asyncio.timeout(60):
            while len(await asyncio.to_thread(podman.containers)) != 1:
                await asyncio.sleep(0.1)
        assert (await node.finished(await node.job(["second"])))["status"] == "success"


async def test_a_changed_container_is_replaced_when_its_jobs_have_ended(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    async with reloadable(tmp_path, document(podman)) as node:
        await ready(node)
        jobs = [await node.job(data=HOLD | {"show": True}) for _ in range(2)]
        await eventually(lambda: node.node.services["echo"].in_call == 2)
        before = podman.inspect(podman.containers()[0])["Id"]
        waiting = [await node.job(data={"show": True}) for _ in range(5)]
        report = await node.reload(containers=only(node, env={"VERSION": "2"}, timeout=99))
        assert report["applied"] == ["containers[echo].env", "containers[echo].timeout"]
        assert podman.inspect(podman.containers()[0])["Id"] == before
        await release(podman)
        for job in jobs:
            result = await node.finished(job)
            assert result["status"] == "success"
            assert "VERSION" not in result["result"]["output"]["environment"]
        for job in waiting:
            result = await node.finished(job)
            assert result["result"]["output"]["environment"]["VERSION"] == "2"
        assert podman.inspect(podman.containers()[0])["Id"] != before
        details = [
            (await node.get(f"/api/jobs/{job}?detail=true")).body["detail"]["attempts"]
            for job in [*jobs, *waiting]
        ]
        assert details == [1] * 7
        # An idle one is replaced at once.
        await node.reload(containers=only(node, env={"VERSION": "3"}))
        assert (await environment(node))["VERSION"] == "3"


async def test_the_latest_of_several_changes_counts(podman: IsolatedPodman, tmp_path: Path) -> None:
    async with reloadable(tmp_path, document(podman)) as node:
        await ready(node)
        job = await node.job(data=HOLD)
        await eventually(lambda: node.node.services["echo"].in_call == 1)
        for version in "234":
            await node.reload(containers=only(node, env={"VERSION": version}))
        await node.reload(containers=only(node, env={"VERSION": "4"}, max_concurrency=1))
        await node.reload(containers=only(node, env={"VERSION": "5"}, max_concurrency=1))
        await release(podman)
        assert (await environment(node))["VERSION"] == "5"
        assert (await node.finished(job))["status"] == "success"
        found = await ready(node)
        assert (found["restarts"], found["slots"]["of"]) == (1, 1)


async def test_a_container_comes_back_while_it_has_a_job(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    """It serves jobs at once: it was never stopped. One with changes is replaced, as always."""
    async with reloadable(tmp_path, document(podman)) as node:
        await ready(node)
        containers = node.document["containers"]
        before = podman.inspect(podman.containers()[0])["Id"]
        job = await node.job(data=HOLD | {"show": True})
        await eventually(lambda: node.node.services["echo"].in_call == 1)
        for _ in range(2):
            await node.reload(containers=[])
            await node.reload(containers=containers)
        assert (await node.finished(await node.job()))["status"] == "success"
        assert (await item(node))["reason"] == ""
        assert (await node.result(job))["status"] == "running"
        await node.reload(containers=[])
        await node.reload(containers=[{**containers[0], "env": {"VERSION": "2"}}])
        await release(podman)
        result = await node.finished(job)
        assert result["status"] == "success"
        assert "VERSION" not in result["result"]["output"]["environment"]
        assert (await environment(node))["VERSION"] == "2"
        assert podman.inspect(podman.containers()[0])["Id"] != before
        await node.reload(containers=[])
        async with asyncio.timeout(60):
            while await asyncio.to_thread(podman.containers):
                await asyncio.sleep(0.1)
        await node.reload(containers=containers)
        await ready(node)


async def test_other_variables_in_the_same_env_file(
    podman: IsolatedPodman, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "echo.env"
    file.write_text("KEY=first-s3cret\n")
    async with reloadable(tmp_path, document(podman, env_file=str(file))) as node:
        await ready(node)
        assert (await environment(node))["KEY"] == "first-s3cret"
        file.write_text("# a comment\nKEY=first-s3cret\n")
        assert (await node.reload())["applied"] == []
        job = await node.job(data=HOLD | {"show": True})
        await eventually(lambda: node.node.services["echo"].in_call == 1)
        file.write_text("KEY=second-s3cret\n")
        assert (await node.reload())["applied"] == ["containers[echo].env_file"]
        await release(podman)
        assert (await environment(node))["KEY"] == "second-s3cret"
        result = await node.finished(job)
        assert result["result"]["output"]["environment"]["KEY"] == "first-s3cret"
        assert (await node.reload())["applied"] == []
        file.unlink()
        (problem,) = (await node.reload())["problems"]
        assert "env_file" in problem
        assert (await environment(node))["KEY"] == "second-s3cret"
    assert "s3cret" not in caplog.text


async def test_jobs_are_not_waited_for_without_end(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_changes, "DRAIN_TIME", 0.5)
    async with reloadable(tmp_path, document(podman)) as node:
        await ready(node)
        job = await node.job(data=HOLD | {"show": True})
        await eventually(lambda: node.node.services["echo"].in_call == 1)
        await node.reload(containers=only(node, env={"VERSION": "2"}))
        assert (await environment(node))["VERSION"] == "2"
        await release(podman)
        result = await node.finished(job)
        assert result["result"]["output"]["environment"]["VERSION"] == "2"


async def test_a_wrong_image_is_corrected_at_once(podman: IsolatedPodman, tmp_path: Path) -> None:
    wrong = document(podman, image="localhost/none:1") | {"startup_wait": 0}
    async with reloadable(tmp_path, wrong) as node:
        async with asyncio.timeout(60):
            while (await item(node))["state"] != "failed":
                await asyncio.sleep(0.05)
        await node.reload(containers=only(node, image=podman.echo_image()))
        async with asyncio.timeout(10):
            await ready(node)
        assert (await node.finished(await node.job()))["status"] == "success"


async def test_from_managed_to_a_url_and_back(podman: IsolatedPodman, tmp_path: Path) -> None:
    other = Echo()
    async with (
        serving(other) as url,
        reloadable(tmp_path, document(podman)) as node,
    ):
        await ready(node)
        containers = node.document["containers"]
        await node.reload(containers=[{"id": "echo", "url": f"{url}/other"}])
        async with asyncio.timeout(60):
            while (await item(node))["state"] != "elsewhere":
                await asyncio.sleep(0.05)
        result = await node.finished(await node.job())
        assert result["result"]["output"]["by"] == "/other"
        assert podman.containers() == []
        await node.reload(containers=containers)
        async with asyncio.timeout(60):
            while not (await item(node))["managed"]:
                await asyncio.sleep(0.05)
        await ready(node)
        assert (await node.finished(await node.job()))["result"]["output"]["echo"] is True


async def test_a_login_is_used_by_the_next_pull(podman: IsolatedPodman, tmp_path: Path) -> None:
    need("docker-registry")
    with Registry(tmp_path) as registry:
        podman.allow_insecure_registry(registry.port)
        image = podman.echo_image(f"{registry.address}/team/private:1")
        login = f"--creds={registry.username}:{registry.password}"
        podman.run("push", "--tls-verify=false", login, image)
        podman.run("rmi", image)
        private = document(podman, image=image) | {"startup_wait": 0}
        async with reloadable(tmp_path, private) as node:
            async with asyncio.timeout(60):
                while "without a login" not in (await item(node))["reason"]:
                    await asyncio.sleep(0.05)
            report = await node.reload(
                docker={
                    "registry": registry.address,
                    "username": registry.username,
                    "password": registry.password,
                }
            )
            assert set(report["applied"]) == {
                "docker.registry",
                "docker.username",
                "docker.password",
            }
            await ready(node)


async def test_a_stop_while_a_change_waits(podman: IsolatedPodman, tmp_path: Path) -> None:
    async with reloadable(tmp_path, document(podman)) as node:
        await ready(node)
        await node.job(data={"sleep": 30})
        await eventually(lambda: node.node.services["echo"].in_call == 1)
        await node.reload(containers=only(node, env={"VERSION": "2"}))
        await node.reload(containers=[])
        async with asyncio.timeout(25):
            await node.node.stop()
    assert podman.containers() == []
