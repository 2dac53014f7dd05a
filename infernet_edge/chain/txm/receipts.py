"""Receipts of transactions, and why one was reverted."""

from __future__ import annotations

from typing import Any

from infernet_edge.chain.contracts.reverts import revert_reason
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.chain.txm.store import Transaction, TransactionOutcome


def receipt_question(hash_: str) -> Call:
    """What asks a server for the receipt of a transaction."""
    return ("eth_getTransactionReceipt", [hash_])


def is_mined(receipt: Any) -> bool:
    """Whether an answer is the receipt of a transaction that is in a block."""
    return isinstance(receipt, dict) and isinstance(receipt.get("blockNumber"), str)


def fee_of(receipt: dict[str, Any], gas: int, max_fee: int) -> int:
    """What a transaction has cost, in wei; where the receipt does not say it, what it may have.

    Chains of the OP stack charge for the data apart (`l1Fee`).
    """
    price = receipt.get("effectiveGasPrice")
    try:
        per_gas = max_fee if price is None else quantity(price)
        return quantity(receipt["gasUsed"]) * per_gas + quantity(receipt.get("l1Fee") or "0x0")
    except (KeyError, ValueError):
        return gas * max_fee


async def why_reverted(
    rpc: RpcClient, transaction: Transaction, outcome: TransactionOutcome
) -> str:
    """Find out by calling the contract as it was after that block."""
    if outcome.gas_used >= transaction.gas:
        return f"It ran out of gas: {transaction.gas} were not enough"
    call = {
        "from": transaction.sender,
        "to": transaction.target,
        "data": "0x" + transaction.data.hex(),
        "gas": hex(transaction.gas),
    }
    try:
        await rpc.call("eth_call", [call, hex(outcome.block)])
    except RpcError as error:
        return str(revert_reason(error.data)) if error.data else error.message
    except RpcUnavailable as error:
        return f"The reason could not be read. {error}"
    return "The contract does not say why"
