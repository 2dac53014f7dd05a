"""Has the official client sign delegated subscriptions and send them to a node.

Runs in the official client's own environment, with what to do as JSON on the standard input; prints
for each subscription what the client saw: null when the node took it, else the error.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from infernet_client.chain.rpc import RPC  # type: ignore[import-not-found]
from infernet_client.chain.subscription import Subscription  # type: ignore[import-not-found]
from infernet_client.error import APIError  # type: ignore[import-not-found]
from infernet_client.node import NodeClient  # type: ignore[import-not-found]


async def send(task: dict[str, Any], request: dict[str, Any]) -> dict[str, Any] | None:
    """Sign one subscription and send it."""
    try:
        await NodeClient(task["node"]).request_delegated_subscription(
            Subscription(**request["subscription"]),
            RPC(task["rpc"]),
            task["coordinator"],
            request["expiry"],
            request["nonce"],
            request["key"],
            request["data"],
        )
    except APIError as error:
        return {"status": error.status_code, "error": error.message, "params": error.params}
    return None


async def main() -> None:
    task = json.load(sys.stdin)
    print(json.dumps([await send(task, request) for request in task["requests"]]))


asyncio.run(main())
