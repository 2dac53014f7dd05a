"""PUT /api/status: jobs that run elsewhere."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from infernet_edge.api import status
from infernet_edge.containers.manager import ContainerManager
from tests.support.managing import eventually
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

REPORT = {"id": "job-1", "status": "running", "containers": ["legacy"]}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    """Trusts this machine as a proxy, so that a test can speak from any address."""
    async with serving(Echo()) as url:
        document = {
            "containers": [{"id": "echo", "url": url}],
            "server": {"trusted_proxies": ["127.0.0.1"]},
        }
        async with running(tmp_path, document) as running_node:
            yield running_node


def speaking_from(address: str) -> dict[str, str]:
    return {"x-forwarded-for": address}


async def test_a_report_is_counted_and_can_be_read_by_its_id_from_anywhere(
    node: RunningNode,
) -> None:
    reply = await node.put("/api/status", REPORT)
    assert (reply.status, reply.body) == (200, None)
    assert (await node.get("/info")).body["pending"]["offchain"] == 1
    expected = [{"id": "job-1", "status": "running", "result": None}]
    assert (await node.get("/api/jobs?id=job-1")).body == expected
    assert (await node.get("/api/jobs?id=job-1", speaking_from("10.0.0.9"))).body == expected
    for outcome in ("success", "failed"):
        assert (await node.put("/api/status", REPORT | {"status": outcome})).status == 200
        (found,) = (await node.get("/api/jobs?id=job-1&intermediate=true")).body
        assert found == {**expected[0], "status": outcome, "intermediate_results": []}
        assert (await node.get("/info")).body["pending"]["offchain"] == 0


async def test_only_the_reporter_lists_it(node: RunningNode) -> None:
    await node.put("/api/status", REPORT)
    await node.put("/api/status", REPORT | {"id": "job-2", "status": "success"})
    await asyncio.sleep(0.005)  # what comes within a millisecond is in no order
    own = await node.job()
    await node.finished(own)
    assert (await node.get("/api/jobs")).body == ["job-1", "job-2", own]
    assert (await node.get("/api/jobs?pending=true")).body == ["job-1"]
    assert (await node.get("/api/jobs?pending=false")).body == ["job-2", own]
    assert (await node.get("/api/jobs?limit=2")).body == ["job-2", own]
    assert (await node.get("/api/jobs", speaking_from("10.0.0.9"))).body == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"status": "done"}, "Status is invalid"),
        ({"status": ""}, "Status is invalid"),
        ({"status": "SUCCESS"}, "Status is invalid"),
        ({"status": 1}, "status: expected text"),
        ({"id": ""}, "id: expected"),
        ({"id": "x" * 129}, "id: expected"),
        ({"id": 7}, "id: expected text"),
        ({"containers": "legacy"}, "containers: expected a list"),
        ({"containers": [1]}, "containers[0]: expected text"),
        ({"containers": ["x"] * 65}, "containers: expected at most 64"),
    ],
)
async def test_wrong_reports(node: RunningNode, change: dict[str, Any], error: str) -> None:
    reply = await node.put("/api/status", REPORT | change)
    assert reply.status == 400
    assert reply.body["error"].startswith(error)
    assert (await node.get("/info")).body["pending"]["offchain"] == 0


@pytest.mark.parametrize("missing", ["id", "status", "containers"])
async def test_every_field_is_needed(node: RunningNode, missing: str) -> None:
    report = {name: value for name, value in REPORT.items() if name != missing}
    reply = await node.put("/api/status", report)
    assert reply.status == 400
    assert reply.body["params"] == {"field": missing}


async def test_ids_may_be_any_text(node: RunningNode) -> None:
    for identifier in ("x" * 128, "ü ö", "a/b?c&d=e", "1548865F-E806-41DF-A756-F427C1D2E395"):
        assert (await node.put("/api/status", REPORT | {"id": identifier})).status == 200
        async with node.session.get(node.url + "/api/jobs", params={"id": identifier}) as response:
            assert [found["id"] for found in await response.json()] == [identifier]


async def test_a_large_report_is_refused(node: RunningNode) -> None:
    body = json.dumps(REPORT | {"more": "x" * 2**17}).encode()
    assert (await node.put("/api/status", body)).status == 413


@pytest.mark.parametrize("body", [b"", b"[", b"\xff", b"[]", b"null"])
async def test_malformed_reports(node: RunningNode, body: bytes) -> None:
    reply = await node.put("/api/status", body)
    assert reply.status == 400
    assert set(reply.body) == {"error", "params"}


async def test_a_job_of_the_node_is_not_changed(node: RunningNode) -> None:
    identifier = await node.job()
    before = await node.finished(identifier)
    for text in (identifier, identifier.upper()):
        reply = await node.put("/api/status", REPORT | {"id": text, "status": "failed"})
        assert reply.status == 409
        assert reply.body["params"] == {"id": text}
    other = await node.job(headers=speaking_from("10.0.0.9"))
    assert (await node.put("/api/status", REPORT | {"id": other})).status == 409
    assert await node.result(identifier) == before


@pytest.mark.parametrize("address", ["10.0.0.9", "192.168.1.7", "172.17.0.2", "2001:db8::1"])
async def test_others_may_not_report(node: RunningNode, address: str) -> None:
    reply = await node.put("/api/status", REPORT, speaking_from(address))
    assert reply.status == 403
    assert reply.body == {"error": "Unauthorized", "params": {}}
    # The body is not checked for a caller without permission.
    assert (await node.put("/api/status", b"[", speaking_from(address))).status == 403


async def test_loopback_in_all_its_forms_may_report(node: RunningNode) -> None:
    for number, address in enumerate(("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1")):
        report = REPORT | {"id": f"job-{number}"}
        assert (await node.put("/api/status", report, speaking_from(address))).status == 200


async def test_containers_of_the_node_may_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = [ip_network("10.88.0.0/16"), ip_network("fd00::/64")]
    monkeypatch.setattr(ContainerManager, "networks", lambda self: networks)
    async with running(tmp_path, {"server": {"trusted_proxies": ["127.0.0.1"]}}) as node:
        for address, expected in (("10.88.0.5", 200), ("fd00::5", 200), ("10.89.0.5", 403)):
            report = REPORT | {"id": address}
            reply = await node.put("/api/status", report, speaking_from(address))
            assert reply.status == expected


async def test_a_job_belongs_to_the_container_that_registered_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is: created again it has another address."""
    containers = {"10.88.0.5": "a", "10.88.0.6": "b"}

    def container_at(manager: ContainerManager, address: str) -> str:
        return containers.get(address, "")

    monkeypatch.setattr(ContainerManager, "container_at", container_at)
    monkeypatch.setattr(ContainerManager, "networks", lambda self: [ip_network("10.88.0.0/16")])

    async with running(tmp_path, {"server": {"trusted_proxies": ["127.0.0.1"]}}) as node:

        async def put(address: str, status: str) -> int:
            report = REPORT | {"status": status}
            return (await node.put("/api/status", report, speaking_from(address))).status

        assert await put("10.88.0.5", "running") == 200
        for other in ("10.88.0.6", "10.88.0.7", "127.0.0.1"):
            assert await put(other, "failed") == 409
        containers["10.88.0.9"] = containers.pop("10.88.0.5")
        assert await put("10.88.0.5", "failed") == 409
        assert await put("10.88.0.9", "success") == 200
        assert (await node.get("/api/jobs?id=job-1")).body[0]["status"] == "success"


