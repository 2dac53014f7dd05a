"""`infernet-edge cancel`: running jobs, ended ones, unknown ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commanding import WAYS, commanding
from tests.support.serving import Echo, serving

UNKNOWN = "01a21b75-4298-4000-bdd5-09a403a99a68"


@pytest.mark.parametrize("way", WAYS)
async def test_cancel(tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with commanding(tmp_path, way, document) as command:
            assert await command("submit", "echo", "--wait", "20", "--json") == 0
            ended = json.loads(capsys.readouterr().out)["id"]
            assert await command("submit", "echo", '{"hold": true}') == 0
            held = capsys.readouterr().out.strip()
            assert await command("cancel", held, ended) == 0
            lines = capsys.readouterr().out.splitlines()
            assert lines == [f"{held}  cancelled", f"{ended}  had ended before: success"]
            assert await command("cancel", held, UNKNOWN, "--json") == 1
            captured = capsys.readouterr()
            assert [each["id"] for each in json.loads(captured.out)] == [held]
            assert f"another client: {UNKNOWN}" in captured.err


async def test_the_local_node_cancels_jobs_of_all_clients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with commanding(tmp_path, "control", document) as command:
            held = await command.node.job(data={"hold": True})
            assert await command("jobs", "--client", "127.0.0.1", "--state", "running") == 0
            assert capsys.readouterr().out.startswith(held)
            assert await command("cancel", held) == 0
            assert capsys.readouterr().out == f"{held}  cancelled\n"
            assert (await command.node.finished(held))["status"] == "failed"
            assert await command("jobs", "--state", "cancelled", "--json") == 0
            assert [each["id"] for each in json.loads(capsys.readouterr().out)] == [held]
