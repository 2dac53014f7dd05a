"""Clients that are slow, close too early, come in crowds, or send a great deal."""

from __future__ import annotations

import contextlib
import functools
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.client import Api, connected, eventually, exchange, head, post, until_closed
from tests.support.echo import EchoService
from tests.support.hurried import hurried, with_values
from tests.support.node import NodeProcess
from tests.support.scripted import Call, ScriptedService

pytestmark = pytest.mark.xdist_group("clients")  # its fixtures are made once

MIB = 2**20
JOB = {"containers": ["echo"], "data": {}}
REQUEST = post("/api/jobs", json.dumps(JOB).encode())


def configuration(url: str) -> dict[str, object]:
    return {"containers": [{"id": "echo", "url": url}]}


@pytest.fixture(scope="module")
def node(echo: EchoService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that waits for clients for seconds instead of a minute."""
    folder = tmp_path_factory.mktemp("node")
    with NodeProcess(configuration(echo.url), folder, command=hurried()) as process:
        yield process
        assert "Traceback" not in process.log()


@pytest.fixture
def api(node: NodeProcess) -> Api:
    return Api(node.port)


# Slow clients.


def test_clients_that_send_nothing_or_half_a_head_are_dropped(node: NodeProcess, api: Api) -> None:
    beginnings = [b"", b"P", b"POST /api/jobs HTTP/1.1\r\n", REQUEST[:60], REQUEST + b"GET /he"]
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(node.port)) for _ in beginnings]
        for connection, beginning in zip(slow, beginnings, strict=True):
            connection.sendall(beginning)
        assert api.finished([api.submit("echo")])[0]["status"] == "success"
        for connection in slow:
            until_closed(connection)


def test_a_head_that_drips_is_dropped(node: NodeProcess) -> None:
    """Each byte shows that somebody is there, and yet it may not take for ever."""
    with connected(node.port) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: ")
        assert _drips_until_dropped(connection)


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/batch", "/api/jobs/stream"])
def test_a_body_that_does_not_arrive_is_answered_with_408(node: NodeProcess, path: str) -> None:
    with connected(node.port) as connection:
        connection.sendall(head("POST", path, content_length="1000") + b'{"containers"')
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"error", "params"}


def test_a_body_that_drips_is_answered_with_408(node: NodeProcess) -> None:
    with connected(node.port) as connection:
        connection.sendall(head("POST", "/api/jobs", content_length="100000"))
        assert _drips_until_dropped(connection).startswith(b"HTTP/1.1 408 ")


def _drips_until_dropped(connection: socket.socket) -> bytes:
    """Send a byte now and then until the node has had enough; returns its last words."""
    connection.settimeout(0.1)
    deadline = time.monotonic() + 30
    said = b""
    while time.monotonic() < deadline:
        try:
            connection.sendall(b"y")
            part = connection.recv(65536)
            if not part:
                return said or b"closed"
            said += part
        except TimeoutError:
            continue
        except ConnectionError:
            return said or b"closed"
    raise AssertionError("still served")


def _large_answer(api: Api) -> str:
    """The path of an answer of 200 kB."""
    job = api.submit("echo", {"text": "x" * 200_000})
    assert api.finished([job])[0]["status"] == "success"
    return f"/api/jobs?id={job}"


def test_a_client_that_does_not_read_its_answers_is_dropped(node: NodeProcess, api: Api) -> None:
    path = _large_answer(api)
    answer = len(api.get(path).body)
    for requests in (1, 2 + 16 * MIB // answer):  # more than the kernel keeps for the client
        with connected(node.port) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(head("GET", path) * requests)
            assert connection.recv(10)
            port = connection.getsockname()[1]
            eventually(functools.partial(_is_rid_of, node, port), within=60)


def _is_rid_of(node: NodeProcess, port: int) -> bool:
    """Whether the node has no connection any more that comes from a port."""
    connections = psutil.Process(node.pid).net_connections("tcp4")
    return not any(each.raddr and each.raddr.port == port for each in connections)


def test_a_client_that_takes_its_answers_slowly_gets_them_all(
    echo: EchoService, tmp_path: Path
) -> None:
    """So slowly that the kernel does not take more from the node for twice the time to be stuck."""
    command = hurried({"api.server._STUCK_TIME": 2.0})
    with NodeProcess(configuration(echo.url), tmp_path, command=command) as node:
        api = Api(node.port)
        path = _large_answer(api)
        expected = api.get(path).body
        requests = 1 + 12 * MIB // len(expected)
        with connected(node.port) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.sendall(head("GET", path) * requests)
            connection.sendall(head("GET", "/nowhere", connection="close"))
            received = b""
            slowly = time.monotonic() + 6
            while part := connection.recv(65536):
                received += part
                if time.monotonic() < slowly:
                    time.sleep(0.2)
    assert received.count(expected) == requests
    assert b"HTTP/1.1 404 " in received


def test_a_stream_whose_client_does_not_read_ends(tmp_path: Path) -> None:
    def script(call: Call) -> None:
        call.begin()
        while call.chunk(b"x" * 65536):
            pass

    with ScriptedService(script) as service:
        config = configuration(service.url)
        with NodeProcess(config, tmp_path, command=hurried()) as node, connected(node.port) as c:
            c.sendall(post("/api/jobs/stream", json.dumps(JOB).encode()))
            assert c.recv(10).startswith(b"HTTP/1.1")
            eventually(lambda: bool(service.calls))
            assert service.calls[0].gone.wait(30)
            api = Api(node.port)
            [result] = api.finished(api.get("/api/jobs").json, intermediate=True)
            assert result["status"] == "failed"
            assert result["intermediate_results"][0]["output"]["output"].startswith("xxx")


# Clients that close.


def test_a_client_that_closes_its_half_is_answered(node: NodeProcess, api: Api) -> None:
    for request in (REQUEST, head("GET", "/info"), post("/api/jobs/batch", b"[]")):
        with connected(node.port) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            assert until_closed(connection).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_closes_its_half_in_the_middle_is_dropped(
    node: NodeProcess, api: Api
) -> None:
    before = len(api.get("/api/jobs").json)
    for request in (b"", REQUEST[:20], REQUEST[:-1]):
        with connected(node.port) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = until_closed(connection)
            assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert len(api.get("/api/jobs").json) == before


def test_a_job_whose_client_left_before_the_answer_is_either_whole_or_not_there(
    node: NodeProcess, api: Api
) -> None:
    before = set(api.get("/api/jobs").json)
    for number in range(100):
        with connected(node.port) as connection:
            if number % 2:  # a reset instead of a proper end
                linger = b"\1\0\0\0\0\0\0\0"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(REQUEST)
    eventually(lambda: not api.running())
    new = [each for each in api.get("/api/jobs").json if each not in before]
    assert {each["status"] for each in api.finished(new)} <= {"success"}


def test_a_stream_whose_client_leaves_is_cancelled_and_keeps_what_arrived(
    tmp_path: Path,
) -> None:
    def script(call: Call) -> None:
        call.begin()
        call.chunk(b"first ")
        call.chunk(b"second")
        call.wait_until_gone()

    with ScriptedService(script) as service, _node(service, tmp_path) as node:
        api = Api(node.port)
        with connected(node.port) as connection:
            connection.sendall(post("/api/jobs/stream", json.dumps(JOB).encode()))
            received = b""
            while b"second" not in received:
                received += connection.recv(65536)
            assert len(api.running()) == 1
        assert service.calls[0].gone.wait(30), "the container works on for nobody"
        [result] = api.finished(api.get("/api/jobs").json, intermediate=True)
        assert result["status"] == "failed"
        assert "client" in result["result"]["error"]
        [kept] = result["intermediate_results"]
        assert kept == {"container": "echo", "output": {"output": "first second"}}


@pytest.mark.parametrize("half", [True, False], ids=["closed half", "closed"])
def test_a_stream_whose_client_leaves_before_it_begins_is_cancelled(
    tmp_path: Path, half: bool
) -> None:
    with (
        ScriptedService(Call.wait_until_gone) as service,
        _node(service, tmp_path) as node,
        connected(node.port) as connection,
    ):
        api = Api(node.port)
        connection.sendall(post("/api/jobs/stream", json.dumps(JOB).encode()))
        eventually(lambda: bool(service.calls))
        if half:
            connection.shutdown(socket.SHUT_WR)
        else:
            connection.close()
        assert service.calls[0].gone.wait(30), "the container works on for nobody"
        [result] = api.finished(api.get("/api/jobs").json)
        assert result["status"] == "failed"


def test_a_stream_is_cancelled_also_when_more_requests_stand_behind_it(tmp_path: Path) -> None:
    def script(call: Call) -> None:
        call.begin()
        call.chunk(b"first")
        call.wait_until_gone()

    with ScriptedService(script) as service, _node(service, tmp_path) as node:
        with connected(node.port) as connection:
            stream = post("/api/jobs/stream", json.dumps(JOB).encode())
            connection.sendall(stream + head("GET", "/health"))
            received = b""
            while b"first" not in received:
                received += connection.recv(65536)
        assert service.calls[0].gone.wait(30), "the container works on for nobody"
        eventually(lambda: not Api(node.port).running())


def test_a_stream_that_waits_in_line_can_be_left_and_its_place_goes_to_others(
    tmp_path: Path,
) -> None:
    release = threading.Event()

    def script(call: Call) -> None:
        if call.data.get("block"):
            release.wait(60)
        call.answer({})

    containers = [{"id": "echo", "max_concurrency": 1}]
    with ScriptedService(script) as service:
        containers[0]["url"] = service.url
        with NodeProcess({"containers": containers}, tmp_path) as node:
            api = Api(node.port)
            blocker = api.submit("echo", {"block": True})
            eventually(lambda: len(service.calls) == 1)
            left = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(10)]
            for connection in left:
                connection.sendall(post("/api/jobs/stream", json.dumps(JOB).encode()))
            eventually(lambda: len(api.running()) == 11)
            for connection in left:
                connection.close()
            eventually(lambda: api.running() == [blocker])
            release.set()
            assert {each["status"] for each in api.finished([blocker])} == {"success"}
            assert api.finished([api.submit("echo")])[0]["status"] == "success"
            assert len(service.calls) == 2


def _node(service: ScriptedService, folder: Path) -> NodeProcess:
    return NodeProcess(configuration(service.url), folder)


# Crowds.


def test_no_descriptor_leaks(node: NodeProcess, api: Api, echo: EchoService) -> None:
    """Hundreds of aborted clients of every kind leave no descriptor and no memory behind."""
    _abort_many(node.port, 60)  # pools and caches have their size now
    _quiet(api)
    descriptors = _descriptors(node)
    memory = psutil.Process(node.pid).memory_info().rss
    _abort_many(node.port, 600)
    _quiet(api)
    eventually(lambda: _descriptors(node) <= descriptors)
    assert psutil.Process(node.pid).memory_info().rss - memory < 30 * MIB
    assert psutil.Process(node.pid).num_threads() < 30


def _quiet(api: Api) -> None:
    eventually(lambda: not api.running(), within=60)


def _abort_many(port: int, count: int) -> None:
    body = json.dumps(JOB).encode()
    large = head("POST", "/api/jobs", content_length=str(MIB)) + b'{"a":"' + b"x" * (MIB // 2)
    requests = [
        REQUEST,
        REQUEST[:-3],
        large,
        post("/api/jobs/stream", body),
        post("/api/jobs/batch", b"[" + body + b"," + body + b"]"),
        head("GET", "/api/jobs"),
    ]
    for number in range(count):
        with connected(port) as connection:
            if number % 4 < 2:
                linger = b"\1\0\0\0\0\0\0\0"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(requests[number % len(requests)])
            if number % 3 == 0:
                connection.settimeout(0.05)
                with contextlib.suppress(OSError):
                    connection.recv(100)


def _descriptors(node: NodeProcess) -> int:
    return psutil.Process(node.pid).num_fds()


def _may_open(count: int) -> None:
    """Let this process have `count` files more, as the crowd in it needs them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard < count:
            pytest.skip(f"this process may open only {hard} files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


FEW_FILES = ("prlimit", "--nofile=1024:1024")  # as `ulimit -n 1024`, soft and hard
CROWD = 1500


@pytest.fixture
def small(echo: EchoService, tmp_path: Path) -> Iterator[NodeProcess]:
    """A node that may open 1,024 files."""
    _may_open(CROWD + 500)
    # The tests open their connections one by one, which takes long on a busy machine.
    patient = with_values(
        {
            "api.connections._GRACE": 60.0,
            "api.server._STUCK_TIME": 60.0,
            "api.server._STUCK_TIME_WHEN_FULL": 60.0,
        }
    )
    with NodeProcess(configuration(echo.url), tmp_path, command=(*FEW_FILES, *patient)) as process:
        assert "1024" in Path(f"/proc/{process.pid}/limits").read_text().split("Max open files")[1]
        yield process
        assert "Too many open files" not in process.log()
        assert "Traceback" not in process.log()


def test_1500_jobs_at_once_all_succeed_with_1024_files(small: NodeProcess) -> None:
    """All connections are open before any of them sends, and stay open."""
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connected(small.port, 60)) for _ in range(CROWD)]
        for connection in crowd:
            connection.sendall(REQUEST)
        identifiers = [_identifier(_one_answer(connection)) for connection in crowd]
        assert len(set(identifiers)) == CROWD
        api = Api(small.port)  # one more is served, too
        results = api.finished(identifiers)
    assert {each["status"] for each in results} == {"success"}


