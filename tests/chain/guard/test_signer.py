"""Who signed, as the chain says: what refuses a request, and what only puts the answer off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from eth_abi.abi import encode

from infernet_edge.chain.contracts.delegation import parse_request
from infernet_edge.chain.contracts.registry import Deployment
from infernet_edge.chain.guard.signer import SignerCheck
from infernet_edge.chain.rpc.client import RpcClient, RpcUnavailable
from infernet_edge.config.sections.chain import Chain
from infernet_edge.errors import Refused
from infernet_edge.http_client.client import HttpClient
from tests.support.evm import ALICE, NOBODY, OTHER_NODE
from tests.support.scripted_rpc import RpcFault, ScriptedRpc
from tests.support.signed import COORDINATOR, signed_v0
from tests.support.subscriptions import OWNER


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRpc]:
    async with ScriptedRpc() as scripted:
        yield scripted


@pytest.fixture
async def verifier(server: ScriptedRpc) -> AsyncIterator[SignerCheck]:
    async with HttpClient() as http:
        rpc = RpcClient(http, [server.url], timeout=2.0)
        yield SignerCheck(rpc, Deployment(Chain(coordinator_address=COORDINATOR), rpc))
        await rpc.close()


def answers(server: ScriptedRpc, answer: Any) -> None:
    """What the owner's contract, or the server for it, says when it is asked for its signer."""

    def reply(call: dict[str, str], block: str) -> Any:
        assert call["to"] == OWNER
        if isinstance(answer, dict):
            raise RpcFault(answer)
        return answer

    server.results["eth_call"] = reply


def word(address: str) -> str:
    return "0x" + encode(["address"], [address]).hex()


async def test_the_owners_signer_is_taken(server: ScriptedRpc, verifier: SignerCheck) -> None:
    answers(server, word(ALICE.address))
    await verifier.verify(parse_request(signed_v0()))


async def test_a_signature_for_another_chain(server: ScriptedRpc, verifier: SignerCheck) -> None:
    answers(server, word(ALICE.address))
    with pytest.raises(Refused, match="Signer mismatch"):
        await verifier.verify(parse_request(signed_v0(chain_id=1)))


@pytest.mark.parametrize("signer", [OTHER_NODE.address, NOBODY])
async def test_another_signer(server: ScriptedRpc, verifier: SignerCheck, signer: str) -> None:
    answers(server, word(signer))
    with pytest.raises(Refused, match="Signer mismatch") as caught:
        await verifier.verify(parse_request(signed_v0()))
    expected = {"owner": OWNER, "expected": signer, "found": ALICE.address}
    assert caught.value.params == expected


@pytest.mark.parametrize(
    "answer",
    [
        "0x",
        "0x01",
        "0x" + "ff" * 32,  # no address
        {"code": 3, "message": "execution reverted", "data": "0x08c379a0"},
        {"code": -32000, "message": "execution reverted"},
        {"code": -32603, "message": "EVM error InvalidFEOpcode"},
        {"code": -32000, "message": "out of gas"},
    ],
    ids=str,
)
async def test_an_owner_without_a_signer(
    server: ScriptedRpc, verifier: SignerCheck, answer: Any
) -> None:
    answers(server, answer)
    with pytest.raises(Refused, match="Signer mismatch") as caught:
        await verifier.verify(parse_request(signed_v0()))
    assert caught.value.params == {
        "owner": OWNER,
        "reason": "the owner has no signer() that answers",
    }


@pytest.mark.parametrize(
    "answer",
    [
        None,
        7,
        "no hex",
        ["0x"],
        {"code": -32603, "message": "Internal error"},
        {"code": -32603, "message": "internal server error"},
        {"code": -32000, "message": "header not found"},
        {"code": -32000, "message": "missing trie node 0a0b (path 01)"},
        {"code": -32000, "message": "execution timeout"},
        {"code": -32002, "message": "request timed out"},
        {"code": -32005, "message": "daily request limit reached"},
        {"code": 19, "message": "Temporary internal error. Please retry: unavailable"},
    ],
    ids=str,
)
async def test_a_server_that_cannot_say(
    server: ScriptedRpc, verifier: SignerCheck, answer: Any
) -> None:
    """That says nothing about the request, which is to be verified later."""
    answers(server, answer)
    with pytest.raises(RpcUnavailable):
        await verifier.verify(parse_request(signed_v0()))
