from __future__ import annotations

from pathlib import Path

from infernet_edge.doctor import node as checked
from infernet_edge.doctor.finding import Finding
from tests.support.breaking import read_only
from tests.support.examining import finding
from tests.support.running import configuration, running


async def test_it_runs(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        assert await finding(checked, node.node.config) == Finding("ok", f"it runs at {node.url}")


async def test_it_does_not_run(tmp_path: Path) -> None:
    found = await finding(checked, configuration(tmp_path))
    assert found.level == "warning"
    assert found.text.endswith(f"has its data in {tmp_path}/data")
    assert " run" in found.remedy
    assert found.command == ""


async def test_it_takes_no_jobs(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        with read_only(node.parts.database):
            await node.put("/api/status", {"id": "x", "status": "running", "containers": []})
            found = await finding(checked, node.node.config)
    assert found.level == "problem"
    assert "is unhealthy: The database cannot be written" in found.text
    assert found.command == ""
