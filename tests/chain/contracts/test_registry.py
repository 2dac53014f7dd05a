"""Where the coordinators are: found once, and not while the chain does not say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from eth_abi.abi import encode

from infernet_edge.chain.contracts.abi import UnexpectedReply
from infernet_edge.chain.contracts.registry import Deployment, to_bytes
from infernet_edge.chain.rpc.client import RpcClient, RpcUnavailable
from infernet_edge.config.sections.chain import Chain
from infernet_edge.errors import Refused
from infernet_edge.http_client.client import HttpClient
from tests.support.scripted_rpc import RpcFault, ScriptedRpc

REGISTRY = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
COORDINATOR = "0x00bd138aBd70e2F00903268F3DB08f2d25677C2b"
ANSWER = "0x" + encode(["address"], [COORDINATOR]).hex()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRpc]:
    async with ScriptedRpc() as scripted:
        yield scripted


@pytest.fixture
async def rpc(server: ScriptedRpc) -> AsyncIterator[RpcClient]:
    async with HttpClient() as http:
        made = RpcClient(http, [server.url], timeout=2.0)
        yield made
        await made.close()


async def test_the_registry_is_asked_once(server: ScriptedRpc, rpc: RpcClient) -> None:
    server.results["eth_call"] = ANSWER
    deployment = Deployment(Chain(registry_address=REGISTRY), rpc)
    assert (deployment.serves("1.x"), deployment.serves("0.1")) == (True, False)
    assert deployment.anchor("1.x") == REGISTRY
    for _ in range(3):
        assert await deployment.coordinator("1.x") == COORDINATOR
    assert server.asked("eth_call") == 1


async def test_the_coordinator_of_sdk_0_1_is_configured(
    server: ScriptedRpc, rpc: RpcClient
) -> None:
    deployment = Deployment(Chain(coordinator_address=COORDINATOR), rpc)
    assert (deployment.serves("1.x"), deployment.serves("0.1")) == (False, True)
    assert deployment.anchor("0.1") == COORDINATOR
    assert await deployment.coordinator("0.1") == COORDINATOR
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("0x", "is no Infernet registry"),
        ("0x" + "ff" * 32, "is no Infernet registry"),
        ({"code": 3, "message": "execution reverted"}, "is no Infernet registry"),
        ("0x" + "00" * 32, "COORDINATOR\\(\\) is the zero address"),
        ({"code": -32603, "message": "Internal error"}, "The server has a problem"),
        (None, "not hex"),
    ],
)
async def test_what_names_no_coordinator_is_asked_again(
    server: ScriptedRpc, rpc: RpcClient, answer: Any, reason: str
) -> None:
    def reply(call: dict[str, str], block: str) -> Any:
        if isinstance(answer, dict):
            raise RpcFault(answer)
        return answer

    server.results["eth_call"] = reply
    deployment = Deployment(Chain(registry_address=REGISTRY), rpc)
    with pytest.raises(RpcUnavailable, match=reason):
        await deployment.coordinator("1.x")
    server.results["eth_call"] = ANSWER
    assert await deployment.coordinator("1.x") == COORDINATOR


@pytest.mark.parametrize(
    ("reply", "content"), [("0x", b""), ("0x00Ff", b"\x00\xff"), ("ff", b"\xff")]
)
def test_bytes_of_an_answer(reply: str, content: bytes) -> None:
    assert to_bytes(reply) == content


@pytest.mark.parametrize("reply", [None, 5, "0x1", "0xgg", ["0x"], {}, True])
def test_answers_without_bytes(reply: object) -> None:
    with pytest.raises(UnexpectedReply):
        to_bytes(reply)


async def test_a_registry_is_not_asked_for_the_coordinator_of_sdk_0_1(
    server: ScriptedRpc, rpc: RpcClient
) -> None:
    deployment = Deployment(Chain(registry_address=REGISTRY), rpc)
    with pytest.raises(Refused, match="not enabled"):
        await deployment.coordinator("0.1")
    assert server.requests == []