def test_1500_clients_in_threads_all_succeed_with_1024_files(small: NodeProcess) -> None:
    api = Api(small.port)
    identifiers: list[str] = []

    def client() -> None:
        identifiers.append(api.submit("echo"))

    threads = [threading.Thread(target=client) for _ in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(identifiers)) == CROWD
    assert {each["status"] for each in api.finished(identifiers)} == {"success"}


def test_idle_connections_do_not_keep_others_out(small: NodeProcess) -> None:
    """More of them than the node may have open, each with one request answered."""
    api = Api(small.port)
    with contextlib.ExitStack() as stack:
        for _ in range(CROWD):
            connection = stack.enter_context(connected(small.port, 60))
            connection.sendall(head("GET", "/info"))
            assert _one_answer(connection)
        assert api.finished([api.submit("echo")])[0]["status"] == "success"


def test_100_streams_at_once_wait_in_line_for_the_container(small: NodeProcess) -> None:
    request = post("/api/jobs/stream", json.dumps(JOB).encode())
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connected(small.port, 60)) for _ in range(100)]
        for connection in crowd:
            connection.sendall(request)
        api = Api(small.port)
        eventually(lambda: len(api.get("/api/jobs").json) == 100)
        eventually(lambda: not api.running(), within=60)
        for connection in crowd:
            answer = b""
            while not answer.endswith(b"0\r\n\r\n"):
                part = connection.recv(65536)
                assert part, answer
                answer += part
            assert b"chunk-19\n" in answer
    assert {each["status"] for each in api.finished(api.get("/api/jobs").json)} == {"success"}


