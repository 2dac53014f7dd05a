"""What a server says that a transaction takes, and when it does not say."""

from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.chain.delivery.errors import TransientFailure
from infernet_edge.chain.delivery.gas import estimate_gas
from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable
from infernet_edge.http_client.client import HttpClient
from tests.support.scripted_rpc import RpcFault, ScriptedRpc


async def estimate(answer: Any) -> int:
    def answers(transaction: dict[str, Any], block: str) -> Any:
        assert block in ("pending", "latest")
        if isinstance(answer, dict):
            raise RpcFault(answer)
        return answer

    async with ScriptedRpc() as server, HttpClient() as http:
        server.results["eth_estimateGas"] = answers
        return await estimate_gas(RpcClient(http, [server.url], timeout=2), {"to": "0x"})


async def test_a_number() -> None:
    assert await estimate("0x5208") == 21_000


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (None, RpcUnavailable),
        ({"code": -32000, "message": "header not found"}, RpcUnavailable),
        ({"code": -32000, "message": "insufficient funds for transfer"}, TransientFailure),
        ({"code": 3, "message": "execution reverted", "data": "0x356680b7"}, RpcError),
    ],
)
async def test_none(answer: Any, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        await estimate(answer)
