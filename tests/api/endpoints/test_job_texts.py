"""GET /api/jobs/{id}/input, /result and /steps/{number}, and what jobs.keep_inputs says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from infernet_edge.jobs.contents import PIECE
from tests.support.managing import eventually
from tests.support.ports import free_port
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

BIG = 2**256 - 1  # no digit of it may be lost
TOKENS = {"ann": "0123456789abcdef", "bob": "fedcba9876543210"}
ANN = {"authorization": f"Bearer {TOKENS['ann']}"}
BOB = {"authorization": f"Bearer {TOKENS['bob']}"}


@pytest.fixture
async def echo() -> Echo:
    return Echo()


def document(url: str, **more: Any) -> dict[str, Any]:
    containers = [
        {"id": "echo", "url": url},
        {"id": "b", "url": f"{url}/b"},
        {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
    ]
    return {"containers": containers, **more}


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[RunningNode]:
    async with serving(echo) as url, running(tmp_path, document(url)) as running_node:
        yield running_node
        echo.release()


async def raw(
    node: RunningNode, path: str, headers: dict[str, str] | None = None
) -> tuple[int, bytes, CIMultiDictProxy[str]]:
    async with node.session.get(node.url + path, headers=headers) as response:
        return response.status, await response.read(), response.headers


async def test_the_texts_of_a_job(node: RunningNode) -> None:
    text = b'{"n": %d, "status": 500}' % BIG
    body = b'{"containers": ["echo"], "data": %b}' % text
    job = (await node.post("/api/jobs", body)).body["id"]
    await node.finished(job)
    status, found, headers = await raw(node, f"/api/jobs/{job}/input")
    assert (status, found) == (200, text)  # as it was sent, to the byte
    assert headers["content-type"] == "application/json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == f'attachment; filename="{job}-input.json"'
    assert headers["accept-ranges"] == "bytes"
    result = await node.result(job)
    _, found, _ = await raw(node, f"/api/jobs/{job}/result")
    assert json.loads(found) == result["result"]
    _, found, _ = await raw(node, f"/api/jobs/{job}/steps/1")
    assert json.loads(found) == result["result"]
    (item,) = (await node.get("/api/history")).body["items"]
    assert item["input_bytes"] == len(text)


@pytest.mark.parametrize("size", [10, PIECE + 1000])
async def test_the_steps_of_a_chain(node: RunningNode, size: int) -> None:
    job = await node.job(["echo", "b", "down"], {"text": "x" * size})
    known = await node.finished(job)
    assert len(known["intermediate_results"]) == 2
    expected = [*known["intermediate_results"], known["result"]]
    for number, each in enumerate(expected, 1):
        reply = await node.get(f"/api/jobs/{job}/steps/{number}")
        assert (reply.status, reply.body) == (200, each), number
    for wrong in ("0", "4", "99999999999", "x", "-1", "1.0"):
        reply = await node.get(f"/api/jobs/{job}/steps/{wrong}")
        assert reply.status == 404, wrong
        assert reply.body["error"]


async def test_what_is_not_there_says_why(node: RunningNode, echo: Echo) -> None:
    done = await node.job()
    await node.finished(done)
    reply = await node.get(f"/api/jobs/{done}/input")
    assert reply.status == 404
    assert "was not kept" in reply.body["error"]
    assert "jobs.keep_inputs" in reply.body["error"]
    runs = await node.job(["b", "echo"], {"hold": True})
    await eventually(lambda: echo.open == 1)
    reply = await node.get(f"/api/jobs/{runs}/result")
    assert (reply.status, "has not ended" in reply.body["error"]) == (404, True)
    assert (await node.get(f"/api/jobs/{runs}/steps/1")).status == 404
    assert (await node.get(f"/api/jobs/{runs}/input")).body == {"hold": True}
    for path in ("none/input", "none/result", "none/steps/1", f"{done}/other", f"{done}/steps"):
        assert (await node.get(f"/api/jobs/{path}")).status == 404
    echo.release()
    await node.finished(runs)


async def test_a_long_input_is_there_until_the_end(node: RunningNode, echo: Echo) -> None:
    job = await node.job(data={"hold": True, "text": "x" * 3 * PIECE})
    await eventually(lambda: echo.open == 1)
    reply = await node.get(f"/api/jobs/{job}/input")
    assert len(reply.body["text"]) == 3 * PIECE
    echo.release()
    await node.finished(job)
    assert (await node.get(f"/api/jobs/{job}/input")).status == 404


@pytest.mark.parametrize(
    ("rule", "of_done", "of_failed"),
    [("failed", 404, 200), ("all", 200, 200), ("none", 404, 404)],
)
async def test_the_rule_of_the_configuration(
    tmp_path: Path, rule: str, of_done: int, of_failed: int
) -> None:
    """Also after a restart, and for streams and cancelled jobs."""
    echo = Echo()
    async with serving(echo) as url:
        settings = document(url, jobs={"keep_inputs": rule})
        async with running(tmp_path, settings) as node:
            done, failed = await node.job(), await node.job(["down"])
            cancelled = await node.job(data={"hold": True})
            await eventually(lambda: echo.open == 1)
            await node.request("DELETE", f"/api/jobs/{cancelled}")
            chunks = {"containers": ["echo"], "data": {"chunks": ["one", "two"]}}
            stream = await node.post("/api/jobs/stream", chunks)
            streamed = stream.body.partition(b"\n")[0].decode()
            for each in (done, failed, streamed):
                await node.finished(each)
        async with running(tmp_path, settings) as node:
            for job, status in (
                (done, of_done),
                (streamed, of_done),
                (failed, of_failed),
                (cancelled, of_failed),
            ):
                assert (await node.get(f"/api/jobs/{job}/input")).status == status


async def test_only_the_owner_reads_them(tmp_path: Path) -> None:
    async with (
        serving(Echo()) as url,
        running(tmp_path, document(url, server={"tokens": TOKENS})) as node,
    ):
        job = await node.job(["down"], headers=ANN)
        await node.finished(job, ANN)
        socket = str(node.parts.config.storage_path / "control.sock")
        for path in ("input", "result", "steps/1"):
            assert (await node.get(f"/api/jobs/{job}/{path}", ANN)).status == 200
            reply = await node.get(f"/api/jobs/{job}/{path}", BOB)
            assert reply.status == 404
            assert "another client" in reply.body["error"]
            assert (await node.get(f"/api/jobs/{job}/{path}")).status == 401
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as session,
                session.get(f"http://node/api/jobs/{job}/{path}") as response,
            ):
                assert response.status == 200


@pytest.mark.parametrize("size", [100, 3 * PIECE])
async def test_ranges(node: RunningNode, size: int) -> None:
    job = await node.job(data={"text": "".join(chr(97 + at % 26) for at in range(size))})
    await node.finished(job)
    path = f"/api/jobs/{job}/result"
    _, whole, _ = await raw(node, path)
    total = len(whole)
    for asked, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=50-", 50, total - 1),
        ("bytes=-7", total - 7, total - 1),
        (f"bytes=-{total + 100}", 0, total - 1),
        (f"bytes=90-{total + 5}", 90, total - 1),
        (f"bytes={total // 2}-{total - 2}", total // 2, total - 2),
    ):
        status, found, headers = await raw(node, path, {"range": asked})
        assert (status, found) == (206, whole[first : last + 1]), asked
        assert headers["content-range"] == f"bytes {first}-{last}/{total}"
    for asked in (f"bytes={total}-", f"bytes={total + 5}-{total + 9}", "bytes=-0"):
        status, found, headers = await raw(node, path, {"range": asked})
        assert status == 416, asked
        assert headers["content-range"] == f"bytes */{total}"
        assert json.loads(found)["error"]
    for asked in ("bytes=0-1,5-6", "lines=0-1", "bytes=5-2", "bytes=-", "bytes=a-b", "bytes 0-1"):
        status, found, _ = await raw(node, path, {"range": asked})
        assert (status, found) == (200, whole), asked
    status, _, _ = await raw(node, path, {"range": "bytes=0-1", "if-range": '"x"'})
    assert status == 200
