"""Servers that refuse "pending", do not answer for it, or take it after a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from infernet_edge.chain.rpc.errors import (
    Call,
    CallNotAnswered,
    Cause,
    EndpointFailure,
    RpcError,
)
from infernet_edge.chain.rpc.pending_tag import PendingTag
from tests.support.events import Events

SENT: Call = ("eth_getTransactionCount", ["0x01", "pending"])
MINED: Call = ("eth_getTransactionCount", ["0x01", "latest"])
ESTIMATE: Call = ("eth_estimateGas", [{"to": "0x02"}, "pending"])
SIMULATION: Call = ("eth_call", [{"to": "0x02"}, "pending"])
REVERT = RpcError(3, "execution reverted", b"\x01")
REFUSALS = (
    RpcError(-32000, "pending block is not available"),
    RpcError(-32000, "pending state is not available"),
    RpcError(-32602, "invalid argument 1: hex string without 0x prefix"),
    RpcError(-32602, "invalid block tag"),
    RpcError(-32603, "Internal error"),
    RpcError(-32000, "unknown block"),
    RpcError(-32001, "Resource not found"),
    RpcError(0, "an error without words"),
    None,
)


class Server:
    """Answers with the tag that it was asked for, unless `refusals` has another answer for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.refusals: dict[tuple[str, str], Any] = {}
        self.hangs = False
        self.down = False
        self.requests: list[list[Call]] = []
        self.tag = PendingTag("the server", lambda: self.now)

    async def ask(self, calls: Sequence[Call]) -> list[Any]:
        self.requests.append(list(calls))
        self.now += 1.0
        if self.down or (self.hangs and any("pending" in params for _, params in calls)):
            raise EndpointFailure("no answer")
        return [self.answer(method, params) for method, params in calls]

    def answer(self, method: str, params: list[Any]) -> Any:
        tag = params[1] if len(params) > 1 else "none"
        return self.refusals.get((method, tag), tag)

    async def answers(self, *calls: Call) -> list[Any]:
        return await self.tag.answers(self.ask, calls)

    async def fail(self, *calls: Call) -> None:
        with pytest.raises(EndpointFailure):
            await self.answers(*calls)


@pytest.fixture
def server() -> Server:
    return Server()


async def test_a_server_that_knows_it(server: Server) -> None:
    assert await server.answers(MINED, SENT, SIMULATION) == ["latest", "pending", "pending"]
    assert server.requests == [[MINED, SENT, SIMULATION]]


@pytest.mark.parametrize("call", [SENT, ESTIMATE, SIMULATION])
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_latest_is_asked_for_instead(server: Server, call: Call, refusal: Any) -> None:
    server.refusals[call[0], "pending"] = refusal
    assert await server.answers(MINED, call) == ["latest", "latest"]
    assert await server.answers(MINED, call) == ["latest", "latest"]
    assert len(server.requests) == 3, "it is remembered"


async def test_it_is_remembered_by_method(server: Server, events: Events) -> None:
    server.refusals[SENT[0], "pending"] = REFUSALS[0]
    assert await server.answers(SENT, SIMULATION) == ["latest", "pending"]
    assert await server.answers(SENT, SIMULATION) == ["latest", "pending"]
    [logged] = events.of("rpc.pending_refused")
    assert (logged["server"], logged["method"]) == ("the server", "eth_getTransactionCount")
    assert "pending block is not available" in logged["reason"]


async def test_it_is_tried_again_after_a_while(server: Server, events: Events) -> None:
    server.refusals[SENT[0], "pending"] = REFUSALS[0]
    await server.answers(SENT)
    server.now += 70
    await server.answers(SENT)
    assert len(server.requests) == 4, "refused again"
    server.now += 70
    await server.answers(SENT)
    assert len(server.requests) == 5, "the pause is longer"
    assert len(events.of("rpc.pending_refused")) == 1
    server.refusals.clear()
    server.now += 70
    assert await server.answers(SENT) == ["pending"]
    assert await server.answers(SENT) == ["pending"]


async def test_a_revert_is_an_answer(server: Server) -> None:
    server.refusals[SIMULATION[0], "pending"] = REVERT
    assert await server.answers(SIMULATION) == [REVERT]
    assert len(server.requests) == 1


