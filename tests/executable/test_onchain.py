"""The executable with the chain on: with substitutes for large libraries of eth-account."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account import Account

from tests.benchmarks.usage import memory
from tests.support.asking import call_back
from tests.support.client import Api, eventually
from tests.support.delegated import request_v1
from tests.support.echo import EchoService
from tests.support.evm import ALICE, NODE, V1, deliveries
from tests.support.executable import Executable
from tests.support.node import NodeProcess

_MAX_MEMORY = 54 * 2**20  # bytes


@pytest.mark.timeout(180)
def test_it_delivers_to_contracts(executable: Executable, v1: V1, tmp_path: Path) -> None:
    """A request of a contract, and one of a client for a contract; the key is in a keystore."""
    keystore = tmp_path / "keystore.json"
    keystore.write_text(_keystore())
    keystore.chmod(0o600)
    asking = v1.deploy("CallbackConsumer")
    delegated = v1.deploy("DelegatedConsumer", ALICE.address)
    with EchoService(tmp_path) as echo:
        config = {
            "containers": [{"id": "echo", "url": echo.url}],
            "chain": {
                "enabled": True,
                "rpc_url": v1.anvil.url,
                "registry_address": v1.registry.address,
                "trail_head_blocks": 0,
                "snapshot_sync": {"sync_period": 0.1},
                "wallet": {"keystore": str(keystore), "keystore_password": "word"},
            },
        }
        node = NodeProcess(config, tmp_path / "node", command=[str(executable.program)])
        with node:
            eventually(lambda: "node.ready" in node.log())
            assert memory(node.pid).pss <= _MAX_MEMORY
            call_back(v1, asking)
            reply = Api(node.port).post(request_v1(v1, delegated, nonce=1, data={"n": 1}).body)
            assert (reply.status, reply.json) == (200, {})
            eventually(lambda: len(deliveries(asking)) == 1, 30)
            eventually(lambda: len(deliveries(delegated)) == 1, 30)
            assert node.stop() == 0


def _keystore() -> str:
    return json.dumps(Account.encrypt(NODE.key, "word", kdf="scrypt", iterations=4096))
