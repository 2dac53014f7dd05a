"""The OpenAPI document: valid in itself, and true of what the node answers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from infernet_edge.api.app import Api
from infernet_edge.api.openapi import document
from infernet_edge.dashboard import FILES, INDEX
from tests.support.breaking import read_only
from tests.support.ports import free_port
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]
JOB = {"containers": ["echo"], "data": {"a": 1}}
CHAT = {"model": "a/b", "messages": [{"role": "user", "content": "x"}]}
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def everything(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in the document."""
    if isinstance(value, dict):
        yield value
        for below in value.values():
            yield from everything(below)
    elif isinstance(value, list):
        for below in value:
            yield from everything(below)


def problems(value: Any, schema: dict[str, Any]) -> list[str]:
    """All that is wrong with a value by a schema of the document; empty: nothing."""
    whole = schema | {"components": DOCUMENT["components"]}  # to which its references lead
    found = Draft202012Validator(whole).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


def test_the_document_is_an_openapi_3_1_document() -> None:
    """By the rules of the OpenAPI Specification 3.1.0, section 4.8."""
    assert DOCUMENT["openapi"] == "3.1.0"
    assert set(DOCUMENT) <= {"openapi", "info", "paths", "components", "security"}
    assert {"title", "version"} <= set(DOCUMENT["info"])
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", name) for name in SCHEMAS)
    for path, method, operation in operations():
        assert path.startswith("/")
        assert method in METHODS
        assert set(operation) <= {"summary", "parameters", "requestBody", "responses"}
        names = [parameter["name"] for parameter in operation.get("parameters", [])]
        assert len(names) == len(set(names))
        for parameter in operation.get("parameters", []):
            needed = {"required"} if parameter["in"] == "path" else set()
            assert set(parameter) == {"name", "in", "description", "schema"} | needed
            assert parameter["in"] in ("query", "path", "header")
        in_path = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        assert operation["responses"]
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5](\d\d|XX)", status)
            assert response["description"]
        bodies = [*operation["responses"].values(), operation.get("requestBody", {"content": {}})]
        for body in bodies:
            for media_type, content in body["content"].items():
                assert re.fullmatch(r"[a-z*]+/[a-z*-]+", media_type)
                assert set(content) == {"schema"}
    for requirement in DOCUMENT["security"]:
        assert set(requirement) <= set(DOCUMENT["components"]["securitySchemes"])


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    used = {found["$ref"] for found in everything(DOCUMENT) if "$ref" in found}
    assert all(reference.startswith("#/components/schemas/") for reference in used)
    assert {reference.rpartition("/")[2] for reference in used} == set(SCHEMAS)


def test_every_schema_is_valid_and_fully_checked() -> None:
    notes = {"title", "description", "default", "format", "discriminator"}
    checked = {"$ref", "type", "enum", "const", "required", "minLength", "maxLength"}
    checked |= {"minimum", "maximum", "properties", "additionalProperties", "items", "anyOf"}
    checked |= {"pattern", "minItems", "exclusiveMinimum"}
    assert checked <= set(Draft202012Validator.VALIDATORS)
    inline = [found["schema"] for found in everything(DOCUMENT["paths"]) if "schema" in found]
    assert len(inline) > 10
    for schema in [*SCHEMAS.values(), *inline]:
        Draft202012Validator.check_schema(schema)
        for part in subschemas(schema):
            unknown = set(part) - checked - notes
            assert not unknown, (unknown, schema)


def subschemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema, and those in it."""
    yield schema
    inside = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inside += [schema.get("items"), schema.get("additionalProperties")]
    for each in inside:
        if isinstance(each, dict):
            yield from subschemas(each)


def test_every_type_of_the_api_is_described() -> None:
    for name, found in SCHEMAS.items():
        assert found.get("description") or found.get("title") == name


async def test_the_document_lists_exactly_the_endpoints_of_the_node(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        routes = Api(node.parts).routes
        served = {
            (route.path_format, method.lower())
            for route in routes
            if isinstance(route, Route)
            for method in route.methods or ()
            if method != "HEAD" and route.path not in ("/openapi.json", INDEX, FILES)
        }
        assert served == {(path, method) for path, method, _ in operations()}
        reply = await node.get("/openapi.json")
        assert reply.status == 200
        assert reply.body == json.loads(json.dumps(DOCUMENT))


class Exchange(NamedTuple):
    """A request, and the status that it is answered with."""

    method: str
    path: str
    status: int
    body: Any = None
    headers: dict[str, str] | None = None


FOREIGN = {"origin": "http://evil.example"}
EXCHANGES = [
    Exchange("GET", "/health", 200),
    Exchange("GET", "/info", 200),
    Exchange("GET", "/info", 403, headers=FOREIGN),
    Exchange("GET", "/resources", 200),
    Exchange("GET", "/resources?model_id=a/b", 200),
    Exchange("GET", "/metrics", 200),
    Exchange("GET", "/metrics", 200, headers={"accept": "application/openmetrics-text"}),
    Exchange("GET", "/metrics", 403, headers={"forwarded": "for=192.0.2.7"}),
    Exchange("GET", "/api/jobs", 200),
    Exchange("GET", "/api/jobs?pending=true&limit=5", 200),
    Exchange("GET", "/api/jobs?id={success}&id={failed}&id={running}", 200),
    Exchange("GET", "/api/jobs?id={chain}&intermediate=true", 200),
    Exchange("GET", "/api/jobs?id={reported}", 200),
    Exchange("GET", "/api/jobs?id=unknown", 200),
    Exchange("GET", "/api/jobs?limit=none", 400),
    Exchange("GET", "/api/jobs?id={success}&wait=5", 200),
    Exchange("GET", "/api/jobs?id={success}&wait=none", 400),
    Exchange("GET", "/api/jobs/{success}", 200),
    Exchange("GET", "/api/jobs/{chain}?detail=true&intermediate=true", 200),
    Exchange("GET", "/api/jobs/{running}?detail=true", 200),
    Exchange("GET", "/api/jobs/{reported}?detail=true", 200),
    Exchange("GET", "/api/jobs/unknown", 404),
    Exchange("GET", "/api/events?types=none", 400),
    Exchange("GET", "/api/history", 200),
    Exchange("GET", "/api/history?limit=2&state=failed&container=down", 200),
    Exchange("GET", "/api/history?state=none", 400),
    Exchange("GET", "/api/overview", 200),
    Exchange("GET", "/api/nodes", 200),
    Exchange("GET", "/api/settings", 403),
    Exchange("GET", "/api/chain", 404),
    Exchange("GET", "/api/chain/subscriptions", 404),
    Exchange("GET", "/api/chain/deliveries?limit=5", 404),
    Exchange("GET", "/api/jobs/{failed}/input", 200),
    Exchange("GET", "/api/jobs/{success}/input", 404),
    Exchange("GET", "/api/jobs/{success}/result", 200),
    Exchange("GET", "/api/jobs/{success}/result", 206, headers={"range": "bytes=0-"}),
    Exchange("GET", "/api/jobs/{success}/result", 416, headers={"range": "bytes=9999-"}),
    Exchange("GET", "/api/jobs/{running}/result", 404),
    Exchange("GET", "/api/jobs/{chain}/steps/2", 200),
    Exchange("GET", "/api/jobs/{chain}/steps/9", 404),
    Exchange("GET", "/api/containers", 200),
    Exchange("POST", "/api/containers/echo/restart", 403),
    Exchange("POST", "/api/containers/echo/pull", 403),
    Exchange("GET", "/api/containers/echo/logs?follow=true", 403),
    Exchange("POST", "/api/reload", 403),
    Exchange("DELETE", "/api/jobs?id={success}&id=unknown", 200),
    Exchange("DELETE", "/api/jobs", 400),
    Exchange("DELETE", "/api/jobs/{cancelled}?detail=true", 200),
    Exchange("DELETE", "/api/jobs/unknown", 404),
    Exchange("POST", "/api/jobs?wait=5", 200, JOB),
    Exchange("POST", "/api/jobs", 200, JOB),
    Exchange("POST", "/api/jobs", 400, {"containers": 1}),
    Exchange("POST", "/api/jobs", 400, b"["),
    Exchange("POST", "/api/jobs", 405, JOB | {"containers": []}),
    Exchange("POST", "/api/jobs", 405, {"subscription": {}, "signature": {}, "data": {}}),
    Exchange("POST", "/api/jobs", 413, b'"%b"' % (b"x" * 2**17)),
    Exchange("POST", "/api/jobs/batch", 200, [JOB, {}, JOB | {"containers": ["ghost"]}]),
    Exchange("POST", "/api/jobs/batch", 200, []),
    Exchange("POST", "/api/jobs/batch", 400, {}),
    Exchange("POST", "/api/jobs/stream", 200, JOB | {"data": {"chunks": ["one"]}}),
    Exchange("POST", "/api/jobs/stream", 502, JOB | {"containers": ["down"]}),
    Exchange("POST", "/api/jobs/stream", 405, JOB | {"containers": ["ghost"]}),
    Exchange("PUT", "/api/status", 200, {"id": "x", "status": "running", "containers": []}),
    Exchange("PUT", "/api/status", 400, {"id": "x", "status": "done", "containers": []}),
    Exchange("GET", "/api/me", 200),
    Exchange("GET", "/v1/models", 200),
    Exchange("GET", "/v1/models", 403, headers=FOREIGN),
    Exchange("GET", "/v1/models/a/b", 200),
    Exchange("GET", "/v1/models/echo/a/b", 200),
    Exchange("GET", "/v1/models/none", 404),
    Exchange("POST", "/v1/chat/completions", 200, CHAT),
    Exchange("POST", "/v1/chat/completions", 200, CHAT | {"stream": True}),
    Exchange("POST", "/v1/chat/completions", 400, CHAT | {"messages": []}),
    Exchange("POST", "/v1/chat/completions", 404, CHAT | {"model": "none"}),
    Exchange("POST", "/v1/chat/completions", 413, b'"%b"' % (b"x" * 2**17)),
    Exchange("POST", "/v1/completions", 200, {"model": "a/b", "prompt": "x"}),
    Exchange("POST", "/v1/completions", 500, {"model": "a/b", "prompt": "x", "status": 500}),
    Exchange("POST", "/v1/embeddings", 400, {"model": "a/b", "input": {}}),
    Exchange("GET", "/api/tokens", 403),
    Exchange("POST", "/api/tokens", 403, {"name": "x", "scope": "read"}),
    Exchange("DELETE", "/api/tokens/x", 403),
    Exchange("PUT", "/api/status", 409, {"id": "{success}", "status": "failed", "containers": []}),
]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    echo = Echo()
    async with serving(echo) as url:
        containers = [
            {"id": "echo", "url": url, "models": ["a/b"]},
            {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
        ]
        document = {"containers": containers, "server": {"max_body_bytes": 2**16}}
        async with running(tmp_path, document) as running_node:
            yield running_node
            echo.release()


async def prepared(node: RunningNode) -> dict[str, str]:
    """Jobs in every state."""
    jobs = {
        "success": await node.job(),
        "failed": await node.job(data={"status": 500}),
        "chain": await node.job(["echo", "echo", "down"]),
        "running": await node.job(data={"hold": True}),
        "cancelled": await node.job(data={"hold": True}),
        "reported": "reported",
    }
    report = {"id": "reported", "status": "success", "containers": ["x"]}
    assert (await node.put("/api/status", report)).status == 200
    for name in ("success", "failed", "chain"):
        await node.finished(jobs[name])
    return jobs


def template(exchange: Exchange) -> str:
    """The path of an exchange as the document has it."""
    path = exchange.path.partition("?")[0]
    if path in DOCUMENT["paths"]:
        return path
    path = re.sub(r"(?<=/api/tokens/)[^/]+", "{name}", path)
    path = re.sub(r"(?<=/v1/models/).+", "{id}", path)
    path = re.sub(r"(/api/(?:jobs|containers)/)[^/]+", r"\1{id}", path)
    return re.sub(r"(?<=/steps/)[^/]+", "{number}", path)


def check(exchange: Exchange, status: int, content_type: str, body: Any) -> None:
    """Whether an answer matches the document."""
    operation = DOCUMENT["paths"][template(exchange)][exchange.method.lower()]
    responses = operation["responses"]
    described = responses.get(str(status)) or responses[f"{str(status)[0]}XX"]
    media_type = content_type.partition(";")[0]
    content = described["content"].get(media_type) or described["content"]["*/*"]
    if status == 206:
        body = json.dumps(body).encode()  # the reply was decoded
    if "application/json" not in described["content"]:
        body = body.decode()
    assert problems(body, content["schema"]) == []


async def test_real_answers_match_the_document(node: RunningNode) -> None:
    jobs = await prepared(node)
    for exchange in EXCHANGES:
        body = exchange.body
        if isinstance(body, dict) and isinstance(body.get("id"), str):
            body = body | {"id": body["id"].format(**jobs)}
        reply = await node.request(
            exchange.method, exchange.path.format(**jobs), body, exchange.headers
        )
        assert reply.status == exchange.status, (exchange, reply)
        check(exchange, reply.status, reply.headers["content-type"], reply.body)
    asked = {(template(exchange), exchange.method.lower()) for exchange in EXCHANGES}
    assert asked == {(path, method) for path, method, _ in operations()}
    with read_only(node.parts.database):
        exchange = Exchange("POST", "/api/jobs", 503, JOB)
        reply = await node.request("POST", "/api/jobs", JOB)
        assert reply.status == 503
        check(exchange, 503, reply.headers["content-type"], reply.body)


async def test_a_job_in_each_state_fits_the_job_result(node: RunningNode) -> None:
    jobs = await prepared(node)
    wanted = {"running": "running", "success": "success", "failed": "failed", "chain": "failed"}
    for name, status in wanted.items():
        result = await node.result(jobs[name])
        assert result["status"] == status
        assert problems(result, SCHEMAS["JobResult"]) == []
    chain = await node.result(jobs["chain"])
    assert len(chain["intermediate_results"]) == 2


# What the schema of a request refuses, the node refuses, and the other way round.
REQUESTS: list[tuple[Any, bool]] = [
    (JOB, True),
    (JOB | {"requires_proof": False, "unknown": [1]}, True),
    ({"containers": ["echo"], "data": {}}, True),
    ({"containers": ["echo"]}, False),
    ({"data": {}}, False),
    ({"containers": "echo", "data": {}}, False),
    (JOB | {"containers": []}, False),
    ({"containers": [1], "data": {}}, False),
    (JOB | {"requires_proof": "yes"}, False),
    (JOB | {"options": {}}, True),
    (JOB | {"options": None}, True),
    (JOB | {"options": {"priority": 10, "deadline": 0.5, "timeout": 180, "unknown": 1}}, True),
    (JOB | {"options": {"priority": -10, "deadline": None, "timeout": None}}, True),
    (JOB | {"options": []}, False),
    (JOB | {"options": {"priority": 11}}, False),
    (JOB | {"options": {"priority": -11}}, False),
    (JOB | {"options": {"priority": 0.5}}, False),
    (JOB | {"options": {"deadline": 0}}, False),
    (JOB | {"options": {"deadline": 2592001}}, False),
    (JOB | {"options": {"timeout": 0}}, False),
    (JOB | {"options": {"timeout": "1"}}, False),
    (JOB | {"data": []}, False),
    (JOB | {"data": None}, False),
    ([], False),
    (None, False),
]


@pytest.mark.parametrize(("request_body", "valid"), REQUESTS)
async def test_the_schema_and_the_node_accept_the_same_requests(
    node: RunningNode, request_body: Any, valid: bool
) -> None:
    schema = SCHEMAS["JobRequest"]
    assert (problems(request_body, schema) == []) is valid
    reply = await node.post("/api/jobs", json.dumps(request_body).encode())
    assert (reply.status == 200) is valid


@pytest.mark.parametrize("status", ["running", "success", "failed", "done", ""])
async def test_the_schema_and_the_node_accept_the_same_reports(
    node: RunningNode, status: str
) -> None:
    report = {"id": "x", "status": status, "containers": ["y"]}
    valid = problems(report, SCHEMAS["StatusReport"]) == []
    reply = await node.put("/api/status", report)
    assert reply.status == (200 if valid else 400)


def test_what_containers_take() -> None:
    item = {"type": "object", "required": ["role"]}
    messages = {"type": "array", "items": {"$ref": "#/$defs/message"}}
    given = {"properties": {"messages": messages}, "$defs": {"message": item}}
    described = document({"writer": given, "rater-2.b": {"maxProperties": 1}})
    assert described["components"]["schemas"]["Input.writer"]["$defs"] == given["$defs"]
    assert given["properties"] == {"messages": messages}, "the configuration is not changed"
    request = {"$ref": "#/components/schemas/JobRequest", "components": described["components"]}
    check = Draft202012Validator(request).is_valid
    for containers, data, fits in (
        (["writer"], {"messages": [{"role": "user"}]}, True),
        (["writer"], {"messages": [{}]}, False),
        (["writer", "rater-2.b"], {"messages": [], "a": 1}, True),
        (["rater-2.b"], {"a": 1, "b": 2}, False),
        (["rater-2.b", "writer"], {"messages": 5}, True),
        (["other"], {"messages": 5, "a": 1}, True),
    ):
        assert check({"containers": containers, "data": data}) is fits, (containers, data)


def test_references_of_what_containers_take() -> None:
    """Those below names that are also keywords; not those of a schema with a URI of its own."""
    text = {"$ref": "#/$defs/const"}
    own = {"$id": "http://node.lan/own", "properties": {"a": {"$ref": "#/$defs/b"}}}
    own["$defs"] = {"b": {"type": "null"}}
    given = {
        "properties": {"default": text, "enum": text, "own": own, "$id": text},
        "patternProperties": {"^x$": text},
        "$defs": {"const": {"type": "string"}},
        "default": {"$ref": "#/no/reference"},
    }
    components = document({"writer": given})["components"]
    assert components["schemas"]["Input.writer"]["default"] == given["default"]
    assert components["schemas"]["Input.writer"]["properties"]["own"] == own
    schema = {"$ref": "#/components/schemas/Input.writer", "components": components}
    check = Draft202012Validator(schema).is_valid
    assert check({"default": "", "enum": "", "x": "", "$id": ""})
    for wrong in ({"default": 1}, {"enum": 1}, {"x": 1}, {"$id": 1}):
        assert not check(wrong), wrong