async def test_a_revert_for_latest_is_an_answer(server: Server) -> None:
    server.refusals[SIMULATION[0], "pending"] = REFUSALS[0]
    server.refusals[SIMULATION[0], "latest"] = REVERT
    assert await server.answers(SIMULATION) == [REVERT]
    assert await server.answers(SIMULATION) == [REVERT]
    assert len(server.requests) == 3


async def test_what_latest_does_not_help_with_is_not_remembered(
    server: Server, events: Events
) -> None:
    failure = RpcError(-32000, "gas required exceeds allowance (3000000)")
    server.refusals[ESTIMATE[0], "pending"] = failure
    server.refusals[ESTIMATE[0], "latest"] = failure
    assert await server.answers(ESTIMATE) == [failure]
    server.refusals.clear()
    assert await server.answers(ESTIMATE) == ["pending"]
    assert not events.seen


async def test_a_call_that_takes_too_long_is_not_made_twice(server: Server) -> None:
    aborted = RpcError(-32000, "execution aborted (timeout = 5s)")
    server.refusals[SIMULATION[0], "pending"] = aborted
    assert await server.answers(SIMULATION) == [aborted]
    assert len(server.requests) == 1


async def test_a_server_that_estimates_without_a_tag_only(server: Server) -> None:
    too_many = RpcError(-32602, "too many arguments, want at most 1")
    server.refusals[ESTIMATE[0], "pending"] = too_many
    server.refusals[ESTIMATE[0], "latest"] = too_many
    assert await server.answers(ESTIMATE) == ["none"]
    assert await server.answers(ESTIMATE) == ["none"]
    assert server.requests[-1] == [(ESTIMATE[0], [{"to": "0x02"}])]
    assert len(server.requests) == 4


async def test_a_server_that_never_answers_for_it(server: Server, events: Events) -> None:
    server.hangs = True
    await server.fail(SENT)
    assert await server.answers(SENT, MINED) == ["latest", "latest"]
    assert await server.answers(SENT, SIMULATION) == ["latest", "latest"], "for all methods"
    assert events.of("rpc.pending_refused")[0]["reason"] == "it did not answer"
    server.now += 70
    await server.fail(SENT)
    assert await server.answers(SENT) == ["latest"]
    server.hangs = False
    server.now += 130
    assert await server.answers(SENT) == ["pending"]


async def test_a_server_that_is_down_is_not_taken_for_one_that_refuses_it(server: Server) -> None:
    server.down = True
    for _ in range(5):
        await server.fail(SENT)
        await server.fail(MINED)
    server.down = False
    assert await server.answers(SENT) == ["pending"]


@pytest.mark.parametrize("cause", [Cause.UNREACHABLE, Cause.RATE, Cause.CHAIN])
async def test_failures_that_no_tag_causes(server: Server, cause: Cause) -> None:
    """Whether the last attempt before the recovery asked for "pending" or not."""
    failure: EndpointFailure | None = EndpointFailure("no connection", cause)

    async def ask(calls: Sequence[Call]) -> list[Any]:
        if failure is not None:
            raise failure
        return await server.ask(calls)

    for _ in range(3):
        with pytest.raises(EndpointFailure):
            await server.tag.answers(ask, [SENT])
    failure = None
    assert await server.tag.answers(ask, [SENT]) == ["pending"]


async def test_a_call_that_the_rate_prevents_is_no_refusal(server: Server, events: Events) -> None:
    throttled = CallNotAnswered("too many requests", Cause.RATE)
    server.refusals[SENT[0], "pending"] = throttled
    assert await server.answers(SENT, SIMULATION) == [throttled, "pending"]
    assert len(server.requests) == 1
    assert not events.of("rpc.pending_refused")


async def test_a_call_that_hangs_beside_others(server: Server) -> None:
    server.refusals[SENT[0], "pending"] = CallNotAnswered("no answer", Cause.TIMEOUT)
    assert await server.answers(SENT, SIMULATION) == ["latest", "pending"]


async def test_the_second_question_fails(server: Server) -> None:
    """What was answered to the other calls is kept."""
    server.refusals[SENT[0], "pending"] = REFUSALS[0]

    async def ask(calls: Sequence[Call]) -> list[Any]:
        if len(calls) == 1:
            raise EndpointFailure("too many requests", Cause.RATE)
        return await server.ask(calls)

    first, second = await server.tag.answers(ask, [SENT, SIMULATION])
    assert isinstance(first, CallNotAnswered), "the refusal is not the answer"
    assert second == "pending"
