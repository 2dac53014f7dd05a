"""Containers that misbehave: their jobs fail with words, other jobs and the node do not suffer."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.client import Api, connected, eventually, post
from tests.support.echo import EchoService
from tests.support.node import NodeProcess
from tests.support.ports import free_port
from tests.support.scripted import Call, ScriptedService

pytestmark = pytest.mark.xdist_group("containers")  # its fixtures are made once

MIB = 2**20
LIMIT = 4 * MIB  # server.max_body_bytes of these nodes

FAILURES = {
    "down": "Cannot connect to container: Connection refused",
    "unknown_host": "Cannot connect to container",
    "hang": "Container did not answer within 1 s",
    "error500": '{"error":"boom","code":7}',
    "error500text": "Internal Server Error",
    "error404": '{"detail":"not found"}',
    "error_long": "xxxx",
    "html": "Container's answer is not JSON (text/html): hello",
    "badjson": "Container's answer is not JSON (application/json): this is not json",
    "empty": "Container's answer is not JSON",
    "close": "Container broke off in the middle of its answer",
    "huge": f"Container's answer is larger than {LIMIT} bytes",
    "redirect": "Container answered with a redirect (307), not followed",
}
SUCCESSES: dict[str, Any] = {
    "textjson": {"ok": True},
    "array": [1, 2, 3],
    "null": None,
    "number": 42,
}


@pytest.fixture(scope="module")
def node(echo: EchoService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    urls = {name: f"{echo.url}/{name}" for name in (*FAILURES, *SUCCESSES, "midbreak", "binary")}
    urls["down"] = f"http://127.0.0.1:{free_port()}"
    urls["unknown_host"] = "http://nobody.invalid:3000"
    urls["echo"] = echo.url
    containers = [
        {"id": name, "url": url, "timeout": 1 if name == "hang" else 60, "max_concurrency": 4}
        for name, url in urls.items()
    ]
    config = {"containers": containers, "server": {"max_body_bytes": LIMIT}}
    with NodeProcess(config, tmp_path_factory.mktemp("node")) as process:
        yield process
        assert "Traceback" not in process.log()


@pytest.fixture
def api(node: NodeProcess) -> Api:
    return Api(node.port)


@pytest.mark.parametrize("variant", FAILURES)
def test_a_job_fails_with_what_the_container_did(api: Api, variant: str) -> None:
    [result] = api.finished([api.submit(variant)], intermediate=True)
    assert result["status"] == "failed"
    assert result["intermediate_results"] == []
    assert set(result["result"]) == {"container", "error"}
    assert result["result"]["container"] == variant
    error = result["result"]["error"]
    assert error.startswith(FAILURES[variant])
    assert 0 < len(error) <= 4096
    assert "Traceback" not in error


@pytest.mark.parametrize("variant", SUCCESSES)
def test_any_json_is_an_answer(api: Api, variant: str) -> None:
    [result] = api.finished([api.submit(variant)])
    assert (result["status"], result["result"]["output"]) == ("success", SUCCESSES[variant])


@pytest.mark.parametrize("variant", FAILURES)
def test_a_chain_ends_at_the_container_that_fails(api: Api, variant: str) -> None:
    [result] = api.finished([api.submit(["echo", variant, "echo"], {"n": 1})], intermediate=True)
    assert (result["status"], result["result"]["container"]) == ("failed", variant)
    output = {"output": {"n": 1}, "echo": True}
    assert result["intermediate_results"] == [{"container": "echo", "output": output}]


@pytest.mark.parametrize(
    "variant", ["down", "unknown_host", "error500", "error500text", "error404", "redirect"]
)
def test_a_stream_that_cannot_begin_is_a_502_with_the_jobs_id(api: Api, variant: str) -> None:
    reply = api.post({"containers": [variant], "data": {}}, "/api/jobs/stream")
    assert reply.status == 502, reply
    assert reply.error.startswith(FAILURES[variant])
    [result] = api.finished([reply.params["id"]])
    assert (result["status"], result["result"]["error"]) == ("failed", reply.error)


def test_one_job_for_each_failing_container_at_once_and_others_are_served(api: Api) -> None:
    bad = [api.submit(variant) for variant in FAILURES for _ in range(5)]
    good = [api.submit("echo", {"n": number}) for number in range(50)]
    outputs = [each["result"]["output"]["output"]["n"] for each in api.finished(good)]
    assert outputs == list(range(50))
    assert {each["status"] for each in api.finished(bad)} == {"failed"}


def test_answers_of_a_gigabyte_take_no_memory(api: Api, node: NodeProcess) -> None:
    before = psutil.Process(node.pid).memory_info().rss
    jobs = [api.submit("huge") for _ in range(12)]
    most = 0

    def ended() -> bool:
        nonlocal most
        most = max(most, psutil.Process(node.pid).memory_info().rss)
        return not set(api.running()) & set(jobs)

    eventually(ended, within=60)
    # Four at a time, each holds at most the limit, and again as much on its way.
    assert most - before < 100 * MIB


ODD_ANSWERS = {
    "garbage": b"\0\1\2\3 nonsense\r\n\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "half a body": b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"a": ',
    "half a chunk": b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"a": ',
    "no last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n{}",
    "word as length": b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n{}",
    "enormous length": b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999\r\n\r\n{}",
    "status 999": b"HTTP/1.1 999 Odd\r\ncontent-length: 2\r\n\r\n{}",
    "status word": b"HTTP/1.1 OK\r\ncontent-length: 2\r\n\r\n{}",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "endless header": b"HTTP/1.1 200 OK\r\nx: " + b"y" * MIB,
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000,
    "redirect to nowhere": b"HTTP/1.1 302 Found\r\nlocation: \xff\xfe\r\ncontent-length: 0\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n{}",
    "deep": b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"[" * 100_000 + b"]" * 100_000,
    "not UTF-8": b'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{"a": "\xff"}',
    "two documents": b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}{}",
    "gzip": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n\x1f\x8b\x08",
    "not UTF-8 error": b"HTTP/1.1 500 Bad\r\nconnection: close\r\n\r\n\xff\xfe\x00",
    "half an error": b"HTTP/1.1 500 Bad\r\ncontent-length: 100\r\n\r\nhalf of",
    "SMTP": b"220 mail.example ESMTP\r\n",
}


@pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS.keys())
def test_odd_answers_end_jobs_and_streams_and_nothing_else(
    answer: bytes, shared: tuple[Api, list[bytes]]
) -> None:
    api, answers = shared
    answers[:] = [answer]
    identifier = api.submit("odd")
    [result] = api.finished([identifier])
    assert result["status"] == "failed", result
    assert 0 < len(result["result"]["error"]) <= 4096
    assert "Traceback" not in result["result"]["error"]
    with contextlib.suppress(http.client.IncompleteRead):
        reply = api.post({"containers": ["odd"], "data": {}}, "/api/jobs/stream")
        assert reply.status in (200, 502), reply
    eventually(lambda: not api.running())
    assert api.health() == "healthy"


@pytest.mark.parametrize(
    "kind",
    [b"text/\xff\xfe", b"caf\xc3\xa9", b"a\x01b", b"a\tb", b"", b"x" * 5000, b"a: b\r\nx-more: 1"],
)
def test_an_odd_content_type_does_not_break_a_stream(
    kind: bytes, shared: tuple[Api, list[bytes]]
) -> None:
    api, answers = shared
    answers[:] = [
        b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\ncontent-length: 5\r\n\r\nwords"
    ]
    reply = api.post({"containers": ["odd"], "data": {}}, "/api/jobs/stream")
    assert reply.status in (200, 502), reply
    identifier = reply.body[:36].decode() if reply.status == 200 else reply.params["id"]
    [result] = api.finished([identifier])
    if reply.status == 200:
        assert reply.body[36:] == b"\nwords"
        assert "x-more" not in reply.headers
        assert result["result"] == {"container": "odd", "output": {"output": "words"}}
    else:
        assert result["status"] == "failed"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, list[bytes]]]:
    """A node whose container answers with the bytes in the list."""
    answers = [b""]

    def script(call: Call) -> None:
        call.send(answers[0])

    with ScriptedService(script) as service:
        # One place: one that was lost would let all later jobs wait.
        containers = [{"id": "odd", "url": service.url, "timeout": 20, "max_concurrency": 1}]
        config = {"containers": containers}
        with NodeProcess(config, tmp_path_factory.mktemp("odd")) as node:
            yield Api(node.port), answers
            assert "Traceback" not in node.log()


def test_a_container_that_drips_is_ended_by_its_timeout(tmp_path: Path) -> None:
    def script(call: Call) -> None:
        call.begin("application/json")
        while call.chunk(b" "):
            time.sleep(0.05)

    with ScriptedService(script) as service:
        containers = [{"id": "drips", "url": service.url, "timeout": 1}]
        with NodeProcess({"containers": containers}, tmp_path) as node:
            api = Api(node.port)
            [result] = api.finished([api.submit("drips")])
            assert result["result"]["error"] == "Container did not answer within 1 s"
            assert service.calls[0].gone.wait(20)


def test_a_container_whose_queue_is_full_is_not_waited_for_longer_than_its_timeout(
    tmp_path: Path,
) -> None:
    """It listens and never accepts: connections only open as long as the kernel has places."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        containers = [{"id": "deaf", "url": url, "timeout": 1, "max_concurrency": 16}]
        with NodeProcess({"containers": containers}, tmp_path) as node:
            api = Api(node.port)
            results = api.finished([api.submit("deaf") for _ in range(16)])
    assert {each["result"]["error"] for each in results} == {"Container did not answer within 1 s"}


