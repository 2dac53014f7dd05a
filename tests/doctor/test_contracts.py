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
    assert found == Finding("ok", f"coordinator 1.x at {v1.coordinator.address}, next id 1")


async def test_they_are_not_there(tmp_path: Path, v1: V1) -> None:
    found = await check(tmp_path, v1.anvil.url, NODE.address)
    assert found.level == "problem"
    expected = f"No contract is at chain.registry_address {NODE.address} on chain 31337"
    assert found.text == expected
    assert "chain.registry_address" in found.remedy


async def test_another_contract_is_there(tmp_path: Path, v1: V1) -> None:
    found = await check(tmp_path, v1.anvil.url, v1.reader.address)
    assert found.level == "problem"
    assert found.text.startswith(
        f"The contract at chain.registry_address {v1.reader.address} on chain 31337 is no Infernet"
    )


async def test_their_coordinator_is_another_contract(tmp_path: Path, v1: V1) -> None:
    v1.anvil.rpc("anvil_setCode", v1.coordinator.address, "0x")
    found = await check(tmp_path, v1.anvil.url, v1.registry.address)
    assert found.level == "problem"
    expected = f"The coordinator of SDK 1.x at {v1.coordinator.address} does not answer: "
    assert found.text.startswith(expected)


async def test_no_coordinator_of_sdk_0_1_is_there(tmp_path: Path, v1: V1) -> None:
    settings = {"rpc_url": v1.anvil.url, "coordinator_address": NODE.address}
    wallet = {"private_key": NODE.key.hex()}
    config = configuration(tmp_path, {"chain": {"enabled": True, "wallet": wallet, **settings}})
    found = await finding(contracts, config)
    assert (
        found.text == f"No contract is at chain.coordinator_address {NODE.address} on chain 31337"
    )


async def test_no_server_answers(tmp_path: Path) -> None:
    found = await check(tmp_path, "http://127.0.0.1:1", NODE.address)
    assert found == Finding("unknown", "not checked: no JSON-RPC server answers")


async def test_they_are_not_needed(tmp_path: Path) -> None:
    assert (await finding(contracts, configuration(tmp_path))).level == "ok"
