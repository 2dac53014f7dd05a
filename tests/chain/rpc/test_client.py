from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from infernet_edge.chain.rpc import endpoint as endpoint_module
from infernet_edge.chain.rpc.client import (
    ReplyTooLarge,
    RpcClient,
    RpcError,
    RpcUnavailable,
    quantity,
)
from infernet_edge.chain.rpc.state import health
from infernet_edge.http_client.client import HttpClient
from tests.support.events import Events
from tests.support.scripted_rpc import (
    CHAIN_ID,
    Fault,
    RpcFault,
    ScriptedRpc,
    endless,
    hang_up,
    reply,
    silence,
    transformed,
)

NUMBER = ("eth_blockNumber", list[Any]())


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as http:
        yield http


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRpc]:
    async with ScriptedRpc() as server:
        server.results["eth_blockNumber"] = "0x5"
        yield server


@pytest.fixture
async def rpc(http: HttpClient, server: ScriptedRpc) -> AsyncIterator[RpcClient]:
    rpc = RpcClient(http, [server.url], timeout=5)
    yield rpc
    await rpc.close()


@pytest.fixture
def events() -> Iterator[Events]:
    logger = logging.getLogger("infernet_edge.chain.rpc")
    handler, level = Events(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_batch_is_one_request_answered_in_order(
    rpc: RpcClient, server: ScriptedRpc
) -> None:
    server.results["echo"] = lambda *params: list(params)
    answers = await rpc.batch([("echo", [n]) for n in range(50)])
    assert answers == [[n] for n in range(50)]
    assert server.requests == [["eth_chainId", *50 * ["echo"]]]
    assert rpc.chain_id == CHAIN_ID


async def test_answers_are_reported_apart_by_their_ids(rpc: RpcClient, server: ScriptedRpc) -> None:
    server.results["echo"] = lambda *params: list(params)
    server.faults.append(transformed(lambda answers: answers[::-1], server))
    assert await rpc.batch([("echo", [1]), ("echo", [2])]) == [[1], [2]]


async def test_long_batches_are_split(rpc: RpcClient, server: ScriptedRpc) -> None:
    server.results["echo"] = lambda *params: list(params)
    answers = await rpc.batch([("echo", [n]) for n in range(250)])
    assert answers == [[n] for n in range(250)]
    assert len(server.requests) == 3
    assert max(len(methods) for methods in server.requests) == 100


async def test_a_single_call_is_no_batch(rpc: RpcClient, server: ScriptedRpc) -> None:
    await rpc.call(*NUMBER)
    server.faults.append(transformed(lambda answers: answers[0], server))
    assert await rpc.call(*NUMBER) == "0x5"


async def test_null_is_an_answer(rpc: RpcClient, server: ScriptedRpc) -> None:
    server.results["eth_getTransactionReceipt"] = None
    assert await rpc.call("eth_getTransactionReceipt", ["0x00"]) is None


@pytest.mark.parametrize(
    ("error", "data", "reverts"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x8741cbb8"}, "8741cbb8", True),
        ({"code": 3, "message": "execution reverted"}, "", True),
        ({"code": -32000, "message": "execution reverted"}, "", True),
        ({"code": -32015, "message": "VM error", "data": "Reverted 0x01"}, "01", True),
        ({"code": -32603, "message": "Error", "data": {"data": "0xABCD"}}, "abcd", True),
        ({"code": -32000, "message": "header not found"}, "", False),
        ({"code": "odd", "message": None, "data": [1]}, "", False),
        ({"code": -32602, "message": "bad", "data": "0xabc"}, "", False),
        ({"code": 3, "message": "execution reverted: rate limit"}, "", True),
    ],
)
async def test_errors_of_calls_belong_to_their_callers(
    rpc: RpcClient, server: ScriptedRpc, error: dict[str, Any], data: str, reverts: bool
) -> None:
    def fail() -> None:
        raise RpcFault(error)

    server.results["eth_call"] = fail
    answers = await rpc.batch([NUMBER, ("eth_call", []), NUMBER])
    assert answers[0] == answers[2] == "0x5"
    assert isinstance(answers[1], RpcError)
    assert answers[1].data.hex() == data
    assert answers[1].is_revert is reverts
    with pytest.raises(RpcError, match=str(error["message"] or "without words")):
        await rpc.call("eth_call", [])


def wrong_ids(answers: list[dict[str, Any]]) -> Any:
    return [answer | {"id": answer["id"] + 1000} for answer in answers]


def without_results(answers: list[dict[str, Any]]) -> Any:
    return [{"jsonrpc": "2.0", "id": answer["id"]} for answer in answers]


def throttled(answers: list[dict[str, Any]]) -> Any:
    error = {"code": -32005, "message": "project ID request rate exceeded: too many requests"}
    return [{"jsonrpc": "2.0", "id": answer["id"], "error": error} for answer in answers]


FAULTS: dict[str, tuple[Callable[[ScriptedRpc], Fault], str]] = {
    "HTML": (lambda server: reply(200, b"<html>hello</html>"), "not JSON-RPC"),
    "status 500": (lambda server: reply(500, b"<html>oh</html>"), "status 500"),
    "status 503": (lambda server: reply(503), "status 503"),
    "status 429": (lambda server: reply(429), "status 429"),
    "throttled": (lambda server: transformed(throttled, server), "too many requests"),
    "status 401": (lambda server: reply(401, b"no"), "key in chain.rpc_url"),
    "redirect": (lambda server: reply(302, headers={"Location": "/other"}), "status 302"),
    "wrong id": (lambda server: transformed(wrong_ids, server), "something else"),
    "half a batch": (lambda server: transformed(lambda all_: all_[:1], server), "something else"),
    "no results": (lambda server: transformed(without_results, server), "without a result"),
    "empty": (lambda server: reply(200), "not JSON-RPC"),
    "empty list": (lambda server: reply(200, b"[]"), "an empty answer"),
    "half of it": (lambda server: reply(200, b'[{"jsonrpc": "2.0", "id": 1, "res'), "not JSON"),
    "not UTF-8": (lambda server: reply(200, b'"\xff"'), "not JSON-RPC"),
    "deep": (lambda server: reply(200, 100_000 * b"["), "not JSON-RPC"),
    "number": (lambda server: reply(200, b"7"), "not JSON-RPC"),
    "huge": (lambda server: endless(2**20), "a reply of more than"),
    "hang up": (lambda server: hang_up, "the connection failed"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_overcome_by_asking_again(
    rpc: RpcClient, server: ScriptedRpc, name: str, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "_MAX_REPLY_BYTES", 2**18)
    server.faults.append(FAULTS[name][0](server))
    assert await rpc.batch([NUMBER, NUMBER]) == ["0x5", "0x5"]
    assert len(server.requests) <= 4, "the chain is checked again, and the halves are asked"
    assert not rpc.problem
    assert not events.seen


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "half a batch"])
async def test_a_fault_that_stays_is_reported(
    rpc: RpcClient, server: ScriptedRpc, name: str, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "_MAX_REPLY_BYTES", 2**18)
    server.always = FAULTS[name][0](server)
    for _ in range(2):
        with pytest.raises(RpcUnavailable) as raised:
            await rpc.batch([NUMBER, NUMBER])
    assert FAULTS[name][1] in str(raised.value)
    assert FAULTS[name][1] in rpc.problem
    assert f"127.0.0.1:{server.port}" in rpc.problem
    assert [event for event, _ in events.seen] == ["rpc.lost"]
    server.always = None
    await until_answered(rpc)
    assert [event for event, _ in events.seen] == ["rpc.lost", "rpc.recovered"]
    assert not rpc.problem


async def test_a_contract_that_returns_too_much_is_no_trouble_of_the_server(
    rpc: RpcClient, server: ScriptedRpc, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "_MAX_REPLY_BYTES", 2**16)
    server.results["eth_call"] = lambda call, block: "0x" + "00" * (2**16 if call == "huge" else 1)
    calls = [("eth_call", [call, "latest"]) for call in ("small", "huge", "small")]
    small, huge, last, number = await rpc.batch([*calls, NUMBER])
    assert (small, last, number) == ("0x00", "0x00", "0x5")
    assert isinstance(huge, ReplyTooLarge)
    assert "more than 65536 bytes" in str(huge)
    with pytest.raises(ReplyTooLarge):
        await rpc.call(*calls[1])
    assert (rpc.problem, events.seen) == ("", [])
    asked = len(server.requests)
    assert await rpc.batch([NUMBER, NUMBER]) == ["0x5", "0x5"]
    assert len(server.requests) == asked + 1  # batches are as long as before


async def until_answered(rpc: RpcClient) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await rpc.call(*NUMBER)
            except RpcUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_slow(http: HttpClient, server: ScriptedRpc) -> None:
    rpc = RpcClient(http, [server.url], timeout=0.2)
    server.always = silence
    with pytest.raises(RpcUnavailable, match=r"no answer within 0\.2 seconds"):
        await rpc.call(*NUMBER)


async def test_down_and_back(rpc: RpcClient, server: ScriptedRpc, events: Events) -> None:
    await server.stop()
    with pytest.raises(RpcUnavailable, match="no connection"):
        await rpc.call(*NUMBER)
    await server.start()
    await until_answered(rpc)
    assert events.of("rpc.recovered")[0]["server"] == f"127.0.0.1:{server.port}"


async def test_a_long_outage_is_answered_at_once(rpc: RpcClient, server: ScriptedRpc) -> None:
    server.always = reply(503, headers={"Retry-After": "60"})
    for _ in range(20):
        with pytest.raises(RpcUnavailable):
            await rpc.call(*NUMBER)
    assert len(server.requests) == 1


async def test_no_server_is_left_alone_for_a_day(rpc: RpcClient, server: ScriptedRpc) -> None:
    """A failure that is not about the rate names a time, too."""
    body = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"maintenance"}}'
    server.always = reply(503, body, {"Retry-After": "86400"})
    with pytest.raises(RpcUnavailable):
        await rpc.call(*NUMBER)
    [known] = rpc._servers  # noqa: SLF001 - nothing else shows the pause
    assert 0 < known.delay <= 120


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(rpc: RpcClient, server: ScriptedRpc, status: int) -> None:
    server.faults.append(reply(status, headers={"Retry-After": "1"}))
    began = time.monotonic()
    assert await rpc.call(*NUMBER) == "0x5"
    assert time.monotonic() - began >= 1


