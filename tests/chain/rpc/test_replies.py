from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from infernet_edge.chain.rpc.errors import Cause, EndpointFailure, RpcError
from infernet_edge.chain.rpc.replies import Response, Unanswered, read_answers, retry_after
from tests.support.rpc_behaviours import BATCH_REFUSALS, METHOD_REFUSALS, RATE_REFUSALS, Answer


def response(answer: Answer) -> Response:
    return Response(answer.status or 0, "", answer.headers.get("Retry-After", ""), answer.body)


def calls_of(count: int, method: str = "eth_call") -> list[dict[str, Any]]:
    return [
        {"jsonrpc": "2.0", "id": n, "method": method, "params": [n]} for n in range(1, count + 1)
    ]


def read(answer: Any, count: int, method: str = "eth_call", status: int = 200) -> list[Any]:
    found = answer if isinstance(answer, Answer) else Answer(status, msgspec.json.encode(answer))
    return read_answers(response(found), [(method, [])] * count, list(range(1, count + 1)))


@pytest.mark.parametrize("form", [name for name in BATCH_REFUSALS if name != "closed"])
@pytest.mark.parametrize("count", [2, 3, 50])
def test_no_refusal_of_a_batch_is_taken_for_answers(form: str, count: int) -> None:
    refusal = BATCH_REFUSALS[form](calls_of(count), 1)
    causes = set()
    try:
        answers = read(refusal, count)
    except EndpointFailure as failure:
        answers, causes = [], {failure.cause}
    assert causes <= {Cause.SIZE, Cause.UNCLEAR}
    assert all(isinstance(answer, Unanswered) for answer in answers)


@pytest.mark.parametrize("form", [name for name in RATE_REFUSALS if name != "closed"])
@pytest.mark.parametrize("count", [1, 2, 20])
def test_refusals_because_of_the_rate(form: str, count: int) -> None:
    refusal = RATE_REFUSALS[form](calls_of(count), count > 1)
    with pytest.raises(EndpointFailure) as raised:
        read(refusal, count)
    assert raised.value.cause is (Cause.UNCLEAR if form == "503_html" else Cause.RATE)


@pytest.mark.parametrize("form", ["infura", "ankr"])
def test_the_pause_that_an_error_names(form: str) -> None:
    with pytest.raises(EndpointFailure) as raised:
        read(RATE_REFUSALS[form](calls_of(1), False), 1)
    assert raised.value.pause == 1


def test_the_limit_that_an_error_names() -> None:
    with pytest.raises(EndpointFailure) as raised:
        read(BATCH_REFUSALS["error_object"](calls_of(79), 10), 79)
    assert (raised.value.cause, raised.value.limit) == (Cause.SIZE, 10)


@pytest.mark.parametrize("form", METHOD_REFUSALS)
def test_a_method_that_is_not_offered(form: str) -> None:
    refusal = METHOD_REFUSALS[form]
    error = {"code": refusal.code, "message": refusal.message.format(method="eth_estimateGas")}
    [answer] = read({"id": 1, "error": error}, 1, status=refusal.status)
    assert isinstance(answer, RpcError)
    assert answer.lacks_method


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("eth_getLogs", {"code": -32005, "message": "query returned more than 10000 results"}),
        ("eth_getLogs", {"code": -32602, "message": "exceed maximum block range: 5000"}),
        (
            "eth_getLogs",
            {"code": -32000, "message": "requests are limited to a range of 10 blocks"},
        ),
        ("eth_call", {"code": 3, "message": "execution reverted: rate limit", "data": "0x"}),
        ("eth_call", {"code": -32000, "message": "execution reverted"}),
        ("eth_call", {"code": -32000, "message": "header not found"}),
        ("eth_estimateGas", {"code": -32000, "message": "gas required exceeds allowance (0)"}),
        (
            "eth_sendRawTransaction",
            {
                "code": -32000,
                "message": "in-flight transaction limit reached for delegated accounts",
            },
        ),
        ("eth_sendRawTransaction", {"code": -32000, "message": "exceeds block gas limit"}),
        ("eth_sendRawTransaction", {"code": -32000, "message": "already known"}),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_errors_that_are_answers(method: str, error: dict[str, Any], status: int) -> None:
    [answer] = read({"id": 1, "error": error}, 1, method, status)
    assert isinstance(answer, RpcError)
    assert answer.message == error["message"]


def test_answers_and_gaps_in_any_order() -> None:
    chance = random.Random(3)
    for _ in range(300):
        count = chance.randint(1, 12)
        kinds = [chance.choice(("result", "null", "revert", "rate", "gap")) for _ in range(count)]
        replies: list[dict[str, Any]] = []
        for n, kind in enumerate(kinds, 1):
            identifier: Any = str(n) if chance.random() < 0.3 else n
            body: dict[str, dict[str, Any]] = {
                "result": {"result": hex(n)},
                "null": {"result": None},
                "revert": {"error": {"code": 3, "message": "execution reverted", "data": "0x01"}},
                "rate": {"error": {"code": 429, "message": "too many"}},
            }
            if kind != "gap":
                replies.append({"id": identifier} | body[kind])
        chance.shuffle(replies)
        if not set(kinds) & {"result", "null", "revert"}:
            with pytest.raises(EndpointFailure):
                read(replies, count)
            continue
        for n, (kind, answer) in enumerate(zip(kinds, read(replies, count), strict=True), 1):
            if kind == "result":
                assert answer == hex(n)
            elif kind == "null":
                assert answer is None
            elif kind == "revert":
                assert answer.is_revert
            else:
                assert answer.cause is (Cause.RATE if kind == "rate" else Cause.SIZE)


def test_anything_at_all_is_read_or_refused() -> None:
    chance = random.Random(4)
    whole = msgspec.json.encode([{"id": 1, "result": "0x1"}, {"id": 2, "error": {"code": 1}}])
    for _ in range(2000):
        body = bytearray(whole)
        for _ in range(chance.randint(0, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        body = body[: chance.randint(0, len(body))] if chance.random() < 0.5 else body
        status = chance.choice((200, 400, 401, 403, 413, 429, 500, 503))
        try:
            answers = read(Answer(status, bytes(body)), 2)
        except EndpointFailure:
            continue
        assert len(answers) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("", 0),
        ("soon", 0),
        ("-1", 0),
        ("86400", 120),
        ("9" * 30, 120),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 120),
    ],
)
def test_retry_after(text: str, seconds: float) -> None:
    assert retry_after(text) == seconds
