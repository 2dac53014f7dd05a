"""Inputs that do not fit the schema of their container are refused before they are stored."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.model import Container
from infernet_edge.errors import BadRequest
from infernet_edge.jobs.checking.inputs import MAX_VALUES, InputSchemas
from tests.support.reloading import Reloadable, reloadable
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

SCHEMA = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string"},
        "length": {"type": "integer", "minimum": 1, "maximum": 500},
        "hold": {},
        "chunks": {},
    },
    "additionalProperties": False,
}
GOOD = {"prompt": "The house", "length": 10}
WRONG = {"prompt": "The house", "length": 5000}
REFUSAL = {
    "error": "data.length: expected at most 500, found 5000",
    "params": {"field": "data.length", "pointer": "/length", "container": "writer"},
}


def request(*containers: str, **data: Any) -> dict[str, Any]:
    return {"containers": containers or ["writer"], "data": data}


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[RunningNode]:
    async with serving(echo) as url:
        containers = [
            {"id": "writer", "url": url, "input_schema": SCHEMA, "allowed_ips": ["127.0.0.1"]},
            {"id": "any", "url": f"{url}/any"},
        ]
        async with running(tmp_path, {"containers": containers}) as running_node:
            yield running_node
            echo.release()


async def test_a_job(node: RunningNode, echo: Echo) -> None:
    assert (await node.finished(await node.job(["writer"], GOOD)))["status"] == "success"
    echo.calls.clear()
    reply = await node.post("/api/jobs", request(**WRONG))
    assert (reply.status, reply.body) == (400, REFUSAL)
    for data, field in (({}, "data.prompt"), (GOOD | {"prmpt": 1}, "data.prmpt")):
        reply = await node.post("/api/jobs", request(**data))
        assert (reply.status, reply.body["params"]["field"]) == (400, field)
    assert len((await node.get("/api/jobs")).body) == 1, "nothing is stored"
    assert echo.calls == []


async def test_a_job_that_would_be_waited_for(node: RunningNode) -> None:
    reply = await node.post("/api/jobs?wait=5", request(**WRONG))
    assert (reply.status, reply.body) == (400, REFUSAL)


async def test_a_key_is_free_after_a_refusal(node: RunningNode) -> None:
    key = {"Idempotency-Key": "one"}
    assert (await node.post("/api/jobs", request(**WRONG), key)).status == 400
    assert (await node.post("/api/jobs", request(**GOOD), key)).status == 200


async def test_items_of_a_batch(node: RunningNode) -> None:
    reply = await node.post("/api/jobs/batch", [request(**data) for data in (GOOD, WRONG, GOOD)])
    first, wrong, last = reply.body
    assert reply.status == 200
    assert wrong == REFUSAL
    assert len((await node.get("/api/jobs")).body) == 2
    for job in (first, last):
        assert (await node.finished(job["id"]))["status"] == "success"


async def test_a_batch_does_not_stop_the_loop(tmp_path: Path) -> None:
    """Each input is short, and all of them take long."""
    limits = {"minimum": 1, "maximum": 9, "exclusiveMinimum": 0, "exclusiveMaximum": 10}
    schema = {"properties": {"n": {"items": limits | {"type": "integer"}}}}
    containers = [{"id": "writer", "url": "http://127.0.0.1:9", "input_schema": schema}]
    wrong = request(n=[1] * 7000 + [0])

    async def longest_step() -> float:
        longest, before = 0.0, time.thread_time()  # of this thread: other processes do not count
        while True:
            await asyncio.sleep(0)
            longest, before = max(longest, time.thread_time() - before), time.thread_time()
            if posted.done():
                return longest

    async with running(tmp_path, {"containers": containers}) as node:
        posted = asyncio.ensure_future(node.post("/api/jobs/batch", [wrong] * 300))
        longest = await longest_step()
        answers = (await posted).body
    assert [each["params"]["pointer"] for each in answers] == ["/n/7000"] * 300
    assert longest < 0.3


async def test_a_stream(node: RunningNode) -> None:
    reply = await node.post("/api/jobs/stream", request(**WRONG))
    assert (reply.status, reply.body) == (400, REFUSAL)
    reply = await node.post("/api/jobs/stream", request(**GOOD, chunks=["a", "b"]))
    assert reply.status == 200
    assert reply.body.endswith(b"ab")


async def test_only_the_first_container_of_a_chain(node: RunningNode) -> None:
    job = await node.job(["any", "writer"], {"whatever": 1})
    assert (await node.finished(job))["status"] == "success"
    reply = await node.post("/api/jobs", request("writer", "any", **WRONG))
    assert (reply.status, reply.body) == (400, REFUSAL)


async def test_the_rules_come_first(node: RunningNode) -> None:
    reply = await node.post("/api/jobs", request("writer", "none", **WRONG))
    assert (reply.status, reply.body["error"]) == (405, "Container not supported")


async def test_a_long_input_is_checked_too(node: RunningNode) -> None:
    job = await node.job(["writer"], {"prompt": "x" * 2**20})
    assert (await node.finished(job))["status"] == "success"
    reply = await node.post("/api/jobs", request(prompt="x" * 2**20, length=0))
    assert (reply.status, reply.body["params"]["field"]) == (400, "data.length")


async def test_all_list_the_schema(node: RunningNode) -> None:
    writer, other = (await node.get("/api/containers")).body["items"]
    assert (writer["input_schema"], other["input_schema"]) == (SCHEMA, None)
    document = (await node.get("/openapi.json")).body
    assert document["components"]["schemas"]["Input.writer"]["properties"] == SCHEMA["properties"]
    assert "Input.any" not in document["components"]["schemas"]
    overview = (await node.get("/api/overview")).body
    assert "properties" not in json.dumps(overview["containers"])


async def test_requests_of_openai_clients(tmp_path: Path) -> None:
    schema = {"properties": {"max_tokens": {"maximum": 10}}}
    async with serving(Echo()) as url:
        container = {"id": "llm", "url": url, "models": ["a/b"], "input_schema": schema}
        async with running(tmp_path, {"containers": [container]}) as node:
            for more in ({}, {"stream": True}):
                request = {"model": "llm/a/b", "prompt": "x", "max_tokens": 50} | more
                reply = await node.post("/v1/completions", request)
                assert reply.status == 400
                assert reply.body["error"]["param"] == "max_tokens"
                assert "expected at most 10, found 50" in reply.body["error"]["message"]
            assert (await node.get("/api/jobs")).body == []


# A reload


@pytest.fixture
async def changing(tmp_path: Path) -> AsyncIterator[Reloadable]:
    (tmp_path / "writer.json").write_text(json.dumps(SCHEMA))
    async with serving(Echo()) as url:
        containers = [{"id": "writer", "url": url, "input_schema": "writer.json"}]
        async with reloadable(tmp_path, {"containers": containers}) as node:
            yield node


async def test_a_reload_applies_it(changing: Reloadable) -> None:
    [container] = changing.document["containers"]
    assert (await changing.post("/api/jobs", request(**WRONG))).body == REFUSAL
    assert "Input.writer" in (await changing.get("/openapi.json")).body["components"]["schemas"]

    # Another content of the same file.
    file = changing.file.parent / "writer.json"
    file.write_text(json.dumps(SCHEMA | {"required": ["length"]}))
    report = await changing.post_reload()
    assert report["applied"] == ["containers[writer].input_schema"]
    reply = await changing.post("/api/jobs", request(prompt="a"))
    assert (reply.status, reply.body["params"]["field"]) == (400, "data.length")

    # One that is wrong changes nothing.
    file.write_text('{"type": "strng"}')
    report = await changing.post_reload()
    assert 'containers[0].input_schema: found "strng" at /type' in report["problems"][0]
    assert (await changing.post("/api/jobs", request(prompt="a"))).status == 400

    # None at all.
    report = await changing.reload(containers=[container | {"input_schema": None}])
    assert report["applied"] == ["containers[writer].input_schema"]
    assert (await changing.post("/api/jobs", request(whatever=1))).status == 200
    document = (await changing.get("/openapi.json")).body
    assert "Input.writer" not in document["components"]["schemas"]


# Bounds


def schemas(schema: Any, protocol: Any = "infernet") -> InputSchemas:
    return InputSchemas([Container("writer", input_schema=schema, protocol=protocol)])


async def refusal(schema: Any, data: bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        await schemas(schema).check("writer", data)
    return caught.value.message


async def longest_pause(work: Any) -> float:
    """Seconds for which the event loop stood still while something was awaited."""
    longest, task = 0.0, asyncio.ensure_future(work)
    while not task.done():
        before = time.monotonic()
        await asyncio.sleep(0.001)
        longest = max(longest, time.monotonic() - before)
    await task
    return longest


async def test_a_large_input_does_not_stop_the_loop() -> None:
    numbers = json.dumps(list(range(150_000))).encode()
    schema = {"properties": {"n": {"items": {"type": "integer", "minimum": 0}}}}
    checked = schemas(schema).check("writer", b'{"n":%b}' % numbers)
    assert len(numbers) > 2**20 - 2**16
    assert await longest_pause(checked) < 0.5


async def test_a_schema_that_multiplies_the_work() -> None:
    twice = {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}
    data = b'{"a":' * 60 + b"1" + b"}" * 60
    begin = time.monotonic()
    assert "checks with less work" in await refusal(twice, data)
    assert time.monotonic() - begin < 30
    deep = {"properties": {"a": {"$ref": "#"}}}
    await schemas(deep).check("writer", data)


async def test_many_values() -> None:
    many = b'{"n":[' + b"{}," * MAX_VALUES + b"1]}"
    assert f"expected at most {MAX_VALUES} values" in await refusal({}, many)
    text = b'{"n":"' + b'a,\\"' * MAX_VALUES + b'"}'
    await schemas({}).check("writer", text)


@pytest.mark.parametrize("data", [b'{"a":1e400}', b'{"a":"\\ud800"}', b'{"a":' + b"[" * 9999])
async def test_what_cannot_be_decoded(data: bytes) -> None:
    assert (await refusal({}, data)).startswith("data: expected data that ")


async def test_numbers_keep_their_digits() -> None:
    limit = 2**256 - 1
    schema = {"properties": {"wei": {"maximum": limit}}}
    await schemas(schema).check("writer", b'{"wei":%d}' % limit)
    assert "data.wei: expected at most" in await refusal(schema, b'{"wei":%d}' % (limit + 1))


# What contracts give


TEXT_OR_OBJECT = {"type": ["object", "string"], "required": ["prompt"], "maxLength": 8}


@pytest.mark.parametrize(
    ("protocol", "content", "said"),
    [
        ("infernet", b'{"prompt": "a"}', ""),
        ("infernet", b"{}", "input.prompt: expected a value, found nothing"),
        ("infernet", b"abcd", ""),  # 8 hex digits
        ("infernet", b"abcde", "input: expected at most 8 characters, found 10"),
        ("infernet", b"[1]", "input: expected an object or text, found a list"),
        ("http", b'{"prompt": "a"}', ""),
        ("http", b"{}", "input.prompt: expected a value, found nothing"),
        ("http", b"abcde", ""),  # a text of 5
        ("http", b"abcdefghi", "input: expected at most 8 characters, found 9"),
        ("openai", b"17", "input: expected an object or text, found 17"),
        ("infernet", b"\xff", ""),
    ],
)
async def test_what_a_contract_gives(protocol: str, content: bytes, said: str) -> None:
    checked = schemas(TEXT_OR_OBJECT, protocol)
    data = json.dumps(content.hex()).encode()
    if said:
        with pytest.raises(BadRequest) as caught:
            await checked.check_onchain("writer", data)
        assert caught.value.message == said
    else:
        await checked.check_onchain("writer", data)


async def test_containers_without_a_schema() -> None:
    none = InputSchemas([Container("writer")])
    assert "writer" not in none
    await none.check("writer", b"not JSON")
    await none.check_onchain("writer", b"not JSON")


def test_nothing_is_imported_without_a_schema() -> None:
    code = (
        "import sys; from infernet_edge.node import Node;"
        "from infernet_edge.config.loading import build;"
        "from infernet_edge.jobs.checking.inputs import InputSchemas;"
        "config = build({'containers': [{'id': 'a', 'url': 'http://b'}]}, 'test', {})[0];"
        "InputSchemas(config.containers);"
        "sys.exit(any('infernet_edge.json_schema' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