async def test_retry_after_as_a_date(rpc: RpcClient, server: ScriptedRpc) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server.faults.append(reply(429, headers={"Retry-After": moment}))
    with pytest.raises(RpcUnavailable):
        await rpc.call(*NUMBER)
    assert len(server.requests) == 1


@pytest.mark.parametrize("text", ["", "soon", "-5", "Wed, 21 Oct 2015 07:28:00 GMT", "1e9"])
async def test_retry_after_that_says_nothing(
    rpc: RpcClient, server: ScriptedRpc, text: str
) -> None:
    server.faults.append(reply(429, headers={"Retry-After": text}))
    assert await rpc.call(*NUMBER) == "0x5"


async def test_servers_that_do_not_know_batches(rpc: RpcClient, server: ScriptedRpc) -> None:
    async def only_single(request: Any, asked: Any) -> Any:
        refusal = {"code": -32600, "message": "batches are not allowed"}
        answer = server.answer(asked[0])
        if len(asked) > 1:
            answer = {"jsonrpc": "2.0", "id": None, "error": refusal}
        return await transformed(lambda answers: answer, server)(request, asked)

    server.always = only_single
    assert await rpc.batch([NUMBER] * 9) == ["0x5"] * 9
    before = len(server.requests)
    assert await rpc.batch([NUMBER] * 2) == ["0x5"] * 2
    assert len(server.requests) - before == 2, "it is remembered"


