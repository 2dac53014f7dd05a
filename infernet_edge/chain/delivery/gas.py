"""How much gas a transaction takes, as the server estimates it."""

from __future__ import annotations

from typing import Any

from infernet_edge.chain.delivery.errors import NotNow
from infernet_edge.chain.rpc.client import Rpc, RpcError, RpcUnavailable, quantity


async def estimate_gas(rpc: Rpc, transaction: dict[str, Any]) -> int:
    """Estimate behind what waits to be mined, which may change what it takes.

    Raises RpcError only when a contract reverts, RpcUnavailable when the server cannot say now,
    NotNow when it does not say for another reason.
    """
    try:
        return quantity(await rpc.call("eth_estimateGas", [transaction, "pending"]))
    except ValueError:
        raise RpcUnavailable("The server estimates no gas") from None
    except RpcError as error:
        if error.is_passing:
            raise RpcUnavailable(f"The gas cannot be estimated: {error}") from None
        if not error.is_revert:
            raise NotNow(f"The gas cannot be estimated: {error}") from None
        raise
