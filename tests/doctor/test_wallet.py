"""Whether the account can pay, may deliver, and can be paid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infernet_edge.chain.wallet.keystore import keystore_text
from infernet_edge.config.model import Config
from infernet_edge.config.secret_files import Secret
from infernet_edge.doctor import wallet
from infernet_edge.doctor.finding import Finding
from tests.support.evm import ETHER, NODE, OTHER_NODE, V0, V1
from tests.support.examining import finding, findings
from tests.support.onchain import on_chain
from tests.support.ports import free_port
from tests.support.running import configuration


def connected(folder: Path, v1: V1, url: str = "", **fields: Any) -> Config:
    key = {"private_key": NODE.key.hex()}
    settings: dict[str, Any] = {
        "enabled": True,
        "rpc_url": url or v1.anvil.url,
        "registry_address": v1.registry.address,
        "wallet": fields or key,
    }
    if "keystore" not in fields:
        settings["wallet"] = key | fields
    return configuration(folder, {"chain": settings})


async def test_it_can_pay(tmp_path: Path, v1: V1) -> None:
    v1.anvil.set_balance(NODE.address, ETHER)
    found = await finding(wallet, connected(tmp_path, v1))
    assert found == Finding(
        "ok",
        f"{NODE.address} has {ETHER} wei; without chain.wallet.payment_address, subscriptions that"
        " pay are skipped",
    )
    payment = v1.wallet(NODE).address
    found = await finding(wallet, connected(tmp_path, v1, payment_address=payment))
    assert found.level == "ok"
    assert found.text.endswith(f"is paid in {payment}")


async def test_it_is_empty_and_the_wallet_is_none(tmp_path: Path, v1: V1) -> None:
    v1.anvil.set_balance(NODE.address, 0)
    config = connected(tmp_path, v1, payment_address=OTHER_NODE.address)
    empty, wrong = await findings(wallet, config)
    assert (empty.level, wrong.level) == ("problem", "problem")
    assert empty.text.startswith(f"The account {NODE.address} has no coins on chain 31337")
    assert empty.remedy == "send it some"
    assert wrong.text.startswith(f"chain.wallet.payment_address {OTHER_NODE.address} was not made")
    assert "infernet-edge wallet pay create" in wrong.remedy


async def test_it_is_no_node_of_sdk_0_1(tmp_path: Path, v0: V0) -> None:
    settings = {"rpc_url": v0.anvil.url, "coordinator_address": v0.coordinator.address}
    chain = {"enabled": True, "wallet": {"private_key": NODE.key.hex()}, **settings}
    found = await finding(wallet, configuration(tmp_path, {"chain": chain}))
    assert found.level == "problem"
    assert f"not an active node of the coordinator {v0.coordinator.address}" in found.text
    assert found.remedy == "it is not registered: infernet-edge wallet register"
    v0.activate(NODE)
    assert (await finding(wallet, configuration(tmp_path, {"chain": chain}))).level == "ok"


async def test_a_keystore_is_not_opened(tmp_path: Path, v1: V1) -> None:
    """That may take more memory than the board has."""
    path = tmp_path / "keystore.json"
    path.write_text(keystore_text(NODE, Secret("right")))
    config = connected(tmp_path, v1, keystore=str(path), keystore_password="wrong")
    found = await finding(wallet, config)
    assert (found.level, found.text.split()[0]) == ("ok", NODE.address)
    path.write_text("{}")
    found = await finding(wallet, config)
    assert found.level == "unknown"
    assert "not a keystore" in found.text


async def test_the_running_node_is_asked_for_its_address(tmp_path: Path, v1: V1) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, _):
        other = {"private_key": OTHER_NODE.key.hex()}
        settings = {"rpc_url": v1.anvil.url, "registry_address": v1.registry.address}
        document = {"chain": {"enabled": True, "wallet": other, **settings}}
        found = await finding(wallet, configuration(tmp_path, document))
        assert node.node.config.storage_path.is_dir()
    assert found.text.split()[0] == NODE.address


async def test_no_server_answers(tmp_path: Path, v1: V1) -> None:
    config = connected(tmp_path, v1, f"http://127.0.0.1:{free_port()}")
    found = await finding(wallet, config)
    assert found == Finding("unknown", "not checked: no JSON-RPC server answers")


async def test_it_is_not_needed(tmp_path: Path) -> None:
    assert (await finding(wallet, configuration(tmp_path))).text == "not needed: the chain is off"
