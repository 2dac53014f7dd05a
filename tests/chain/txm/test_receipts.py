from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.chain.txm.receipts import fee_of


@pytest.mark.parametrize(
    ("receipt", "fee"),
    [
        ({"gasUsed": "0x5", "effectiveGasPrice": "0x3"}, 15),
        ({"gasUsed": "0x5", "effectiveGasPrice": "0x3", "l1Fee": "0x64"}, 115),
        ({"gasUsed": "0x5", "effectiveGasPrice": "0x3", "l1Fee": None}, 15),
        ({"gasUsed": "0x5"}, 35),  # before EIP-1559
        ({}, 70),
        ({"gasUsed": "0x5", "effectiveGasPrice": "much"}, 70),
        ({"gasUsed": "0x5", "effectiveGasPrice": "0x3", "l1Fee": 7.5}, 70),
    ],
)
def test_what_a_transaction_has_cost(receipt: dict[str, Any], fee: int) -> None:
    assert fee_of(receipt, gas=10, max_fee=7) == fee
