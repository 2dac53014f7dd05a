"""GET /api/settings of a real node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from infernet_edge.config.loading import load
from infernet_edge.node import Node
from tests.api.test_openapi import SCHEMAS, problems
from tests.support.node import NodeProcess
from tests.support.running import running

SECRET = "sesame-4711-sesame-4711"


async def of_operator(folder: Path) -> dict[str, Any]:
    path = str(folder / "data" / "control.sock")
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
        session.get("http://node/api/settings") as response,
    ):
        assert response.status == 200
        text = await response.text()
        assert SECRET not in text
        found: dict[str, Any] = msgspec.json.decode(text)
        assert problems(found, SCHEMAS["SettingsInForce"]) == []
        return found


async def test_only_operators_see_them(tmp_path: Path) -> None:
    async with running(tmp_path, {"server": {"tokens": {"ann": SECRET}}}) as node:
        assert (await node.get("/api/settings")).status == 401
        reply = await node.get("/api/settings", {"authorization": f"Bearer {SECRET}"})
        assert reply.status == 403
        assert reply.body["params"]["scope"] == "operator"
        found = await of_operator(tmp_path)
        by_key = {each["key"]: each for each in found["items"]}
        assert by_key["server.tokens"]["value"] == {"ann": "hidden"}
        assert [each["name"] for each in found["tokens"]] == ["ann"]
        assert found["tls"] is None
        assert str(tmp_path / "data" / "infernet-edge.sqlite") in found["files"]


async def test_a_node_with_a_file(tmp_path: Path) -> None:
    with NodeProcess({"jobs": {"max_pending": 77}}, tmp_path) as node:
        found = await of_operator(tmp_path)
        item = next(each for each in found["items"] if each["key"] == "jobs.max_pending")
        lines = node.config_path.read_text().splitlines()
        file, _, line = item["source"].rpartition(":")
        assert file == str(node.config_path)
        assert "max_pending" in lines[int(line) - 1]
        assert (item["value"], item["default"]) == (77, 10_000)
        assert found["problems"] == []
        assert str(node.config_path) in found["files"]
        changed = node.config | {"jobs": {"max_pending": 78}}
        node.config_path.write_text(json.dumps(changed))
        found = await of_operator(tmp_path)
        assert "was changed" in found["problems"][-1]
        item = next(each for each in found["items"] if each["key"] == "jobs.max_pending")
        assert item["value"] == 77  # what is in force
        node.config_path.write_text("{")
        assert "has errors now" in (await of_operator(tmp_path))["problems"][-1]
        node.config_path.unlink()
        assert "has errors now" in (await of_operator(tmp_path))["problems"][-1]


async def test_a_node_without_changes_has_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    server = {"host": "127.0.0.1", "port": 0}
    file.write_text(json.dumps({"server": server, "storage": {"path": str(tmp_path / "data")}}))
    loaded = load(file, {})
    node = Node(loaded.config, source=loaded.source)
    await node.start()
    try:
        assert (await of_operator(tmp_path))["problems"] == []
    finally:
        await node.stop()