async def test_requests_that_are_too_large_shrink(rpc: RpcClient, server: ScriptedRpc) -> None:
    async def at_most_ten(request: Any, asked: Any) -> Any:
        fault = reply(413) if len(asked) > 10 else transformed(lambda answers: answers, server)
        return await fault(request, asked)

    server.always = at_most_ten
    assert await rpc.batch([NUMBER] * 40) == ["0x5"] * 40


async def test_call_once_asks_once(rpc: RpcClient, server: ScriptedRpc, events: Events) -> None:
    server.always = reply(503)
    with pytest.raises(RpcUnavailable):
        await rpc.call_once(*NUMBER)
    assert len(server.requests) == 1
    assert not events.seen, "others may still get answers"


async def test_many_calls_at_once_are_one_failure(rpc: RpcClient, server: ScriptedRpc) -> None:
    await rpc.call(*NUMBER)
    server.faults += [reply(503)] * 4
    answers = await asyncio.gather(*(rpc.call(*NUMBER) for _ in range(10)))
    assert answers == ["0x5"] * 10


async def test_servers_are_reported(http: HttpClient, server: ScriptedRpc) -> None:
    async with ScriptedRpc() as second:
        second.results["eth_blockNumber"] = "0x6"
        url = f"http://alice:sesame@127.0.0.1:{server.port}/v3/apikey123?token=abc987"
        rpc = RpcClient(http, [url, second.url])
        first, spare = rpc.servers()
        names = [f"127.0.0.1:{server.port}", f"127.0.0.1:{second.port}"]
        assert first[:5] == (names[0], True, "", 0, 0)
        assert spare[:5] == (names[1], False, "", 0, 0)
        await rpc.batch([NUMBER, NUMBER], priority=True)
        assert rpc.servers()[0][:5] == (names[0], True, "", 1, 0)
        assert spare.seconds is None
        assert rpc.servers()[0].seconds == pytest.approx(0, abs=1)
        server.always = reply(503, headers={"Retry-After": "60"})
        await rpc.call(*NUMBER)
        first, spare = rpc.servers()
        assert (first.in_use, first.requests, first.refused) == (False, 2, 1)
        assert "503" in first.problem
        assert spare[:5] == (names[1], True, "", 2, 0), "the chain is checked first"
        await rpc.close()


