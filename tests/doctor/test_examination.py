"""What the doctor finds on machines that are well and on ones that are not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.cli.main import main
from infernet_edge.config.tree import Config
from infernet_edge.doctor import examination
from infernet_edge.doctor.examination import examine
from infernet_edge.doctor.finding import Finding
from tests.support.evm import NODE, V1, anvil_fixture, v1_fixture
from tests.support.running import configuration, running

__all__ = ["anvil_fixture", "v1_fixture"]


async def look(config: Config, source: Path | None = None) -> dict[str, Finding]:
    return await examine(config, source)


async def test_a_node_that_runs_well(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        found = await look(node.node.config)
    assert {name: finding.level for name, finding in found.items()} == {
        "storage": "ok",
        "secrets": "ok",
        "podman": "ok",
        "rpc": "ok",
        "contracts": "ok",
        "node": "ok",
    }


async def test_no_node_runs(tmp_path: Path) -> None:
    found = await look(configuration(tmp_path))
    assert found["node"].level == "warning"
    assert "infernet-edge run" in found["node"].text


async def test_a_container_that_is_down_is_named(tmp_path: Path) -> None:
    containers = [{"id": "gone", "url": "http://127.0.0.1:1"}]
    async with running(tmp_path, {"containers": containers}) as node:
        found = await look(node.node.config)
    assert found["node"].level == "warning"
    assert "gone: " in found["node"].text


async def test_a_disk_with_too_little_room(tmp_path: Path) -> None:
    found = await look(configuration(tmp_path, {"storage": {"min_free_bytes": 2**60}}))
    assert found["storage"].level == "problem"
    assert found["storage"].remedy


async def test_a_storage_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    found = await look(configuration(tmp_path))
    assert found["storage"].level == "problem"


async def test_a_configuration_with_tokens_that_others_can_read(tmp_path: Path) -> None:
    source = tmp_path / "config.json"
    source.write_text("{}")
    source.chmod(0o644)
    config = configuration(tmp_path, {"server": {"tokens": {"phone": "x" * 20}}})
    found = await look(config, source)
    assert found["secrets"] == Finding(
        "problem", f"others can read {source}", f"chmod go= {source}"
    )
    source.chmod(0o600)
    assert (await look(config, source))["secrets"].level == "ok"


async def test_podman_that_does_not_answer(tmp_path: Path) -> None:
    document = {
        "manage_containers": True,
        "containers": [{"id": "a", "image": "localhost/a:1"}],
        "podman": {"url": f"unix://{tmp_path}/none.sock"},
    }
    found = await look(configuration(tmp_path, document))
    assert found["podman"].level == "problem"
    assert "podman" in found["podman"].remedy


def chain_settings(url: str, registry: str) -> dict[str, Any]:
    wallet = {"private_key": NODE.key.hex()}
    chain = {"enabled": True, "rpc_url": url, "registry_address": registry, "wallet": wallet}
    return {"chain": chain}


async def test_the_chain_answers(tmp_path: Path, v1: V1) -> None:
    config = configuration(tmp_path, chain_settings(v1.anvil.url, v1.registry.address))
    found = await look(config)
    assert found["rpc"].text.startswith("chain 31337 answers")
    assert v1.coordinator.address in found["contracts"].text


async def test_contracts_that_are_not_there(tmp_path: Path, v1: V1) -> None:
    config = configuration(tmp_path, chain_settings(v1.anvil.url, NODE.address))
    found = await look(config)
    assert found["rpc"].level == "ok"
    assert found["contracts"].level == "problem"


async def test_an_rpc_server_that_is_down(tmp_path: Path) -> None:
    settings = chain_settings("http://127.0.0.1:1", NODE.address)
    found = await look(configuration(tmp_path, settings))
    assert (found["rpc"].level, found["contracts"].level) == ("problem", "problem")
    assert NODE.key.hex() not in str(found)


async def test_a_check_that_hangs_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(config: Config) -> Finding:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    monkeypatch.setattr(examination, "_TIMEOUT", 0.1)
    monkeypatch.setattr("infernet_edge.doctor.podman.check", hang)
    found = await look(configuration(tmp_path))
    assert found["podman"] == Finding("problem", "no answer within 0.1 s")


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"storage": {"path": str(tmp_path / "data"), "min_free_bytes": 0}}))
    assert main(["doctor", "--config", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["storage"]["level"] == "ok"
    file.write_text(json.dumps({"storage": {"path": str(tmp_path), "min_free_bytes": 2**60}}))
    assert main(["doctor", "--config", str(file)]) == 1
    assert "to mend it:" in capsys.readouterr().out
