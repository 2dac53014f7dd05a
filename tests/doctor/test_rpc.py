from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web

from infernet_edge.chain import chain
from infernet_edge.chain.txm.store import TransactionStore, contracts_of
from infernet_edge.config.model import Config
from infernet_edge.doctor import rpc
from infernet_edge.storage.database import Database
from tests.support.evm import NODE, V1, Anvil
from tests.support.examining import finding, findings
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.rpc_behaviours import Behaviour
from tests.support.rpc_proxy import RpcProxy
from tests.support.running import configuration
from tests.support.serving import serving


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
    assert found.text.startswith("chain 31337 answers, but the node works with")
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


async def test_two_servers_of_different_chains(tmp_path: Path, v1: V1) -> None:
    with Anvil(chain_id=7) as other:
        wallet = {"private_key": NODE.key.hex()}
        urls = [v1.anvil.url, other.url]
        chain = {"rpc_url": urls, "registry_address": v1.registry.address, "wallet": wallet}
        found = await findings(rpc, configuration(tmp_path, {"chain": {"enabled": True, **chain}}))
    assert [each.level for each in found] == ["ok", "problem"]
    assert found[1].text.startswith(f"127.0.0.1:{other.port}: chain 7 answers, but the node works")


async def test_its_newest_block_is_old(tmp_path: Path, v1: V1) -> None:
    v1.anvil.rpc("evm_setTime", v1.anvil.now() - 3600)
    v1.anvil.mine()
    found = await finding(rpc, connected(tmp_path, v1.anvil.url))
    assert found.level == "warning"
    assert f"its newest block is {v1.anvil.block().number}, which is " in found.text
    assert "minutes old" in found.text
    assert "another server" in found.remedy


async def test_it_has_no_newest_block(tmp_path: Path, v1: V1) -> None:
    async with RpcProxy(v1.anvil.url) as proxy:
        proxy.behaviour = Behaviour(latest_is_null=True)
        found = await finding(rpc, connected(tmp_path, proxy.url))
    assert found.level == "problem"
    assert proxy.url.removeprefix("http://") in found.text


async def test_it_is_synchronizing(tmp_path: Path, v1: V1) -> None:
    proxy = FaultyRpc(v1.anvil.url)

    async def syncing(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        answers = await proxy.proper(asked)
        for call, answer in zip(asked, answers, strict=True):
            if call["method"] == "eth_syncing":
                answer["result"] = {"currentBlock": "0x1", "highestBlock": "0x9"}
        return web.json_response(answers if len(answers) > 1 else answers[0])

    proxy.fault = syncing
    async with serving(proxy) as url:
        found = await finding(rpc, connected(tmp_path, url))
    assert found.level == "warning"
    assert "synchronizing" in found.text


async def test_it_is_not_needed(tmp_path: Path) -> None:
    assert (await finding(rpc, configuration(tmp_path))).text == "not needed: the chain is off"