async def test_without_a_url(http: HttpClient) -> None:
    with pytest.raises(RpcUnavailable, match="none is set"):
        await RpcClient(http, [""]).call(*NUMBER)


async def test_another_chain_is_not_used(
    http: HttpClient, server: ScriptedRpc, events: Events
) -> None:
    rpc = RpcClient(http, [server.url])
    rpc.expected_chain_id = 1
    for _ in range(3):
        with pytest.raises(RpcUnavailable, match=f"serves chain {CHAIN_ID}.* works on chain 1"):
            await rpc.call(*NUMBER)
    assert rpc.chain_id is None
    assert len(events.of("rpc.chain_refused")) == 1


async def test_a_chain_id_that_is_none(rpc: RpcClient, server: ScriptedRpc) -> None:
    server.always = transformed(
        lambda answers: [answer | {"result": "mainnet"} for answer in answers], server
    )
    with pytest.raises(RpcUnavailable, match="it gives no chain id"):
        await rpc.call(*NUMBER)


async def test_the_chain_is_checked_with_a_batch(
    rpc: RpcClient, server: ScriptedRpc, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await rpc.batch([NUMBER, NUMBER])
    assert server.requests == [
        ["eth_chainId", *2 * ["eth_blockNumber"]],
        *2 * [2 * ["eth_blockNumber"]],
    ]
    monkeypatch.setattr(health, "_CHECK_PERIOD", 0.0)
    server.chain_id = 5
    with pytest.raises(RpcUnavailable, match="serves chain 5"):
        await rpc.batch([NUMBER, NUMBER])
    assert rpc.chain_id == CHAIN_ID
    assert events.of("rpc.chain_refused")


async def test_a_single_call_asks_for_the_chain_now_and_then(
    rpc: RpcClient, server: ScriptedRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rpc.call(*NUMBER)
    await rpc.call(*NUMBER)
    assert server.asked("eth_chainId") == 1
    server.faults.append(reply(500))
    await rpc.call(*NUMBER)
    assert server.asked("eth_chainId") == 2, "after a failure another server may be there"
    monkeypatch.setattr(health, "_CHECK_PERIOD", 0.0)
    server.chain_id = 5
    with pytest.raises(RpcUnavailable, match="serves chain 5"):
        await rpc.call(*NUMBER)


async def test_the_next_server_is_asked_and_the_first_one_returned_to(
    http: HttpClient, server: ScriptedRpc, events: Events
) -> None:
    async with ScriptedRpc() as second:
        second.results["eth_blockNumber"] = "0x6"
        rpc = RpcClient(http, [server.url, second.url], return_after=0.05)
        assert await rpc.call(*NUMBER) == "0x5"
        await server.stop()
        assert await rpc.call(*NUMBER) == "0x6"
        assert second.requests[0][0] == "eth_chainId"
        switched = events.of("rpc.switched")[0]
        assert switched["server"] == f"127.0.0.1:{second.port}"
        assert "connection" in switched["reason"]
        assert not rpc.problem
        assert not events.of("rpc.lost")

        server.results["eth_syncing"] = {"currentBlock": "0x1"}
        await server.start()
        asked = len(server.requests)
        await until(lambda: len(server.requests) >= asked + 2)
        assert await rpc.call(*NUMBER) == "0x6", "it is not up to date yet"
        server.results["eth_syncing"] = False
        await until(lambda: len(events.of("rpc.switched")) == 2)
        assert await rpc.call(*NUMBER) == "0x5"
        await rpc.close()


async def test_a_second_server_of_another_chain_is_passed_over(
    http: HttpClient, server: ScriptedRpc
) -> None:
    async with ScriptedRpc(chain_id=5) as second:
        rpc = RpcClient(http, [server.url, second.url])
        await rpc.call(*NUMBER)
        await server.stop()
        with pytest.raises(RpcUnavailable) as raised:
            await rpc.call(*NUMBER)
        assert "connection" in str(raised.value)
        assert "serves chain 5" in str(raised.value)
        await rpc.close()


@pytest.mark.parametrize("name", ["HTML", "status 401", "hang up", "huge", "redirect", "slow"])
async def test_secrets_of_the_url_are_never_told(
    http: HttpClient,
    server: ScriptedRpc,
    name: str,
    caplog: pytest.LogCaptureFixture,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoint_module, "_MAX_REPLY_BYTES", 2**18)
    url = f"http://alice:sesame@127.0.0.1:{server.port}/v3/apikey123?token=abc987"
    rpc = RpcClient(http, [url], timeout=0.3)
    server.always = silence if name == "slow" else FAULTS[name][0](server)
    with pytest.raises(RpcUnavailable) as raised, caplog.at_level(logging.DEBUG):
        await rpc.call(*NUMBER)
    shown = f"{raised.value!r} {rpc.problem} {events.seen} {caplog.text} {raised.value.__context__}"
    for secret in ("sesame", "alice", "apikey123", "abc987"):
        assert secret not in shown


async def test_a_url_that_cannot_be(http: HttpClient) -> None:
    rpc = RpcClient(http, ["http://127.0.0.1:1/secret", "http://nowhere.invalid./secret"])
    with pytest.raises(RpcUnavailable) as raised:
        await rpc.call(*NUMBER)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("answer", [None, 5, "five", "", [], {}])
def test_what_is_no_quantity(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"quantity|base 16"):
        quantity(answer)


def test_quantity() -> None:
    assert quantity("0x1f") == 31
