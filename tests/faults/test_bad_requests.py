"""Requests that are wrong: each is refused with an ErrorResponse and harms nothing else."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.client import Api, connected, eventually, exchange, head, post, until_closed
from tests.support.echo import EchoService
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("bad requests")  # its fixtures are made once

LIMIT = 16 * 2**20  # the default of server.max_body_bytes
DEEP = 10_000

JOB = {"containers": ["echo"], "data": {"n": 1}}


@pytest.fixture(scope="module")
def node(echo: EchoService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    containers = [
        {"id": "echo", "url": echo.url},
        {"id": "inner", "url": echo.url, "external": False},
        {"id": "elsewhere", "url": echo.url, "allowed_ips": ["192.0.2.0/24", "2001:db8::/32"]},
    ]
    with NodeProcess({"containers": containers}, tmp_path_factory.mktemp("node")) as process:
        yield process
        assert "Traceback" not in process.log()


@pytest.fixture
def api(node: NodeProcess) -> Iterator[Api]:
    client = Api(node.port)
    before = len(client.get("/api/jobs").json)
    yield client
    # Whatever a test sent, the node works on, and what was refused was not stored.
    assert client.finished([client.submit("echo", {"after": True})])[0]["status"] == "success"
    assert len(client.get("/api/jobs").json) <= before + 3


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


MALFORMED = {
    "nothing": b"",
    "blank": b" \n ",
    "word": b"hello",
    "truncated": b'{"containers": ["echo"], "data": {"a": ',
    "truncated text": b'{"containers": ["ec',
    "trailing": b'{"containers": ["echo"], "data": {}} {}',
    "comma": b'{"containers": ["echo"], "data": {},}',
    "single quotes": b"{'containers': ['echo'], 'data': {}}",
    "not a number": b'{"containers": ["echo"], "data": {"a": NaN}}',
    "two minus": b'{"containers": ["echo"], "data": {"a": --1}}',
    "control character": b'{"containers": ["echo"], "data": {"a": "\x01"}}',
    "not UTF-8": b'{"containers": ["echo"], "data": {"a": "\xff\xfe"}}',
    "half a character": b'{"containers": ["echo"], "data": {"a": "\xe2\x82"}}',
    "lone surrogate": b'{"containers": ["\\ud800"], "data": {}}',
    "UTF-16": '{"containers": ["echo"], "data": {}}'.encode("utf-16"),
    "deep lists": nested(DEEP),
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep data": b'{"containers": ["echo"], "data": {"a": ' + nested(DEEP) + b"}}",
    "deep ids": b'{"containers": ' + nested(DEEP) + b', "data": {}}',
    "deep and open": b"[" * 1_000_000,
    "deep subscription": b'{"subscription": ' + nested(DEEP) + b"}",
    "form": b"containers=echo&data=1",
    "binary": bytes(range(256)) * 16,
}


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/batch", "/api/jobs/stream"])
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_json_is_refused(api: Api, path: str, body: bytes) -> None:
    reply = api.post(body, path)
    assert reply.status == 400, reply
    assert reply.error


def test_mutilated_requests_never_are_an_error_of_the_node(node: NodeProcess) -> None:
    """Bytes changed, taken out and put in at random places, the same ones in each run."""
    chance = random.Random(20260105)
    api = Api(node.port)
    whole = [
        ("/api/jobs", b'{"containers":["inner","echo"],"data":{"a":[1,2.5e3,"\\u00e9"]},"id":"x"}'),
        ("/api/jobs/batch", b'[{"containers":["inner"],"data":{}},{"subscription":{"owner":"0"}}]'),
        ("/api/jobs/stream", b'{"subscription":{"owner":"0x00"},"signature":{},"data":{}}'),
    ]
    for number in range(600):
        path, body = whole[number % len(whole)]
        mutilated = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(mutilated))
            some = chance.choice(
                (b"", b"{", b"]", b'"', b"\\", b"\0", b"\xff", b",", b"9", b"null")
            )
            mutilated[place : place + chance.randint(0, 3)] = some
        reply = api.post(bytes(mutilated), path)
        assert reply.status in (200, 400, 405), (bytes(mutilated), reply)
        if reply.status != 200:
            assert reply.error
    eventually(lambda: not api.running())


WRONG: dict[str, tuple[Any, str | None]] = {
    "list": ([JOB], None),
    "text": ("echo", None),
    "null": (None, None),
    "number": (7, None),
    "empty": ({}, "containers"),
    "no containers": ({"data": {}}, "containers"),
    "no data": ({"containers": ["echo"]}, "data"),
    "containers is text": ({"containers": "echo", "data": {}}, "containers"),
    "containers is an object": ({"containers": {"echo": 1}, "data": {}}, "containers"),
    "containers is null": ({"containers": None, "data": {}}, "containers"),
    "an id is a number": ({"containers": [1], "data": {}}, "containers[0]"),
    "an id is null": ({"containers": ["echo", None], "data": {}}, "containers[1]"),
    "an id is a list": ({"containers": [["echo"]], "data": {}}, "containers[0]"),
    "data is text": ({"containers": ["echo"], "data": "{}"}, "data"),
    "data is a list": ({"containers": ["echo"], "data": []}, "data"),
    "data is null": ({"containers": ["echo"], "data": None}, "data"),
    "data is a number": ({"containers": ["echo"], "data": 10**80}, "data"),
    "requires_proof is text": ({**JOB, "requires_proof": "no"}, "requires_proof"),
    "requires_proof is a number": ({**JOB, "requires_proof": 1}, "requires_proof"),
}


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/stream"])
@pytest.mark.parametrize(("body", "field"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_type_is_refused_with_the_field(
    api: Api, path: str, body: Any, field: str | None
) -> None:
    reply = api.post(json.dumps(body).encode(), path)
    assert reply.status == 400, reply
    assert "expected" in reply.error.lower()
    if field is None:
        assert "field" not in reply.params
    else:
        assert reply.params["field"].replace("[...]", "[0]").startswith(field.partition("[")[0])
        assert field.partition("[")[0] in reply.error


def test_a_batch_answers_each_wrong_item_at_its_place_and_runs_the_others(api: Api) -> None:
    wrong = [body for body, _ in WRONG.values()]
    unknown = {"containers": ["nobody"], "data": {}}
    reply = api.post([JOB, *wrong, unknown, {**JOB, "data": {"n": 2}}], "/api/jobs/batch")
    assert reply.status == 200, reply
    answers = reply.json
    assert len(answers) == len(wrong) + 3
    for item, answer in zip([*wrong, unknown], answers[1:-1], strict=True):
        assert set(answer) == {"error", "params"}, (item, answer)
    assert answers[-2]["error"] == "Container not supported"
    results = api.finished([answers[0]["id"], answers[-1]["id"]])
    assert [each["result"]["output"]["output"] for each in results] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("body", [b"{}", b'"a"', b"null", b"1", json.dumps(JOB).encode()])
def test_a_batch_that_is_no_list_is_refused(api: Api, body: bytes) -> None:
    reply = api.post(body, "/api/jobs/batch")
    assert (reply.status, reply.error) == (400, "Expected a list")


def test_an_empty_batch_is_answered_with_an_empty_list(api: Api) -> None:
    assert api.post(b"[]", "/api/jobs/batch").json == []


REFUSED: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "none": ({"containers": []}, "No containers specified", {}),
    "unknown": ({"containers": ["nobody"]}, "Container not supported", {"container": "nobody"}),
    "unknown second": (
        {"containers": ["echo", "nobody"]},
        "Container not supported",
        {"container": "nobody"},
    ),
    "unknown before inner": (
        {"containers": ["inner", "nobody"]},
        "Container not supported",
        {"container": "nobody"},
    ),
    "odd": ({"containers": ["../etc"]}, "Container not supported", {"container": "../etc"}),
    "empty id": ({"containers": [""]}, "Container not supported", {"container": ""}),
    "null byte": ({"containers": ["echo\0"]}, "Container not supported", {"container": "echo\0"}),
    "comma": (
        {"containers": ["echo,echo"]},
        "Container not supported",
        {"container": "echo,echo"},
    ),
    "inner": (
        {"containers": ["inner"]},
        "First container must be external",
        {"first_container": "inner"},
    ),
    "proof": (
        {"containers": ["echo"], "requires_proof": True},
        "Container does not generate proof",
        {"container": "echo"},
    ),
    "address": (
        {"containers": ["echo", "elsewhere"]},
        "Container not allowed for address",
        {"container": "elsewhere", "address": "127.0.0.1"},
    ),
}


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/stream"])
@pytest.mark.parametrize(("body", "error", "params"), REFUSED.values(), ids=REFUSED.keys())
def test_a_guard_rule_answers_405(
    api: Api, path: str, body: dict[str, Any], error: str, params: dict[str, Any]
) -> None:
    reply = api.post({"data": {}, **body}, path)
    assert (reply.status, reply.error, reply.params) == (405, error, params)


def test_a_container_may_stand_in_a_chain_twice(api: Api) -> None:
    identifier = api.submit(["echo", "inner", "echo"], {"n": 1})
    [result] = api.finished([identifier], intermediate=True)
    first = {"output": {"n": 1}, "echo": True}
    second = {"output": first, "echo": True}
    assert result["result"]["output"] == {"output": second, "echo": True}
    assert result["intermediate_results"] == [
        {"container": "echo", "output": first},
        {"container": "inner", "output": second},
    ]


def test_an_endless_chain_is_refused(api: Api) -> None:
    assert api.post({"containers": ["echo"] * 100_000, "data": {}}).status == 400


def test_who_the_caller_is_never_comes_from_the_body(api: Api, node: NodeProcess) -> None:
    forged = {
        "id": "00000000-0000-4000-8000-000000000000",
        "ip": "192.0.2.1",
        "type": "delegated",
        "client": "192.0.2.1",
        "address": "192.0.2.1",
        "status": "success",
    }
    reply = api.post({**JOB, **forged})
    assert reply.json["id"] != forged["id"]
    assert api.get(f"/api/jobs?id={forged['id']}").json == []
    assert api.finished([reply.json["id"]])[0]["status"] == "success"
    reply = api.post({"containers": ["elsewhere"], "data": {}, **forged})
    assert (reply.status, reply.params["address"]) == (405, "127.0.0.1")
    batch = [{"containers": ["elsewhere"], "data": {}, **forged}]
    [answer] = api.post(batch, "/api/jobs/batch").json
    assert answer["params"] == {"container": "elsewhere", "address": "127.0.0.1"}


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "192.0.2.1"},
        {"x-forwarded-for": "192.0.2.1, 192.0.2.2"},
        {"x-forwarded-for": "2001:db8::1"},
        {"forwarded": "for=192.0.2.1"},
        {"x-real-ip": "192.0.2.1"},
        {"client-ip": "192.0.2.1"},
        {"x-forwarded-for": "nonsense, 999.1.1.1"},
    ],
)
def test_a_forwarded_address_that_nobody_vouches_for_does_not_count(
    api: Api, headers: dict[str, str]
) -> None:
    body = {"containers": ["elsewhere"], "data": {}}
    reply = api.request("POST", "/api/jobs", body, headers)
    assert (reply.status, reply.params["address"]) == (405, "127.0.0.1")
    # Nor does it show another client's jobs, or none: this client's are there.
    mine = api.get("/api/jobs").json
    assert api.request("GET", "/api/jobs", headers=headers).json == mine


def test_the_last_of_two_equal_keys_wins(api: Api) -> None:
    body = b'{"containers": ["nobody"], "containers": ["echo"], "data": 1, "data": {"n": 2}}'
    [result] = api.finished([api.post(body).json["id"]])
    assert result["result"]["output"]["output"] == {"n": 2}


def test_no_digit_and_no_key_of_the_data_is_lost(api: Api) -> None:
    data = b'{"n":115792089237316195423570985008687907853269984665640564039457584007913129639935}'
    body = b'{"containers": ["echo"], "data": ' + data + b"}"
    identifier = api.post(body).json["id"]
    api.finished([identifier])
    assert data[1:-1] in api.get(f"/api/jobs?id={identifier}").body.replace(b" ", b"")


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/batch", "/api/jobs/stream"])
def test_a_body_of_20_megabytes_is_refused(api: Api, path: str) -> None:
    body = b'{"containers":["echo"],"data":{"a":"' + b"x" * 20 * 2**20 + b'"}}'
    reply = api.post(body, path)
    assert (reply.status, reply.params) == (413, {"limit": LIMIT})
    assert reply.error


def test_a_body_of_20_megabytes_in_chunks_is_refused(node: NodeProcess) -> None:
    with connected(node.port) as connection:
        connection.sendall(head("POST", "/api/jobs", transfer_encoding="chunked"))
        chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
        try:
            for _ in range(20):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass  # it need not hear all of it
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_huge_announced_body_is_refused_before_it_is_sent(node: NodeProcess) -> None:
    for length in (LIMIT + 1, 2**40, 2**64 - 1):
        with connected(node.port) as connection:
            connection.sendall(head("POST", "/api/jobs", content_length=str(length)))
            assert connection.recv(65536).startswith(b"HTTP/1.1 413 "), length


def test_a_body_at_the_limit_is_served(api: Api) -> None:
    frame = b'{"containers":["inner"],"data":{"a":""}}'
    body = frame.replace(b'""', b'"' + b"x" * (LIMIT - len(frame)) + b'"')
    assert api.post(body).status == 405  # it was read: a guard rule refuses it
    assert api.post(body + b" ").status == 413


MALFORMED_HTTP = {
    "words": b"hello\r\n\r\n",
    "zeros": b"\0" * 64,
    "TLS": bytes.fromhex("16030100f8010000f40303") + b"\0" * 32,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version": b"GET /health HTTP/9.9\r\nhost: localhost\r\n\r\n",
    "bad length": head("POST", "/api/jobs", content_length="ten"),
    "negative length": head("POST", "/api/jobs", content_length="-1"),
    "two lengths": b"POST /api/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n"
    b"content-length: 6\r\n\r\nabcdef",
    "length and chunks": head("POST", "/api/jobs", content_length="5", transfer_encoding="chunked")
    + b"0\r\n\r\n",
    "bad chunk": head("POST", "/api/jobs", transfer_encoding="chunked") + b"zz\r\nabc\r\n",
    "header without a name": b"GET /health HTTP/1.1\r\n: x\r\n\r\n",
    "space in a name": b"GET /health HTTP/1.1\r\nhost : localhost\r\n\r\n",
}


@pytest.mark.parametrize("request_", MALFORMED_HTTP.values(), ids=MALFORMED_HTTP.keys())
def test_what_is_no_http_is_answered_with_400_and_the_connection_closed(
    node: NodeProcess, api: Api, request_: bytes
) -> None:
    answer = exchange(node.port, request_)
    status, _, rest = answer.partition(b"\r\n")
    assert status.split()[1] in (b"400", b"505"), answer
    body = json.loads(rest.partition(b"\r\n\r\n")[2])
    assert set(body) == {"error", "params"}


def test_endless_headers_are_refused(node: NodeProcess) -> None:
    with connected(node.port) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n")
        try:
            for _ in range(10_000):
                connection.sendall(b"x-more: " + b"y" * 1000 + b"\r\n")
        except ConnectionError:
            pass
        answer = until_closed(connection)
        assert not answer or answer.startswith(b"HTTP/1.1 431 ")


def test_a_long_path_is_refused(node: NodeProcess) -> None:
    answer = exchange(node.port, head("GET", "/" + "a" * 60_000, connection="close"))
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api", 404),
        ("GET", "/api/jobs/", 404),
        ("GET", "/api/jobs/00000000-0000-4000-8000-000000000000", 404),
        ("GET", "/health/../info", 404),
        ("GET", "/%2e%2e/etc/passwd", 404),
        ("GET", "/api%2fjobs", 200),  # the same path, in other letters
        ("GET", "/%ff%fe", 404),
        ("GET", "//health", 404),
        ("DELETE", "/api/jobs", 400),
        ("PUT", "/api/jobs", 405),
        ("PATCH", "/api/jobs", 405),
        ("OPTIONS", "/api/jobs", 405),
        ("GET", "/api/jobs/batch", 405),
        ("GET", "/api/jobs/stream", 405),
        ("GET", "/api/status", 405),
        ("POST", "/api/status", 405),
        ("POST", "/health", 405),
        ("POST", "/info", 405),
        ("TRACE", "/health", 405),
    ],
)
def test_wrong_paths_and_methods_are_answered_with_json(
    api: Api, method: str, path: str, status: int
) -> None:
    reply = api.request(method, path)
    assert reply.status == status, reply
    if status == 200:
        return
    assert reply.error
    if status == 405:
        assert "GET" in reply.headers["allow"] or method in ("GET", "POST"), reply
        assert method not in reply.headers["allow"].split(", ")


def test_ids_that_nobody_has_are_left_out(api: Api) -> None:
    mine = api.submit("echo")
    api.finished([mine])
    odd = ["", "x", "%00", "%ff", "../../etc", "1" * 4000, "00000000-0000-4000-8000-000000000000"]
    query = "&".join(f"id={text}" for text in (*odd, mine, mine.upper()))
    reply = api.get("/api/jobs?" + query)
    assert reply.status == 200, reply
    assert {each["id"].lower() for each in reply.json} == {mine}


def test_a_huge_number_of_ids_is_bounded(api: Api) -> None:
    mine = api.submit("echo")
    api.finished([mine])
    others = "&".join(f"id=00000000-0000-4000-8000-{number:012}" for number in range(999))
    assert [each["id"] for each in api.get(f"/api/jobs?{others}&id={mine}").json] == [mine]
    assert api.get("/api/jobs?" + "&".join(["id=1"] * 1000)).json == []
    for count in (1001, 5000, 15_000):
        reply = api.get("/api/jobs?" + "&".join(f"id={number}" for number in range(count)))
        assert reply.status in (400, 431), (count, reply)
        assert reply.error
    assert api.get("/api/jobs?" + "&".join(["a=1"] * 5000)).status == 400


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=x", "limit=10001", "limit=99999999999999999999", "before=x"],
)
def test_wrong_bounds_of_a_list_are_refused(api: Api, query: str) -> None:
    reply = api.get("/api/jobs?" + query)
    assert reply.status == 400
    assert reply.params["field"] == query.partition("=")[0]


@pytest.mark.parametrize("query", ["pending=", "pending=maybe", "intermediate=7", "%ff=%fe", "&&="])
def test_other_parameters_are_ignored(api: Api, query: str) -> None:
    assert api.get("/api/jobs?" + query).status == 200


STATUS = {"id": "outside-1", "status": "success", "containers": ["echo"]}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"status": "done"}, 400),
        ({"status": 1}, 400),
        ({"status": "x" * 100_000}, 413),
        ({"id": ""}, 400),
        ({"id": "x" * 129}, 400),
        ({"id": None}, 400),
        ({"id": 7}, 400),
        ({"containers": "echo"}, 400),
        ({"containers": [1]}, 400),
        ({"containers": ["echo"] * 1000}, 400),
    ],
)
def test_a_wrong_status_report_is_refused(api: Api, change: dict[str, Any], status: int) -> None:
    reply = api.request("PUT", "/api/status", {**STATUS, **change})
    assert reply.status == status, reply
    assert reply.error
    if change == {"status": "done"}:
        assert reply.error == "Status is invalid"


@pytest.mark.parametrize("body", list(MALFORMED.values()), ids=list(MALFORMED))
def test_a_malformed_status_report_is_refused(api: Api, body: bytes) -> None:
    reply = api.request("PUT", "/api/status", body)
    assert reply.status in (400, 413), reply
    assert reply.error


def test_a_status_report_never_changes_a_job_of_the_node(api: Api) -> None:
    identifier = api.submit("echo")
    [before] = api.finished([identifier])
    for text in (identifier, identifier.upper()):
        reply = api.request("PUT", "/api/status", {**STATUS, "id": text, "status": "failed"})
        assert reply.status == 409, reply
        assert reply.error
    assert api.results([identifier]) == [before]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4000", "localhost.evil.example"])
def test_other_names_of_the_node_are_refused(api: Api, host: str) -> None:
    for method, path in (("GET", "/info"), ("POST", "/api/jobs"), ("GET", "/api/jobs")):
        reply = api.request(method, path, JOB if method == "POST" else None, {"host": host})
        assert (reply.status, reply.params["host"]) == (403, host.partition(":")[0])
        assert "server.allowed_hosts" in reply.error
    assert api.get("/health", host=host).status == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:80", "[::1]:4000"])
def test_the_nodes_own_names_are_served(api: Api, host: str) -> None:
    assert api.get("/info", host=host).status == 200


def test_pages_of_other_sites_are_refused(api: Api) -> None:
    evil = {"origin": "http://evil.example"}
    for origin in ("http://[::1", "http://evil.example:x", "//", "", "x" * 10_000):
        assert api.request("POST", "/api/jobs", JOB, {"origin": origin}).status == 403
    for path in ("/api/jobs", "/api/jobs/batch", "/api/jobs/stream"):
        assert api.request("POST", path, JOB, evil).status == 403
        assert api.request("POST", path, JOB, {"origin": "null"}).status == 403
        assert api.request("POST", path, JOB, {"sec-fetch-site": "cross-site"}).status == 403
    assert api.request("PUT", "/api/status", STATUS, evil).status == 403
    place = f"localhost:{api.port}"
    own = {"origin": f"http://{place}", "host": place}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        # Only the node's own pages have exactly this origin: the job itself is refused.
        unknown = {"containers": ["nowhere"], "data": {}}
        typed = {**own, "content-type": kind}
        assert api.request("POST", "/api/jobs", unknown, typed).status == 405
        other = {"origin": f"https://{place}", "host": place, "content-type": kind}
        reply = api.request("POST", "/api/jobs", JOB, other)
        assert reply.status in (403, 415), reply
        assert reply.error
    typed = {**own, "content-type": "application/json; charset=utf-8"}
    assert api.request("POST", "/api/jobs", JOB, typed).status == 200


def test_the_content_type_does_not_matter_without_an_origin(api: Api) -> None:
    """curl -d sends application/x-www-form-urlencoded."""
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        assert api.request("POST", "/api/jobs", JOB, {"content-type": kind}).status == 200


def test_pipelined_requests_are_answered_in_order(node: NodeProcess) -> None:
    request = post("/api/jobs", json.dumps(JOB).encode())
    last = head("GET", "/nowhere", connection="close")
    answer = exchange(node.port, request + head("GET", "/health") + last)
    assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"200", b"200", b"404"]


def test_an_upgrade_is_not_followed(node: NodeProcess) -> None:
    request = head(
        "GET",
        "/api/jobs/stream",
        connection="Upgrade",
        upgrade="websocket",
        sec_websocket_version="13",
        sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAA==",
    )
    with connected(node.port) as connection:
        connection.sendall(request)
        assert connection.recv(65536).startswith((b"HTTP/1.1 405 ", b"HTTP/1.1 400 "))