def _one_answer(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received or received.endswith(b"\r\n\r\n"):
        part = connection.recv(65536)
        assert part, received
        received += part
    return received


def _identifier(answer: bytes) -> str:
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    identifier: str = json.loads(answer.partition(b"\r\n\r\n")[2])["id"]
    return identifier


# Loads.


def test_the_node_answers_while_large_bodies_and_batches_come_in(
    echo: EchoService, tmp_path: Path
) -> None:
    large = json.dumps({"containers": ["echo"], "data": {"a": "x" * 20 * MIB}}).encode()
    broken = b'{"containers":["echo"],"data":{"a":[' + b"1," * 10 * MIB + b"}}"
    batch = json.dumps([JOB] * 10_000).encode()
    config = {
        **configuration(echo.url),
        "server": {"max_body_bytes": 64 * MIB},
        "jobs": {"max_pending": 30_000},
    }
    with NodeProcess(config, tmp_path) as node:
        api = Api(node.port)
        answers: list[int] = []

        def load(*requests: tuple[bytes, str]) -> None:
            for body, path in requests:
                answers.append(api.post(body, path).status)

        first = ((large, "/api/jobs"), (batch, "/api/jobs/batch"), (large, "/api/jobs"))
        second = ((broken, "/api/jobs"), (large, "/api/jobs"), (broken, "/api/jobs/batch"))
        loads = [threading.Thread(target=load, args=requests) for requests in (first, second)]
        for thread in loads:
            thread.start()
        waits = []
        while any(thread.is_alive() for thread in loads):
            begin = time.monotonic()
            assert api.health() == "healthy"
            waits.append(time.monotonic() - begin)
            time.sleep(0.02)  # a client that looks often; one without pauses is a load of its own
        assert sorted(answers) == [200] * 4 + [400] * 2
        print(f"{len(waits)} waits for /health, most {max(waits):.3f} s")
        assert max(waits) < 5, waits
        assert sorted(waits)[len(waits) // 2] < 1, waits
        eventually(lambda: not api.running(), within=90)
        assert api.finished([api.submit("echo")])[0]["status"] == "success"


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    release = threading.Event()

    def script(call: Call) -> None:
        release.wait(60)
        call.answer({})

    with ScriptedService(script) as service:
        config = {**configuration(service.url), "jobs": {"max_pending": 10}}
        with NodeProcess(config, tmp_path) as node:
            api = Api(node.port)
            accepted = [api.submit("echo") for _ in range(6)]
            answers = api.post([JOB] * 20, "/api/jobs/batch").json
            accepted += [each["id"] for each in answers if "id" in each]
            assert len(accepted) == 10
            assert all(set(each) == {"error", "params"} for each in answers[4:])
            for path in ("/api/jobs", "/api/jobs/stream"):
                reply = api.post(JOB, path)
                assert reply.status == 503
                assert reply.error
                assert int(reply.headers["retry-after"]) > 0
            assert api.get("/info").json["pending"]["offchain"] == 10
            release.set()
            assert {each["status"] for each in api.finished(accepted)} == {"success"}
            assert api.finished([api.submit("echo")])[0]["status"] == "success"


def test_a_request_that_says_expect_is_answered_at_once(node: NodeProcess) -> None:
    """curl waits for this before it sends a larger body."""
    with connected(node.port) as connection:
        begin, body = REQUEST.split(b"\r\n\r\n")
        connection.sendall(begin + b"\r\nexpect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_http_1_0_is_served(node: NodeProcess) -> None:
    assert exchange(node.port, b"GET /health HTTP/1.0\r\n\r\n").endswith(b'"healthy"}')