def test_a_container_that_dies_in_mid_stream(api: Api) -> None:
    """What arrived is kept, the job failed, and the client can tell that something is missing."""
    stream = api.stream("midbreak")
    assert not stream.complete
    assert stream.content == b"chunk-0\nchunk-1\nchunk-2\n"
    [result] = api.finished([stream.id], intermediate=True)
    assert result["status"] == "failed"
    assert result["result"] == {
        "container": "midbreak",
        "error": "Container broke off in the middle of its answer",
    }
    [kept] = result["intermediate_results"]
    assert kept == {"container": "midbreak", "output": {"output": stream.content.decode()}}


def test_a_stream_of_bytes_arrives_and_is_kept_unchanged(api: Api) -> None:
    stream = api.stream("binary")
    assert stream.complete
    assert stream.content == b"\xff\xfe\x00\x80abc"
    [result] = api.finished([stream.id])
    assert result["result"]["output"] == {"output_base64": "//4AgGFiYw=="}


def test_a_stream_that_hangs_in_the_middle_is_ended_by_its_timeout(tmp_path: Path) -> None:
    def script(call: Call) -> None:
        call.begin()
        call.chunk(b"first")
        call.wait_until_gone()

    with ScriptedService(script) as service:
        containers = [{"id": "hangs", "url": service.url, "timeout": 1}]
        with NodeProcess({"containers": containers}, tmp_path) as node:
            api = Api(node.port)
            stream = api.stream("hangs")
            assert (stream.content, stream.complete) == (b"first", False)
            [result] = api.finished([stream.id], intermediate=True)
            assert result["result"]["error"] == "Container did not answer within 1 s"
            assert result["intermediate_results"][0]["output"] == {"output": "first"}
            assert service.calls[0].gone.wait(20)


