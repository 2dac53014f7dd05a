"""What a JSON-RPC server answers that knows the chain only up to a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Which parameter of a method names a block.
BLOCK_PARAMETERS: Mapping[str, int] = {
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_createAccessList": 1,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_getStorageAt": 2,
    "eth_getBlockByNumber": 0,
    "eth_getBlockReceipts": 0,
    "eth_feeHistory": 1,
}
TAGS = ("latest", "pending", "safe", "finalized")
_OF_BLOCKS = ("eth_getBlockByNumber", "eth_getBlockReceipts")


def asks_for(call: Mapping[str, Any], tag: str) -> bool:
    """Whether a call is about that block."""
    return bool(_block_of(call) == tag)


def _block_of(call: Mapping[str, Any]) -> Any:
    position = BLOCK_PARAMETERS.get(call["method"])
    params = call.get("params") or []
    if position is None or position >= len(params):
        return None
    return params[position]


def seen_at(call: Mapping[str, Any], head: int) -> dict[str, Any]:
    """The call as it is when `head` is the newest block: what it says of newer ones is changed."""
    asked = dict(call)
    block = _block_of(call)
    newest = block in TAGS
    if not newest and isinstance(block, str) and block.startswith("0x") and len(block) < 20:
        newest = int(block, 16) > head and call["method"] not in _OF_BLOCKS
    if newest:
        params = list(call["params"])
        params[BLOCK_PARAMETERS[call["method"]]] = hex(head)
        asked["params"] = params
    return asked


def result_at(method: str, result: Any, head: int) -> Any:
    """What was answered, as far as it is known when `head` is the newest block."""
    if method == "eth_blockNumber":
        return hex(min(int(result, 16), head))
    number = (
        result.get("number" if method in _OF_BLOCKS else "blockNumber")
        if isinstance(result, dict)
        else None
    )
    if not isinstance(number, str) or int(number, 16) <= head:
        return result
    if method == "eth_getTransactionByHash":
        return result | {"blockNumber": None, "blockHash": None, "transactionIndex": None}
    return None