async def test_a_container_that_was_just_started_has_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def container_at(manager: ContainerManager, address: str) -> None:
        return None

    monkeypatch.setattr(ContainerManager, "container_at", container_at)
    monkeypatch.setattr(ContainerManager, "networks", lambda self: [ip_network("10.88.0.0/16")])
    async with running(tmp_path, {"server": {"trusted_proxies": ["127.0.0.1"]}}) as node:
        reply = await node.put("/api/status", REPORT, speaking_from("10.88.0.5"))
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) > 0


async def test_with_tokens_a_job_belongs_to_the_name_of_the_token(tmp_path: Path) -> None:
    tokens = {"a": "a" * 16, "b": "b" * 16}
    async with running(tmp_path, {"server": {"tokens": tokens}}) as node:
        first, second = ({"authorization": f"Bearer {token}"} for token in tokens.values())
        assert (await node.put("/api/status", REPORT, first)).status == 200
        assert (await node.put("/api/status", REPORT, second)).status == 409
        assert (await node.put("/api/status", REPORT, first)).status == 200


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    async with running(tmp_path, {"server": {"external_jobs": False}}) as node:
        reply = await node.put("/api/status", REPORT)
        assert (reply.status, reply.body["params"]) == (403, {})
        assert "server.external_jobs" in reply.body["error"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7])
