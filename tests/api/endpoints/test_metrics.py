"""GET /metrics over HTTP: values change with what the node does, and who may read them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infernet_edge import INFERNET_VERSION, __version__
from infernet_edge.containers.supervision.usage import ContainerUsage
from tests.support.breaking import read_only
from tests.support.client import Api, eventually
from tests.support.metrics import names, read_metrics
from tests.support.networks import second_machine
from tests.support.node import NodeProcess
from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port
from tests.support.running import Reply, RunningNode, running
from tests.support.serving import Echo, serving

OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}
RELAYED = {"x-forwarded-for": "192.0.2.7"}
PREFIX = "infernet_edge_"
ALWAYS = {
    "requests_total",
    "jobs_total",
    "job_seconds_bucket",
    "job_seconds_sum",
    "job_seconds_count",
    "queue_jobs",
    "slots_used",
    "container_up",
    "container_asleep",
    "storage_bytes",
    "storage_free_bytes",
    "commit_jobs_bucket",
    "commit_jobs_sum",
    "commit_jobs_count",
    "commit_seconds_bucket",
    "commit_seconds_sum",
    "commit_seconds_count",
    "held_bytes",
    "held_limit_bytes",
    "build_info",
}
"""What a node reports without managed containers, chain and sensors."""


class Metrics:
    """What a node reports, by name and labels."""

    def __init__(self, values: dict[str, float]) -> None:
        self.values = values

    def __call__(self, name: str, **labels: str) -> float:
        text = ",".join(f'{key}="{value}"' for key, value in labels.items())
        return self.values[f"{PREFIX}{name}{{{text}}}" if text else PREFIX + name]


async def metrics(node: RunningNode) -> Metrics:
    reply = await node.get("/metrics", OPENMETRICS)
    assert reply.status == 200, reply
    return Metrics(read_metrics(reply.body.decode(), openmetrics=True))


async def until(node: RunningNode, condition: Any) -> Metrics:
    async with asyncio.timeout(20):
        while not condition(found := await metrics(node)):
            await asyncio.sleep(0.02)
    return found


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[RunningNode]:
    async with serving(echo) as url:
        containers = [
            {"id": "echo", "url": url, "max_concurrency": 2},
            {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
        ]
        async with running(tmp_path, {"containers": containers}) as running_node:
            yield running_node
            echo.release()


# What is reported


async def test_both_formats_say_the_same(node: RunningNode) -> None:
    await node.finished(await node.job())
    classic = await node.get("/metrics")
    assert classic.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    openmetrics = await node.get("/metrics", OPENMETRICS)
    assert (
        openmetrics.headers["content-type"]
        == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )
    assert openmetrics.headers["cache-control"] == "no-store"
    assert openmetrics.headers["vary"] == "Accept"
    series = read_metrics(classic.body.decode()).keys()
    others = read_metrics(openmetrics.body.decode(), openmetrics=True).keys()
    counted = {f'{PREFIX}requests_total{{route="/metrics",status="200"}}'}  # the first of the two
    assert others - series == counted
    assert series <= others
    assert names(others) - {"temperature_celsius"} == ALWAYS


async def test_jobs_are_counted_by_how_they_end(node: RunningNode, echo: Echo) -> None:
    before = await metrics(node)
    for outcome in ("success", "failed", "cancelled"):
        assert before("jobs_total", container="echo", outcome=outcome) == 0
    for _ in range(3):
        await node.finished(await node.job())
    await node.finished(await node.job(data={"status": 500}))
    await node.finished(await node.job(["echo", "down"]))
    held = await node.job(data={"hold": True})
    await node.request("DELETE", f"/api/jobs?id={held}")
    await node.finished(held)
    stream = await node.post("/api/jobs/stream", {"containers": ["echo"], "data": {"chunks": []}})
    assert stream.status == 200
    found = await until(
        node, lambda now: now("jobs_total", container="echo", outcome="success") == 4
    )
    assert found("jobs_total", container="echo", outcome="failed") == 1
    assert found("jobs_total", container="echo", outcome="cancelled") == 1
    assert found("jobs_total", container="down", outcome="failed") == 1
    assert found("job_seconds_count", container="echo") == 3 + 1 + 1 + 1 + 1
    assert found("job_seconds_count", container="down") == 1


async def test_a_container_that_is_no_longer_configured_has_no_name(tmp_path: Path) -> None:
    """Else each name that was ever configured would be a series."""
    echo = Echo()
    async with serving(echo) as url:
        async with running(tmp_path, {"containers": [{"id": "old", "url": url}]}) as node:
            for _ in range(2):
                await node.job(["old"], data={"hold": True})
            await until(node, lambda now: echo.open >= 1)
        async with running(tmp_path, {"containers": [{"id": "new", "url": url}]}) as node:
            found = await until(
                node,
                lambda now: f'{PREFIX}jobs_total{{container="*",outcome="failed"}}' in now.values,
            )
            assert found("jobs_total", container="*", outcome="failed") == 2
            assert not [series for series in found.values if '"old"' in series]


async def test_a_result_that_is_answered_again_counts_once(node: RunningNode) -> None:
    job = await node.job()
    for _ in range(3):
        await node.finished(job)
    assert (await metrics(node))("jobs_total", container="echo", outcome="success") == 1


async def test_the_time_of_a_job(node: RunningNode, echo: Echo) -> None:
    job = await node.job(data={"hold": True})
    await until(node, lambda now: echo.open >= 1)
    await asyncio.sleep(0.1)
    echo.release()
    await node.finished(job)
    found = await metrics(node)
    assert 0.1 <= found("job_seconds_sum", container="echo") < 5
    assert found("job_seconds_bucket", container="echo", le="0.05") == 0
    assert found("job_seconds_bucket", container="echo", le="10.0") == 1


async def test_waiting_jobs_and_used_slots(node: RunningNode, echo: Echo) -> None:
    jobs = [await node.job(data={"hold": True}) for _ in range(5)]
    found = await until(node, lambda now: now("slots_used", container="echo") == 2)
    assert found("queue_jobs", container="echo") == 3
    assert found("slots_used", container="down") == 0
    assert found("held_bytes", kind="inputs") > 0
    echo.release()
    for each in jobs:
        await node.finished(each)
    found = await metrics(node)
    assert found("queue_jobs", container="echo") == found("slots_used", container="echo") == 0


async def test_requests_are_counted_by_route_and_status(node: RunningNode) -> None:
    job = await node.job()
    for path in (f"/api/jobs/{job}", "/api/jobs/unknown", "/nothing", f"/nothing/{'x' * 500}"):
        await node.get(path)
    await node.request("PATCH", "/info")
    await node.get("/info", {"origin": "http://evil.example"})
    found = await metrics(node)
    assert found("requests_total", route="/api/jobs", status="200") == 1
    assert found("requests_total", route="/api/jobs/{id}", status="200") == 1
    assert found("requests_total", route="/api/jobs/{id}", status="404") == 1
    assert found("requests_total", route="*", status="404") == 2
    assert found("requests_total", route="/info", status="405") == 1
    assert found("requests_total", route="/info", status="403") == 1


async def test_nothing_of_clients_is_in_them_and_they_do_not_grow(node: RunningNode) -> None:
    await node.finished(await node.job(["echo", "down"]))
    await node.get("/nothing")
    await node.post("/api/jobs", {"containers": ["secret-name"], "data": {}})
    before = set((await metrics(node)).values)
    for number in range(50):
        await node.job(data={"secret": f"secret-{number}"}, headers={"x-secret": "secret"})
        await node.get(f"/secret/{number}?secret={number}", {"user-agent": "secret"})
        await node.post("/api/jobs", {"containers": [f"secret-{number}"], "data": {}})
        await node.finished(await node.job(["echo", "down"]))
    after = await node.get("/metrics", OPENMETRICS)
    assert b"secret" not in after.body
    counted = {f'{PREFIX}requests_total{{route="/metrics",status="200"}}'}
    assert set(read_metrics(after.body.decode(), openmetrics=True)) - before <= counted


async def test_commits(node: RunningNode) -> None:
    before = await metrics(node)
    await asyncio.gather(*(node.job() for _ in range(20)))
    found = await until(
        node, lambda now: now("jobs_total", container="echo", outcome="success") == 20
    )
    writes = found("commit_jobs_sum") - before("commit_jobs_sum")
    commits = found("commit_jobs_count") - before("commit_jobs_count")
    assert writes >= 40  # each job is written when it comes and when it ends
    assert 0 < commits <= writes
    assert found("commit_seconds_count") == found("commit_jobs_count")
    assert found("commit_seconds_sum") > before("commit_seconds_sum")
    assert found("storage_bytes") > 0
    assert found("storage_free_bytes") > 0


async def test_containers_are_up_or_down(node: RunningNode) -> None:
    found = await metrics(node)
    assert (found("container_up", container="echo"), found("container_up", container="down")) == (
        1,
        0,
    )


async def test_memory_and_versions(node: RunningNode) -> None:
    found = await metrics(node)
    assert found("held_limit_bytes") == node.parts.memory.limit
    with node.parts.memory.reserve("streams") as held:
        held.take(12345)
        assert (await metrics(node))("held_bytes", kind="streams") == 12345
    assert found("build_info", version=__version__, infernet_version=INFERNET_VERSION) == 1


async def test_a_disk_that_cannot_be_used(node: RunningNode) -> None:
    """The metrics are needed then."""
    with read_only(node.parts.database):
        assert (await node.post("/api/jobs", {"containers": ["echo"], "data": {}})).status == 503
        found = await metrics(node)
        assert found("requests_total", route="/api/jobs", status="503") == 1
    await node.parts.database.close()
    assert names((await metrics(node)).values) - {"temperature_celsius"} == ALWAYS - {
        "storage_bytes",
        "storage_free_bytes",
    }


async def test_answers_without_free_memory(tmp_path: Path) -> None:
    containers = [{"id": f"c{number}", "url": "http://127.0.0.1:9"} for number in range(50)]
    async with running(tmp_path, {"containers": containers}) as node:
        with node.parts.memory.reserve("answers") as held:
            while held.try_take(1024):
                pass
            reply = await node.get("/metrics")
            assert reply.status == 200
            assert len(reply.body) > 2**16
            assert (await node.request("HEAD", "/metrics")).status == 200


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    """It takes memory that most nodes do not need."""
    code = "import sys, infernet_edge.node; print('infernet_edge.metrics.text' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Who may read them


TOKENS = {"server": {"tokens": {"bob": "0123456789abcdef"}}}


@pytest.mark.parametrize("document", [{}, TOKENS])
async def test_programs_of_this_machine_need_no_token(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    async with running(tmp_path, document) as node:
        assert (await node.get("/metrics")).status == 200
        assert (await node.get("/metrics", {"authorization": "Bearer wrong"})).status == 200
        assert (await node.post("/metrics", {})).status in (401, 405)


def scope_of(reply: Reply) -> Any:
    return reply.body["params"].get("scope")


@pytest.mark.parametrize(
    "headers",
    [
        RELAYED,
        {"forwarded": "for=192.0.2.7"},
        {"x-real-ip": "192.0.2.7"},
        {"x-forwarded-proto": "https"},
        {"cf-connecting-ip": "192.0.2.7"},
        {"via": "1.1 proxy"},
        {"x-forwarded-for": "127.0.0.1"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_others_need_a_token(tmp_path: Path, headers: dict[str, str]) -> None:
    async with running(tmp_path / "open") as node:
        reply = await node.get("/metrics", headers)
        assert (reply.status, scope_of(reply)) == (403, "metrics")
        own = {**headers, "origin": node.url}  # a page of the node itself
        assert (await node.get("/metrics", own)).status == 403
        assert (await node.get("/metrics", {"origin": "http://evil.example"})).status == 403
    async with running(tmp_path / "closed", TOKENS) as node:
        assert (await node.get("/metrics", headers)).status == 401
        token = {"authorization": "Bearer 0123456789abcdef"}  # has the scope submit
        reply = await node.get("/metrics", headers | token)
        assert (reply.status, scope_of(reply)) == (403, "metrics")


@pytest.mark.parametrize(
    ("scope", "status"), [("metrics", 200), ("operator", 200), ("submit", 403), ("read", 403)]
)
async def test_the_scope_of_a_token_decides(tmp_path: Path, scope: str, status: int) -> None:
    """Who has it is not limited in how often, and a token for the metrics permits nothing else."""
    token = "0123456789abcdef"
    server = {
        "tokens": {"prometheus": {"token": token, "scope": scope}},
        "rate_limit": {"num_requests": 2, "period": 60},
    }
    async with running(tmp_path, {"server": server}) as node:
        headers = RELAYED | {"authorization": f"Bearer {token}"}
        found = [(await node.get("/metrics", headers)).status for _ in range(5)]
        assert found == ([200] * 5 if status == 200 else [403, 403, 429, 429, 429])
        if scope == "metrics":
            assert (await node.get("/api/jobs", headers)).status == 403
            assert (await node.get("/api/history", headers)).status == 403


@pytest.mark.parametrize("trusted", ["127.0.0.1", "127.0.0.0/8"])
async def test_a_proxy_does_not_make_its_clients_local(tmp_path: Path, trusted: str) -> None:
    async with running(tmp_path, {"server": {"trusted_proxies": [trusted]}}) as node:
        assert (await node.get("/metrics", RELAYED)).status == 403
        assert (await node.get("/metrics", {"x-forwarded-for": "127.0.0.1"})).status == 403


def test_another_machine_needs_a_token(tmp_path: Path) -> None:
    with (
        second_machine() as other,
        NodeProcess({"server": {"host": "0.0.0.0"}}, tmp_path) as node,
    ):
        url = f"http://{other.here}:{node.port}/metrics"
        done = other.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url)
        assert done.stdout == "403"


async def test_they_are_not_limited_in_how_often(tmp_path: Path) -> None:
    limit = {"server": {"rate_limit": {"num_requests": 2, "period": 60}}}
    async with running(tmp_path, limit) as node:
        for _ in range(10):
            assert (await node.get("/metrics")).status == 200
        statuses = [(await node.get("/metrics", RELAYED)).status for _ in range(4)]
        assert statuses == [403, 403, 429, 429]  # without permission they are


async def test_the_control_socket_serves_them(node: RunningNode) -> None:
    path = str(node.node.config.storage_path / "control.sock")
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
        session.get("http://node/metrics", headers=OPENMETRICS) as response,
    ):
        assert response.status == 200
        assert names(read_metrics(await response.text(), openmetrics=True)) >= ALWAYS - {
            "requests_total"
        }


# Managed containers


def test_a_managed_container(podman: IsolatedPodman, tmp_path: Path) -> None:
    """Its memory, its processor time, and its restarts; Podman is not asked."""
    document = {
        "manage_containers": True,
        "podman": {"url": podman.url},
        "containers": [{"id": "echo", "image": podman.echo_image(), "port": free_port()}],
    }
    with NodeProcess(document, tmp_path) as node:
        api = Api(node.port)

        def now() -> Metrics:
            return Metrics(read_metrics(api.get("/metrics").body.decode()))

        eventually(lambda: now()("container_up", container="echo") == 1, within=60)
        first = now()
        assert 2**20 < first("container_memory_bytes", container="echo") < 2**30
        assert 0 < first("container_cpu_seconds_total", container="echo") < 60
        assert first("container_restarts_total", container="echo") == 0
        podman.end_service()
        for _ in range(5):
            api.finished([api.submit("echo", {})])
        second = now()
        assert second("container_cpu_seconds_total", container="echo") > first(
            "container_cpu_seconds_total", container="echo"
        )
        podman.start_service()
        [name] = podman.containers()
        podman.run("kill", name)
        eventually(lambda: now()("container_restarts_total", container="echo") == 1, within=60)


async def test_what_is_not_known_of_a_container_is_left_out(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as where Podman runs on another machine."""
    usages = {"echo": ContainerUsage(None, 5.0, None), "down": ContainerUsage(1000, 5.0, 2.5)}
    monkeypatch.setattr(node.parts.manager, "usages", lambda: usages)
    found = await metrics(node)
    assert found("container_memory_bytes", container="down") == 1000
    assert found("container_cpu_seconds_total", container="down") == 2.5
    assert not [each for each in found.values if "echo" in each and "memory" in each]
