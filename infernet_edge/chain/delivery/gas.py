"""The gas that a transaction uses, as the server estimates it."""

from __future__ import annotations

from typing import Any

from infernet_edge.chain.delivery.errors import TransientFailure
from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable, quantity


async def estimate_gas(rpc: RpcClient, transaction: dict[str, Any]) -> int:
    """Estimate behind what waits to be mined, which may change the gas.

    Raises RpcError only when a contract reverts, RpcUnavailable on a transient error of
    the server, TransientFailure when it gives no estimate for another reason.
    """
    try:
        return quantity(await rpc.call("eth_estimateGas", [transaction, "pending"]))
    except ValueError:
        raise RpcUnavailable("The server estimates no gas") from None
    except RpcError as error:
        if error.is_transient:
            raise RpcUnavailable(f"The gas cannot be estimated: {error}") from None
        if not error.is_revert:
            raise TransientFailure(f"The gas cannot be estimated: {error}") from None
        raise
