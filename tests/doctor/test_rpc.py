from __future__ import annotations

from pathlib import Path
from typing import Any

from infernet_edge.chain import chain
from infernet_edge.chain.txm.store import TransactionStore, contracts_of
from infernet_edge.config.model import Config
from infernet_edge.doctor import rpc
from infernet_edge.storage.database import Database
from tests.support.evm import NODE, V1
from tests.support.examining import finding, findings
from tests.support.running import configuration


def connected(folder: Path, url: str, registry: str = NODE.address) -> Config:
    wallet = {"private_key": NODE.key.hex()}
    settings: dict[str, Any] = {"rpc_url": url, "registry_address": registry, "wallet": wallet}
    return configuration(folder, {"chain": {"enabled": True, **settings}})


async def remember(config: Config, chain_id: int) -> None:
    """Leave what a node that has stopped knew."""
    database = Database(config.database_path, chain.MIGRATIONS)
    await database.open()
    await TransactionStore(database).remember_chain(contracts_of(config.chain), chain_id)
    await database.close()


async def test_it_answers(tmp_path: Path, v1: V1) -> None:
    config = connected(tmp_path, v1.anvil.url, v1.registry.address)
    found = await finding(rpc, config)
    assert found.level == "ok"
    assert found.text.startswith("chain 31337 answers, its newest block is ")
    await remember(config, 31337)
    assert (await finding(rpc, config)).level == "ok"


async def test_it_is_of_another_chain(tmp_path: Path, v1: V1) -> None:
    config = connected(tmp_path, v1.anvil.url, v1.registry.address)
    await remember(config, 1)
    found = await finding(rpc, config)
    assert found.level == "problem"
    assert found.text.startswith("chain 31337 answers, but the node has worked")
    assert "a server of chain 1," in found.remedy


async def test_it_is_down(tmp_path: Path) -> None:
    found = await finding(rpc, connected(tmp_path, "http://user:pass@127.0.0.1:1/api-key"))
    assert found.level == "problem"
    assert "127.0.0.1:1" in found.text
    assert "chain.rpc_url" in found.remedy
    for secret in (NODE.key.hex(), "pass", "api-key"):
        assert secret not in str(found)


async def test_one_of_several_is_down(tmp_path: Path, v1: V1) -> None:
    wallet = {"private_key": NODE.key.hex()}
    urls = ["http://127.0.0.1:1", v1.anvil.url]
    chain = {"rpc_url": urls, "registry_address": v1.registry.address, "wallet": wallet}
    found = await findings(rpc, configuration(tmp_path, {"chain": {"enabled": True, **chain}}))
    assert [each.level for each in found] == ["warning", "ok"]
    assert "127.0.0.1:1" in found[0].text


async def test_it_is_not_needed(tmp_path: Path) -> None:
    assert (await finding(rpc, configuration(tmp_path))).text == "not needed: the chain is off"
