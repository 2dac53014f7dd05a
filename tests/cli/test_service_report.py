"""The text and the JSON of `service status`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from infernet_edge.cli.service_report import describe, is_healthy, lines
from infernet_edge.installer.paths import Paths
from tests.support.running import running

STATE = {
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "ActiveEnterTimestamp": "Fri 2026-11-27 08:00:00 UTC",
    "NRestarts": "2",
    "Result": "success",
}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path / "root")
    made.settings.mkdir(parents=True)
    made.programs.mkdir(parents=True)
    made.current.symlink_to("0.1.0")
    file = made.settings / "config.json"
    file.write_text(json.dumps({"storage": {"path": str(tmp_path / "data")}}))
    return made


async def test_a_service_that_runs(tmp_path: Path, paths: Paths) -> None:
    async with running(tmp_path) as node:
        found = await asyncio.to_thread(describe, paths, STATE)
        assert list(lines(found)) == [
            "infernet-edge.service: active (running), enabled",
            "  since      Fri 2026-11-27 08:00:00 UTC",
            "  restarts   2, last result: success",
            "  version    0.1.0, Podman runs as root",
            f"  health     healthy, {node.url}",
            f"  dashboard  {node.url}/",
        ]
        assert is_healthy(found)
        assert json.loads(json.dumps(found))["node"]["url"] == node.url


def test_a_node_that_does_not_answer(paths: Paths) -> None:
    found = describe(paths, STATE)
    assert not is_healthy(found)
    assert list(lines(found))[-1].startswith("  health     unknown: No node runs")


def test_a_service_that_is_stopped(paths: Paths) -> None:
    paths.rootless.parent.mkdir(parents=True, exist_ok=True)
    paths.rootless.touch()
    stopped = {**STATE, "ActiveState": "failed", "SubState": "failed", "ActiveEnterTimestamp": ""}
    found = describe(paths, stopped)
    assert list(lines(found)) == [
        "infernet-edge.service: failed (failed), enabled",
        "  since      never",
        "  restarts   2, last result: success",
        "  version    0.1.0, Podman runs without root",
        "  reason     infernet-edge service logs",
    ]
    assert found["node"] is None
