"""POST and GET /api/jobs, POST /api/jobs/batch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import tracemalloc
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.api.jobs import batch_items
from infernet_edge.errors import BadRequest
from infernet_edge.jobs.guardian import MAX_CONTAINERS
from tests.support.breaking import full_disk, read_only
from tests.support.managing import eventually
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

REQUEST = {"containers": ["echo"], "data": {"a": 1}}
DELEGATED: dict[str, Any] = {"subscription": {}, "signature": {}, "data": {}}


def containers(url: str) -> list[dict[str, Any]]:
    return [
        {"id": "echo", "url": url, "allowed_ips": []},
        {"id": "b", "url": f"{url}/b", "generates_proofs": True},
        {"id": "internal", "url": f"{url}/internal", "external": False},
        {"id": "private", "url": url, "allowed_ips": ["10.0.0.0/8", "2001:db8::/32"]},
        {"id": "local", "url": url, "allowed_ips": ["10.0.0.0/8", "127.0.0.0/8"]},
    ]


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[RunningNode]:
    async with serving(echo) as url:
        document = {"containers": containers(url), "server": {"trusted_proxies": ["127.0.0.1"]}}
        async with running(tmp_path, document) as running_node:
            yield running_node
            echo.release()


async def test_a_job_runs(node: RunningNode, echo: Echo) -> None:
    reply = await node.post("/api/jobs", REQUEST)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert list(reply.body) == ["id"]
    assert uuid.UUID(reply.body["id"]).version == 4
    assert await node.finished(reply.body["id"]) == {
        "id": reply.body["id"],
        "status": "success",
        "result": {"container": "echo", "output": {"output": {"a": 1}, "by": ""}},
        "intermediate_results": [],
    }
    assert echo.calls == [
        {"source": 1, "destination": 1, "data": {"a": 1}, "requires_proof": False}
    ]


async def test_while_it_runs_there_is_no_result(node: RunningNode, echo: Echo) -> None:
    identifier = await node.job(data={"hold": True})
    reply = await node.get(f"/api/jobs?id={identifier}")
    assert reply.body == [{"id": identifier, "status": "running", "result": None}]
    echo.release()
    assert (await node.finished(identifier))["status"] == "success"


async def test_the_output_of_a_container_is_the_input_of_the_next(
    node: RunningNode, echo: Echo
) -> None:
    body = {"containers": ["echo", "internal", "b"], "data": {"a": 1}, "requires_proof": True}
    reply = await node.post("/api/jobs", body)
    found = await node.finished(reply.body["id"])
    first = {"output": {"a": 1}, "by": ""}
    second = {"output": first, "by": "/internal"}
    assert found["result"] == {"container": "b", "output": {"output": second, "by": "/b"}}
    assert found["intermediate_results"] == [
        {"container": "echo", "output": first},
        {"container": "internal", "output": second},
    ]
    for call in echo.calls:
        assert (call["source"], call["destination"], call["requires_proof"]) == (1, 1, True)
    plain = (await node.get(f"/api/jobs?id={reply.body['id']}")).body[0]
    assert "intermediate_results" not in plain
    off = (await node.get(f"/api/jobs?id={reply.body['id']}&intermediate=false")).body[0]
    assert "intermediate_results" not in off


async def test_the_first_failing_container_ends_the_job(node: RunningNode, echo: Echo) -> None:
    # The echo answers {"output": ...}, so the requested status only reaches the first container.
    identifier = await node.job(["echo", "b"], {"status": 500})
    found = await node.finished(identifier)
    assert found["status"] == "failed"
    assert found["result"]["container"] == "echo"
    assert "status" in found["result"]["error"]
    assert found["intermediate_results"] == []
    assert len(echo.calls) == 1


async def test_the_same_container_may_be_in_a_chain_twice(node: RunningNode) -> None:
    found = await node.finished(await node.job(["echo", "echo"], {"a": 1}))
    assert found["result"]["output"] == {"output": {"output": {"a": 1}, "by": ""}, "by": ""}


# The guard table of the specification, in its order: each request breaks its rule and all below it.
REFUSALS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"containers": [], "requires_proof": True}, "No containers specified", {}),
    (
        {"containers": ["internal", "ghost"], "requires_proof": True},
        "Container not supported",
        {"container": "ghost"},
    ),
    (
        {"containers": ["internal", "private"], "requires_proof": True},
        "First container must be external",
        {"first_container": "internal"},
    ),
    (
        {"containers": ["b", "private"], "requires_proof": True},
        "Container does not generate proof",
        {"container": "private"},
    ),
    (
        {"containers": ["echo", "private"]},
        "Container not allowed for address",
        {"container": "private", "address": "127.0.0.1"},
    ),
]


@pytest.mark.parametrize(("body", "error", "params"), REFUSALS, ids=[r[1] for r in REFUSALS])
@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/stream", "/api/jobs/batch"])
async def test_guard_rules(
    node: RunningNode, path: str, body: dict[str, Any], error: str, params: dict[str, Any]
) -> None:
    request = {"data": {}, **body}
    if path.endswith("batch"):
        reply = await node.post(path, [request])
        assert reply.status == 200
        assert reply.body == [{"error": error, "params": params}]
    else:
        reply = await node.post(path, request)
        assert reply.status == 405
        assert reply.body == {"error": error, "params": params}
    assert (await node.get("/api/jobs")).body == []


@pytest.mark.parametrize(
    ("address", "container", "allowed"),
    [
        ("10.1.2.3", "private", True),
        ("11.1.2.3", "private", False),
        ("2001:db8::7", "private", True),
        ("2001:db9::7", "private", False),
        ("::ffff:10.1.2.3", "private", True),
        ("127.0.0.1", "local", True),
        ("192.168.1.1", "echo", True),
    ],
)
async def test_allowed_addresses(
    node: RunningNode, address: str, container: str, allowed: bool
) -> None:
    request = {"containers": [container], "data": {}}
    reply = await node.post("/api/jobs", request, {"x-forwarded-for": address})
    assert reply.status == (200 if allowed else 405), reply.body


async def test_the_body_does_not_identify_the_caller(node: RunningNode) -> None:
    forged = {"id": str(uuid.uuid4()), "ip": "10.1.2.3", "type": "stream", "unknown": [1]}
    refused = await node.post("/api/jobs", {"containers": ["private"], "data": {}, **forged})
    assert refused.status == 405
    assert refused.body["params"]["address"] == "127.0.0.1"
    accepted = await node.post("/api/jobs", {**REQUEST, **forged})
    assert accepted.status == 200
    assert accepted.body["id"] != forged["id"]


async def test_at_most_so_many_containers(node: RunningNode) -> None:
    reply = await node.post(
        "/api/jobs", {"containers": ["echo"] * (MAX_CONTAINERS + 1), "data": {}}
    )
    assert reply.status == 400
    assert reply.body["params"] == {"field": "containers"}


MALFORMED: list[tuple[bytes, str, dict[str, str]]] = [
    (b"", "Expected a JSON body", {}),
    (b"  \n", "Expected a JSON body", {}),
    (b"{", "Malformed JSON", {}),
    (b'{"containers":["echo"],"data":{}', "Malformed JSON", {}),
    (b'{"containers":["echo"],"data":{"a":}}', "Malformed JSON", {}),
    (b'{"containers":["echo"],"data":{"a":NaN}}', "Malformed JSON", {}),
    (b'{"containers":["echo"],"data":{}} {}', "Malformed JSON", {}),
    (b'{"containers":["echo"],"data":{"a":"\xff"}}', "Malformed JSON: not UTF-8", {}),
    (b'{"containers":["\\ud800"],"data":{}}', "Malformed JSON", {}),
    (b"[" * 10_000 + b"]" * 10_000, "body: expected an object, found a list", {}),
    (
        b'{"containers":["echo"],"data":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
        "Malformed JSON: nested too deeply",
        {},
    ),
    (b"[]", "body: expected an object, found a list", {}),
    (b"null", "body: expected an object, found null", {}),
    (b'"text"', "body: expected an object, found text", {}),
    (b"12", "body: expected an object, found a whole number", {}),
    (b"{}", "containers: expected a list, found nothing", {"field": "containers"}),
    (b'{"containers":["echo"]}', "data: expected an object, found nothing", {"field": "data"}),
    (b'{"data":{}}', "containers: expected a list, found nothing", {"field": "containers"}),
    (
        b'{"containers":"echo","data":{}}',
        "containers: expected a list, found text",
        {"field": "containers"},
    ),
    (
        b'{"containers":[1],"data":{}}',
        "containers[0]: expected text, found a whole number",
        {"field": "containers[0]"},
    ),
    (
        b'{"containers":["echo"],"data":{},"requires_proof":"yes"}',
        "requires_proof: expected true or false",
        {"field": "requires_proof"},
    ),
    (b'{"containers":["echo"],"data":[1]}', "data: expected an object", {"field": "data"}),
    (b'{"containers":["echo"],"data":null}', "data: expected an object", {"field": "data"}),
    (b'{"containers":["echo"],"data":"x"}', "data: expected an object", {"field": "data"}),
]


@pytest.mark.parametrize(
    ("body", "error", "params"),
    MALFORMED,
    ids=[body[:40].decode("latin-1") for body, *_ in MALFORMED],
)
@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/stream"])
async def test_malformed_requests(
    node: RunningNode, path: str, body: bytes, error: str, params: dict[str, str]
) -> None:
    reply = await node.post(path, body)
    assert reply.status == 400
    assert reply.headers["content-type"] == "application/json"
    assert reply.body["error"].startswith(error)
    assert reply.body["params"] == params
    assert (await node.get("/api/jobs")).body == []


async def test_the_last_of_two_equal_keys_wins(node: RunningNode, echo: Echo) -> None:
    body = b'{"containers":["ghost"],"data":{"a":1},"containers":["echo"],"data":{"a":2}}'
    reply = await node.post("/api/jobs", body)
    assert reply.status == 200
    found = await node.finished(reply.body["id"])
    assert found["result"]["output"]["output"] == {"a": 2}


async def test_data_reaches_the_container_as_it_was_sent(tmp_path: Path) -> None:
    """No digit is lost and no text changed, for wide and unusual ones too."""
    data = f'{{"r":{2**256 - 1}, "f":1.10, "é":"\\u00e9\\ud83d\\ude00 ü", "subscription":{{}}}}'
    seen: list[bytes] = []

    async def remember(request: web.Request) -> web.Response:
        if request.method == "POST":
            seen.append(await request.read())
        return web.Response(body=b'{"wide":%d}' % (2**255), content_type="application/json")

    async with serving(remember) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node:
            sent = b'{"containers":["echo"],"data":%b}' % data.encode()
            reply = await node.post("/api/jobs", sent)
            assert reply.status == 200, reply.body
            found = await node.finished(reply.body["id"])
            assert found["result"]["output"] == {"wide": 2**255}
    (body,) = seen
    assert b'"data":' + data.encode() + b"," in body


async def test_a_body_at_the_limit_and_one_over_it(tmp_path: Path) -> None:
    async with serving(Echo()) as url:
        document = {
            "containers": [{"id": "echo", "url": url}],
            "server": {"max_body_bytes": 20_000},
        }
        async with running(tmp_path, document) as node:
            for size, status in ((20_000, 200), (20_001, 413)):
                for path in ("/api/jobs", "/api/jobs/stream"):
                    reply = await node.post(path, _request_of(size))
                    assert reply.status == status
                reply = await node.post("/api/jobs/batch", b"[" + _request_of(size - 2) + b"]")
                assert reply.status == status
            assert reply.body == {"error": "Body too large", "params": {"limit": 20_000}}
            # The same without a length in front: the limit holds while the body comes.
            sending = _chunks(b"x" * 1000, 1000)
            async with node.session.post(
                node.url + "/api/jobs", data=sending, headers={"content-type": "application/json"}
            ) as response:
                assert response.status == 413


def _request_of(size: int) -> bytes:
    """A request that takes so many bytes."""
    frame = b'{"containers":["echo"],"data":{"a":"%b"}}'
    return frame % (b"x" * (size - len(frame % b"")))


async def _chunks(chunk: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield chunk


async def test_20_megabytes_of_json(node: RunningNode) -> None:
    reply = await node.post("/api/jobs", b'{"a":"%b"}' % (b"x" * 20 * 2**20))
    assert reply.status == 413
    assert reply.body["params"] == {"limit": 16 * 2**20}


async def test_a_delegated_subscription_while_the_chain_is_off(node: RunningNode) -> None:
    reply = await node.post("/api/jobs", DELEGATED)
    assert (reply.status, reply.body) == (405, {"error": "Chain not enabled", "params": {}})
    reply = await node.post("/api/jobs/stream", DELEGATED)
    assert reply.status == 405
    assert reply.body["error"] == "Streaming only supported for OffchainJob requests."


async def test_a_batch_answers_in_order_and_item_by_item(node: RunningNode) -> None:
    items = [
        REQUEST,
        {"containers": ["ghost"], "data": {}},
        DELEGATED,
        17,
        {"containers": ["echo"]},
        {"containers": ["b"], "data": {"a": 2}},
        None,
        {"containers": [7], "data": {}},
    ]
    reply = await node.post("/api/jobs/batch", items)
    assert reply.status == 200
    first, ghost, delegated, number, missing, second, null, wrong = reply.body
    assert ghost == {"error": "Container not supported", "params": {"container": "ghost"}}
    assert delegated == {"error": "Chain not enabled", "params": {}}
    assert number["error"] == "item: expected an object, found a whole number"
    assert missing == {
        "error": "data: expected an object, found nothing",
        "params": {"field": "data"},
    }
    assert null["error"] == "item: expected an object, found null"
    assert wrong["params"] == {"field": "containers[0]"}
    for item, data in ((first, {"a": 1}), (second, {"a": 2})):
        found = await node.finished(item["id"])
        assert found["result"]["output"]["output"] == data
    assert (await node.get("/api/jobs")).body == [first["id"], second["id"]]


async def test_an_empty_batch(node: RunningNode) -> None:
    reply = await node.post("/api/jobs/batch", [])
    assert (reply.status, reply.body) == (200, [])


@pytest.mark.parametrize("body", [REQUEST, "text", 1, None])
async def test_a_batch_is_a_list(node: RunningNode, body: Any) -> None:
    reply = await node.post("/api/jobs/batch", json.dumps(body).encode())
    assert reply.status == 400
    assert reply.body == {"error": "Expected a list", "params": {}}


@pytest.mark.parametrize("body", [b"[", b"[{]", b"", b"[" * 10_000 + b"]" * 10_000])
async def test_a_malformed_batch(node: RunningNode, body: bytes) -> None:
    reply = await node.post("/api/jobs/batch", body)
    assert reply.status == 400
    assert reply.body["error"].startswith(("Malformed JSON", "Expected a "))


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (b"[]", []),
        (b" [ ] \n", []),
        (b"[1]", [b"1"]),
        (b'\t[ {"a" : [1, "],"]} ,\r\n"x\\",]" , [[]],-1.5e3,null ] ', None),
        (b'["\xc3\xbc\xe2\x82\xac", {"\xc3\xbc": 1}]', None),
    ],
)
def test_the_items_of_a_batch(body: bytes, items: list[bytes] | None) -> None:
    found = batch_items(body)
    assert items is None or found == items
    assert [json.loads(bytes(item)) for item in found] == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        *(b"[1 2]", b"[1,]", b"[,1]", b"[1", b"[1,", b"[", b"[1]]", b"[1]x", b"[1}", b"[1;2]"),
        *(b'["a]', b"[tru]", b"[01]", b"[1] [2]", b"[" + b'{"a":' * 10_000 + b"1]"),
    ],
)
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(BadRequest, match="Malformed JSON"):
        batch_items(body)


def test_a_batch_has_a_bound() -> None:
    assert len(batch_items(b"[%b0]" % (b"0," * 9_999))) == 10_000
    with pytest.raises(BadRequest, match="at most 10000 items"):
        batch_items(b"[%b0]" % (b"0," * 10_000))


@pytest.mark.parametrize("body", [b"[%b0]", b'[{"a":[%b0]}]', b'[%b"'], ids=["items", "one", "no"])
@pytest.mark.parametrize("unit", [b"0,", b"[],", b"{},", b'"a",'])
def test_a_batch_of_16_mebibytes_takes_no_more_memory_than_itself(body: bytes, unit: bytes) -> None:
    large = body % (unit * (16 * 2**20 // len(unit)))
    tracemalloc.start()
    try:
        with contextlib.suppress(BadRequest):
            batch_items(large)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * len(large)
    finally:
        tracemalloc.stop()


async def test_a_deep_item_touches_no_other(node: RunningNode) -> None:
    deep = b'{"containers":["echo"],"data":{"a":%b1%b}}' % (b"[" * 300, b"]" * 300)
    good = json.dumps(REQUEST).encode()
    reply = await node.post("/api/jobs/batch", b"[%b,%b]" % (deep, good))
    assert reply.status == 200
    assert "id" in reply.body[1]


async def test_results_in_the_order_asked_and_unknown_ids_left_out(node: RunningNode) -> None:
    ids = [await node.job(data={"n": n}) for n in range(3)]
    for identifier in ids:
        await node.finished(identifier)
    asked = [ids[2], str(uuid.uuid4()), ids[0], "no-uuid", "ü", "", ids[1]]
    reply = await node.get("/api/jobs?" + "&".join(f"id={text}" for text in asked))
    assert reply.status == 200
    assert [found["id"] for found in reply.body] == [ids[2], ids[0], ids[1]]
    assert [found["result"]["output"]["output"]["n"] for found in reply.body] == [2, 0, 1]
    assert (await node.get(f"/api/jobs?id={uuid.uuid4()}")).body == []


async def test_too_many_ids_at_once(node: RunningNode) -> None:
    ids = [str(uuid.uuid4()) for _ in range(1001)]
    assert (await node.get("/api/jobs?id=" + "&id=".join(ids[:1000]))).status == 200
    reply = await node.get("/api/jobs?id=" + "&id=".join(ids))
    assert reply.status == 400
    assert reply.body["params"] == {"field": "id"}
    assert (await node.get("/api/jobs?" + "a=1&" * 5000)).status == 400


async def test_an_id_that_is_asked_twice_is_answered_twice(node: RunningNode) -> None:
    first, second = [await node.job() for _ in range(2)]
    await node.finished(first)
    await node.finished(second)
    await node.put("/api/status", {"id": "external", "status": "running", "containers": []})
    asked = [first, "external", second, first, "external", "absent", first]
    reply = await node.get("/api/jobs?" + "&".join(f"id={text}" for text in asked))
    assert [found["id"] for found in reply.body] == [text for text in asked if text != "absent"]
    assert reply.body[0] == reply.body[3] == reply.body[5]
    assert reply.body[1] == reply.body[4]


@pytest.mark.parametrize("size", [100, 20_000, 70_000])
async def test_a_result_that_is_asked_often_takes_no_memory(node: RunningNode, size: int) -> None:
    identifier = await node.job(data={"a": "x" * size})
    await node.finished(identifier)
    path = "/api/jobs?" + f"id={identifier}&" * 999
    await node.get(path)
    limit = node.parts.memory.limit
    tracemalloc.start()
    try:
        async with node.session.get(node.url + path) as response:
            length = 0
            async for piece in response.content.iter_chunked(2**16):
                length += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (response.status, length) == (200, response.content_length)
    assert length > 999 * size
    assert peak < 4 * 2**20 < limit


@pytest.mark.parametrize("query", ["id=", "id", "id=&id=", "id=&intermediate=true"])
async def test_an_empty_id_is_an_unknown_one(node: RunningNode, query: str) -> None:
    identifier = await node.job()
    await node.finished(identifier)
    reply = await node.get(f"/api/jobs?{query}")
    assert (reply.status, reply.body) == (200, [])
    (found,) = (await node.get(f"/api/jobs?{query}&id={identifier}")).body
    assert found["id"] == identifier


async def test_other_parameters_without_a_value_are_ignored(node: RunningNode) -> None:
    identifier = await node.job()
    await node.finished(identifier)
    reply = await node.get("/api/jobs?pending=&limit=&before=&intermediate=")
    assert (reply.status, reply.body) == (200, [identifier])


async def test_large_results_come_in_one_answer(node: RunningNode) -> None:
    sizes = [0, 1000, 70_000, 300_000, 2_000_000]
    ids = [await node.job(["echo", "echo"], data={"a": "x" * size}) for size in sizes]
    for identifier in ids:
        await node.finished(identifier)
    query = "/api/jobs?intermediate=true&id=" + "&id=".join(ids)
    reply = await node.get(query)
    assert [found["id"] for found in reply.body] == ids
    for size, found in zip(sizes, reply.body, strict=True):
        assert found["result"]["output"]["output"]["output"] == {"a": "x" * size}
        (between,) = found["intermediate_results"]
        assert between["output"]["output"] == {"a": "x" * size}
    head = await node.request("HEAD", query)
    assert head.headers["content-length"] == reply.headers["content-length"]


async def test_results_belong_to_their_client(node: RunningNode) -> None:
    mine, yours = {"x-forwarded-for": "10.0.0.1"}, {"x-forwarded-for": "10.0.0.2"}
    first = await node.job(headers=mine)
    second = await node.job(headers=yours)
    await node.finished(first, mine)
    await node.finished(second, yours)
    for headers, own, other in ((mine, first, second), (yours, second, first)):
        assert (await node.get("/api/jobs", headers)).body == [own]
        reply = await node.get(f"/api/jobs?id={other}&id={own}", headers)
        assert [found["id"] for found in reply.body] == [own]
    assert (await node.get("/api/jobs")).body == []
    assert (await node.get(f"/api/jobs?id={first}&id={second}")).body == []


async def test_the_list_of_ids(node: RunningNode, echo: Echo) -> None:
    finished = [await node.job() for _ in range(3)]
    for identifier in finished:
        await node.finished(identifier)
    pending = [await node.job(data={"hold": True}) for _ in range(2)]
    await eventually(lambda: echo.open == 2)

    async def listed(query: str) -> Any:
        reply = await node.get(f"/api/jobs{query}")
        assert reply.status == 200
        return reply.body

    for all_of_them in ("", "?pending=", "?pending=maybe", "?limit=10000"):
        assert await listed(all_of_them) == finished + pending
    assert await listed("?pending=true") == pending
    assert await listed("?pending=false") == finished
    assert await listed("?limit=2") == pending
    assert await listed("?limit=1&pending=true") == pending[1:]
    assert await listed("?limit=1&pending=false") == finished[2:]
    assert await listed(f"?before={pending[0]}") == finished
    assert await listed(f"?before={finished[2]}&limit=1") == finished[1:2]
    assert await listed(f"?before={pending[1]}&pending=true") == pending[:1]
    assert await listed(f"?before={finished[1]}&pending=false") == finished[:1]
    assert await listed(f"?before={finished[0]}") == []


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=-1", "limit=x", "limit=10001", "limit=1.5", "before=x"),
        "limit=" + "9" * 4400,  # more digits than Python makes a number of
    ],
    ids=lambda query: query[:20],
)
async def test_wrong_parameters(node: RunningNode, query: str) -> None:
    reply = await node.get(f"/api/jobs?{query}")
    assert reply.status == 400
    assert reply.body["params"] == {"field": query.partition("=")[0]}


async def test_megabytes_reach_the_container(node: RunningNode, echo: Echo) -> None:
    reply = await node.post("/api/jobs", REQUEST | {"data": {"a": "x" * 4 * 2**20}})
    found = await node.finished(reply.body["id"])
    assert found["status"] == "success"
    assert len(found["result"]["output"]["output"]["a"]) == 4 * 2**20


async def test_a_full_queue_is_a_503(tmp_path: Path) -> None:
    echo = Echo()
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}], "jobs": {"max_pending": 3}}
        async with running(tmp_path, document) as node:
            held = [await node.job(data={"hold": True}) for _ in range(2)]
            batch = await node.post("/api/jobs/batch", [REQUEST | {"data": {"hold": True}}] * 2)
            assert "id" in batch.body[0]
            assert batch.body[1]["error"] == "Too many pending jobs"
            for path in ("/api/jobs", "/api/jobs/stream"):
                reply = await node.post(path, REQUEST)
                assert reply.status == 503
                assert int(reply.headers["retry-after"]) > 0
                assert reply.body["error"] == "Too many pending jobs"
            echo.release()
            for identifier in held:
                await node.finished(identifier)
            await node.finished(batch.body[0]["id"])
            assert (await node.post("/api/jobs", REQUEST)).status == 200


@pytest.mark.parametrize("broken", [read_only, full_disk])
async def test_what_cannot_be_stored_is_not_acknowledged(
    node: RunningNode, echo: Echo, broken: Any
) -> None:
    before = await node.job()
    await node.finished(before)
    big = REQUEST | {"data": {"a": "x" * 100_000}}
    with broken(node.parts.database):
        for path, body in (
            ("/api/jobs", big),
            ("/api/jobs/batch", [big, big]),
            ("/api/jobs/stream", big),
        ):
            reply = await node.post(path, body)
            assert reply.status == 503, reply.body
            assert int(reply.headers["retry-after"]) > 0
        assert (await node.get("/health")).body == {"status": "unhealthy"}
        assert (await node.get(f"/api/jobs?id={before}")).body[0]["status"] == "success"
    assert len(echo.calls) == 1
    assert (await node.post("/api/jobs", big)).status == 200
    assert (await node.get("/health")).body == {"status": "healthy"}
    assert (await node.get("/info")).body["pending"]["offchain"] <= 1


async def test_many_refused_requests_are_one_event_in_the_log(
    node: RunningNode, caplog: pytest.LogCaptureFixture
) -> None:
    with read_only(node.parts.database):
        for _ in range(50):
            assert (await node.post("/api/jobs", REQUEST)).status == 503
    logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in logged] == ["storage.failed"]


async def test_an_outcome_that_cannot_be_written_is_written_later(
    node: RunningNode, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.jobs.orchestrator._SAVE_RETRY", 0.05)
    identifier = await node.job(data={"hold": True})
    await eventually(lambda: echo.open == 1)
    with read_only(node.parts.database):
        echo.release()
        await eventually(lambda: echo.open == 0)
        await asyncio.sleep(0.2)
        assert (await node.result(identifier))["status"] == "running"
    assert (await node.finished(identifier))["status"] == "success"
    assert len(echo.calls) == 1


async def test_a_node_that_stops_refuses_new_jobs(node: RunningNode) -> None:
    node.parts.store.close_intake("The node is shutting down")
    for path, body in (("/api/jobs", REQUEST), ("/api/jobs/stream", REQUEST)):
        reply = await node.post(path, body)
        assert reply.status == 503
        assert reply.body["error"] == "The node is shutting down"
        assert int(reply.headers["retry-after"]) > 0


async def test_1500_jobs_at_once(node: RunningNode) -> None:
    async def one(number: int) -> Any:
        return (await node.post("/api/jobs", REQUEST | {"data": {"n": number}})).body

    gate = asyncio.Semaphore(200)

    async def limited(number: int) -> Any:
        async with gate:
            return await one(number)

    bodies = await asyncio.gather(*(limited(n) for n in range(1500)))
    ids = [body["id"] for body in bodies]
    assert len(set(ids)) == 1500
    await eventually(lambda: not node.parts.store.pending)
    reply = await node.get("/api/jobs?pending=false")
    assert set(reply.body) == set(ids)
    sample = await node.get(f"/api/jobs?id={ids[777]}")
    assert sample.body[0]["result"]["output"]["output"] == {"n": 777}