def test_a_stream_is_not_taken_faster_than_its_client_reads(tmp_path: Path) -> None:
    """A container could send for ever: neither the node's memory nor the container's call grow."""
    sent = [0]

    def script(call: Call) -> None:
        call.begin()
        while sent[0] < 2000 * MIB and call.chunk(b"x" * 65536):
            sent[0] += 65536

    with ScriptedService(script) as service:
        containers = [{"id": "endless", "url": service.url, "timeout": 60}]
        with NodeProcess({"containers": containers}, tmp_path) as node:
            before = psutil.Process(node.pid).memory_info().rss
            with connected(node.port) as connection:
                body = b'{"containers":["endless"],"data":{}}'
                connection.sendall(post("/api/jobs/stream", body))
                assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
                eventually(lambda: _stands_still(sent), within=60)
                assert sent[0] < 200 * MIB
                assert psutil.Process(node.pid).memory_info().rss - before < 100 * MIB
                assert Api(node.port).health() == "healthy"
            # The client is gone now: the call ends.
            assert service.calls[0].gone.wait(30)
            eventually(lambda: not Api(node.port).running())


def _stands_still(counter: list[int]) -> bool:
    before = counter[0]
    time.sleep(0.3)
    return before > 0 and counter[0] == before


def test_a_container_that_comes_back_serves_again(echo: EchoService, tmp_path: Path) -> None:
    service = EchoService(tmp_path)
    containers = [{"id": "echo", "url": service.url}]
    with NodeProcess({"containers": containers}, tmp_path / "node") as node:
        api = Api(node.port)
        [result] = api.finished([api.submit("echo")])
        assert result["result"]["error"] == FAILURES["down"]
        assert api.get("/info").json["containers"] == []
        with service:
            assert api.finished([api.submit("echo")])[0]["status"] == "success"
            eventually(lambda: len(api.get("/info").json["containers"]) == 1)
            service.kill()
            assert api.finished([api.submit("echo")])[0]["status"] == "failed"
