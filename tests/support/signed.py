"""Signed requests of SDK 0.1 without a chain."""

from __future__ import annotations

import json
from typing import Any

from tests.support.delegated import sign
from tests.support.evm import ALICE
from tests.support.scripted_rpc import CHAIN_ID
from tests.support.subscriptions import OWNER

COORDINATOR = "0x5FbDB2315678afecb367f032d93F642f64180aa3"

_SUBSCRIPTION: dict[str, Any] = {
    "owner": OWNER,
    "activeAt": 1000,
    "period": 0,
    "frequency": 1,
    "redundancy": 1,
    "maxGasPrice": 10**9,
    "maxGasLimit": 10**6,
    "containerId": "echo",
    "inputs": b"",
}
_JSON_NAMES = {
    "activeAt": "active_at",
    "maxGasPrice": "max_gas_price",
    "maxGasLimit": "max_gas_limit",
    "containerId": "container_id",
}


def signed_v0(chain_id: int = CHAIN_ID, **fields: Any) -> bytes:
    """The body of a request that Alice signed; `fields` have the contract's names."""
    subscription = _SUBSCRIPTION | fields
    domain = {
        "name": "InfernetCoordinator",
        "version": "1",
        "chainId": chain_id,
        "verifyingContract": COORDINATOR,
    }
    signature = sign("0.1", subscription, ALICE, domain, 1, 2**32 - 1)
    plain = {_JSON_NAMES.get(name, name): value for name, value in subscription.items()}
    plain["inputs"] = "0x" + subscription["inputs"].hex()
    return json.dumps({"subscription": plain, "signature": signature, "data": {"n": 1}}).encode()
