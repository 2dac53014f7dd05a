from __future__ import annotations

from pathlib import Path
from typing import Any

from infernet_edge.doctor import contracts
from infernet_edge.doctor.finding import Finding
from tests.support.evm import NODE, V1
from tests.support.examining import finding
from tests.support.running import configuration


async def check(folder: Path, url: str, registry: str) -> Finding:
    settings: dict[str, Any] = {"rpc_url": url, "registry_address": registry}
    wallet = {"private_key": NODE.key.hex()}
    config = configuration(folder, {"chain": {"enabled": True, "wallet": wallet, **settings}})
    return await finding(contracts, config)


async def test_they_answer(tmp_path: Path, v1: V1) -> None:
    found = await check(tmp_path, v1.anvil.url, v1.registry.address)
    assert found == Finding("ok", f"coordinator 1.x at {v1.coordinator.address}")


async def test_they_are_not_there(tmp_path: Path, v1: V1) -> None:
    found = await check(tmp_path, v1.anvil.url, NODE.address)
    assert found.level == "problem"
    assert "chain.registry_address" in found.remedy


async def test_no_server_answers(tmp_path: Path) -> None:
    found = await check(tmp_path, "http://127.0.0.1:1", NODE.address)
    assert found == Finding("unknown", "not checked: no JSON-RPC server answers")


async def test_they_are_not_needed(tmp_path: Path) -> None:
    assert (await finding(contracts, configuration(tmp_path))).level == "ok"
