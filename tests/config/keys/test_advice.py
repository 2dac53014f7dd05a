"""Which key is named for one that is not known."""

from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.config.decoding import Conversion
from infernet_edge.config.model import Config

CONTAINER = {"id": "a", "image": "b"}


def note(document: dict[str, Any]) -> str:
    conversion = Conversion()
    conversion.struct(document, Config, "")
    assert conversion.problems == []
    [only] = conversion.warnings
    return only.partition("; did you mean ")[2]


@pytest.mark.parametrize(
    ("document", "meant"),
    [
        # In another table: that key is named, not the one that looks like it. It is about money.
        ({"chain": {"payment_address": "0x"}}, "'chain.wallet.payment_address'?"),
        ({"payment_address": "0x"}, "'chain.wallet.payment_address'?"),
        ({"chain": {"payment_adress": "0x"}}, "'chain.wallet.payment_address'?"),
        ({"chain": {"private_key": "0x"}}, "'chain.wallet.private_key'?"),
        ({"chain": {"max_gas_limit": 1}}, "'chain.wallet.max_gas_limit'?"),
        ({"rpc_url": "x"}, "'chain.rpc_url'?"),
        ({"wallet": {}}, "'chain.wallet'?"),
        ({"rate_limit": {}}, "'server.rate_limit'?"),
        ({"server": {"num_requests": 1}}, "'server.rate_limit.num_requests'?"),
        ({"port": 1}, "'server.port' or 'containers[].port'?"),
        ({"chain": {"batch_size": 1}}, "'chain.snapshot_sync.batch_size'?"),
        ({"max_pending": 1}, "'jobs.max_pending'?"),
        ({"containers": [CONTAINER | {"rate_limit": {}}]}, "'server.rate_limit'?"),
        # The same name, written in another style.
        ({"chain": {"rpcUrl": "x"}}, "'chain.rpc_url'?"),
        ({"startup-wait": 1}, "'startup_wait'?"),
        ({"chain.wallet.payment_address": "0x"}, "'chain.wallet.payment_address'?"),
        # A mistyped name of the same table.
        ({"servr": {}}, "'server'?"),
        ({"chain": {"registry_adress": "0x"}}, "'chain.registry_address'?"),
        ({"containers": [CONTAINER | {"volume": []}]}, "'containers[0].volumes'?"),
        (
            {"containers": [CONTAINER | {"models": ["a/b", {"name": "c", "onwer": "d"}]}]},
            "'containers[0].models[1].owner'?",
        ),
        # No advice is better than a wrong one.
        ({"chain": {"wallet_address": "0x"}}, ""),
        ({"chain": {"node_address": "0x"}}, ""),
        ({"zzzzzz": 1}, ""),
    ],
)
def test_advice(document: dict[str, Any], meant: str) -> None:
    assert note(document) == meant