async def test_lists_with_external_jobs_are_paged(tmp_path: Path, limit: int) -> None:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node:
            given = []
            for number in range(4):
                given.append(await node.job())
                # Any text may be an id, also a UUID without a time in it.
                for external in (str(uuid.uuid4()), f"~{number}", f"0{number} ü&=?"):
                    assert (await node.put("/api/status", REPORT | {"id": external})).status == 200
                    given.append(external)
            whole = (await node.get("/api/jobs")).body
            assert sorted(whole) == sorted(given)
            pages: list[str] = []
            page = (await node.get(f"/api/jobs?limit={limit}")).body
            while page:
                pages = page + pages
                assert len(pages) <= len(given)
                query = urlencode({"limit": limit, "before": page[0]})
                page = (await node.get(f"/api/jobs?{query}")).body
            assert pages == whole
            # A job that was deleted between two pages does not lead back to the newest ones.
            for unknown in ("ffffffff-ffff-4fff-8fff-ffffffffffff", "gone"):
                reply = await node.get(f"/api/jobs?limit={limit}&before={unknown}")
                assert (reply.status, reply.body["params"]) == (400, {"field": "before"})


async def test_a_client_relayed_through_this_machine_may_not(tmp_path: Path) -> None:
    """A program here that passes requests on is no proof that this machine is asking."""
    async with running(tmp_path) as node:
        assert (await node.put("/api/status", REPORT, speaking_from("10.0.0.9"))).status == 403
        assert (await node.put("/api/status", REPORT)).status == 200


async def test_reports_are_bounded(tmp_path: Path) -> None:
    async with running(tmp_path, {"jobs": {"max_pending": 2}}) as node:
        for number in range(2):
            assert (await node.put("/api/status", REPORT | {"id": str(number)})).status == 200
        reply = await node.put("/api/status", REPORT | {"id": "2"})
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) > 0
        # One that is known can still be brought to its end.
        reply = await node.put("/api/status", REPORT | {"id": "0", "status": "success"})
        assert reply.status == 200
        assert (await node.get("/info")).body["pending"]["offchain"] == 1


async def test_reports_outlive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await node.put("/api/status", REPORT)
        await node.put("/api/status", REPORT | {"id": "job-2", "status": "failed"})
    async with running(tmp_path) as node:
        assert (await node.get("/info")).body["pending"]["offchain"] == 1
        found = (await node.get("/api/jobs?id=job-2&id=job-1")).body
        assert [job["status"] for job in found] == ["failed", "running"]
        await eventually(lambda: node.parts.external_jobs.count == 2)


def test_the_limit_of_a_body_leaves_room_for_a_whole_report() -> None:
    largest = {"id": "x" * 128, "status": "success", "containers": ["x" * 128] * 64}
    assert len(json.dumps(largest)) < status.MAX_BODY_BYTES
