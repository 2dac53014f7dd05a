"""`infernet-edge jobs` with filters, and of another node."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.commanding import WAYS, commanding, run_command
from tests.support.serving import Echo, serving


def containers(url: str) -> dict[str, Any]:
    return {"containers": [{"id": "echo", "url": url}, {"id": "other", "url": f"{url}/other"}]}


@pytest.mark.parametrize("way", WAYS)
async def test_filters(tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(Echo()) as url, commanding(tmp_path, way, containers(url)) as command:
        jobs = []
        for data in ('{"n": 1}', '{"status": 500}', '{"n": 3}'):
            container = "other" if "3" in data else "echo"
            await command("submit", container, data, "--wait", "20", "--json")
            jobs.append(json.loads(capsys.readouterr().out)["id"])
        first, failing, third = jobs

        async def listed(*arguments: str) -> list[str]:
            assert await command("jobs", *arguments, "--json") == 0
            return [each["id"] for each in json.loads(capsys.readouterr().out)]

        assert await listed() == [third, failing, first]
        assert await listed("--limit", "2") == [third, failing]
        assert await listed("--state", "failed") == [failing]
        assert await listed("--state", "success") == [third, first]
        assert await listed("--container", "other") == [third]
        assert await listed("--find", first) == [first]
        assert await listed("--before", failing) == [first]
        assert await listed("--client", "nobody") == []
        assert await command("jobs", "--state", "failed") == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(failing)
        assert lines[2].startswith("    error: ")
        assert await command("jobs", "--state", "cancelled") == 0
        assert capsys.readouterr().out == "No job matches.\n"
        assert await command("jobs", first) == 0
        shown = capsys.readouterr().out
        assert f"job {first}\n  status      success\n" in shown
        assert '"n":1' in shown.replace(" ", "")
        assert await command("jobs", failing, "--json") == 0
        assert json.loads(capsys.readouterr().out)["status"] == "failed"


async def test_many_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page of the node has 500 jobs; a search that ends early says where to continue."""
    async with serving(Echo()) as url, commanding(tmp_path, "url", containers(url)) as command:
        batch = [{"containers": ["echo"], "data": {}}] * 600
        reply = await command.node.post("/api/jobs/batch", batch)
        ids = {each["id"] for each in reply.body}
        assert await command("jobs", "--limit", "550", "--json") == 0
        found = [each["id"] for each in json.loads(capsys.readouterr().out)]
        assert len(found) == len(set(found) & ids) == 550


async def test_a_search_that_is_not_complete(capsys: pytest.CaptureFixture[str]) -> None:
    async def history(request: web.Request) -> web.StreamResponse:
        number = int(request.query.get("before", "100")) - 1
        page = {"items": [], "next": str(number), "searched_to": 1_700_000_000_000 + number}
        return web.json_response(page)

    async with serving(history) as url:
        arguments = ["jobs", "--state", "failed", "--url", url]
        assert await asyncio.to_thread(run_command, *arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == "No job matches.\n"
    assert "Searched back to 2023-11-14T22:13:20Z. To go on, add: --before 80" in captured.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--state", "done"], "invalid choice"),
        (["--limit", "0"], "from 1 to 10000"),
        (["--onchain", "--state", "failed"], "leave out --state"),
        (["--onchain", "--url", "http://pi"], "run it there"),
        (["an-id", "--client", "x"], "leave out --client"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("jobs", *arguments) == 2
    assert text in capsys.readouterr().err


async def test_an_external_job_and_an_unknown_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with commanding(tmp_path, "url", {"server": {"external_jobs": True}}) as command:
        body = {"id": "mine", "status": "running", "containers": []}
        assert (await command.node.put("/api/status", body)).status == 200
        assert await command("jobs", "mine") == 0
        assert "kind        external" in capsys.readouterr().out
        assert await command("jobs", "other/../x") == 1
        assert "The node has no job other/../x" in capsys.readouterr().err
