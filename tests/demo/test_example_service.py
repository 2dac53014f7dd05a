"""The example service, run as the demo runs it: a separate process, called over HTTP."""

from __future__ import annotations

import ast
import http.client
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from infernet_edge.demo import example_service
from infernet_edge.schema import ComputeCapability
from tests.support.ports import free_port
from tests.support.process import ServerProcess

pytestmark = pytest.mark.xdist_group("example service")  # creates its fixtures only once

SOURCE = Path(example_service.__file__)
PROMPT = {"prompt": "The small computer", "length": 12, "seed": 3}


def started(task: str, folder: Path) -> ServerProcess:
    port = free_port()
    command = [sys.executable, str(SOURCE), "--task", task, "--port", str(port)]
    return ServerProcess(command, f"http://127.0.0.1:{port}", folder / f"{task}.log")


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with started("write", tmp_path_factory.mktemp("writer")) as process:
        yield process


@pytest.fixture(scope="module")
def rater(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with started("rate", tmp_path_factory.mktemp("rater")) as process:
        yield process


def connect(service: ServerProcess) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=20)


def request(service: ServerProcess, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = connect(service)
    sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method, path, sent)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def job(service: ServerProcess, data: Any) -> tuple[int, Any]:
    body = {"source": 1, "destination": 1, "data": data, "requires_proof": False}
    return request(service, "POST", "/service_output", body)


def stream(service: ServerProcess, data: Any) -> Iterator[bytes]:
    """The pieces of a stream, each as it arrives."""
    connection = connect(service)
    body = {"source": 1, "destination": 2, "data": data, "requires_proof": False}
    connection.request("POST", "/service_output", json.dumps(body))
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("transfer-encoding") == "chunked"
    while piece := answer.read1():
        yield piece
    connection.close()


def test_the_writer_continues_the_prompt_by_the_seed(writer: ServerProcess) -> None:
    status, output = job(writer, PROMPT)
    assert status == 200
    assert output["text"].startswith("The small computer ")
    assert len(output["text"].split()) == 3 + 12
    assert (output["words"], output["seed"]) == (12, 3)
    assert job(writer, PROMPT) == (status, output)
    assert job(writer, {**PROMPT, "seed": 4})[1]["text"] != output["text"]


def test_the_writer_chooses_missing_values(writer: ServerProcess) -> None:
    status, output = job(writer, {})
    assert status == 200
    again = {"length": output["words"], "seed": output["seed"]}
    assert job(writer, again)[1] == output


def test_a_prompt_of_unknown_words_is_continued_too(writer: ServerProcess) -> None:
    status, output = job(writer, {"prompt": "Zwölf Boxkämpfer", "length": 5, "seed": 1})
    assert status == 200
    assert len(output["text"].split()) == 7


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("A wonderful summer, everybody was happy", "positive"),
        ("Terrible. It is slow and broken, and I hate it.", "negative"),
    ],
)
def test_the_rater_distinguishes_positive_from_negative(
    rater: ServerProcess, text: str, rating: str
) -> None:
    status, output = job(rater, {"text": text})
    assert status == 200
    assert output["rating"] == rating
    assert 0.8 < output["confidence"] <= 1


def test_the_rater_has_no_confidence_in_unknown_words(rater: ServerProcess) -> None:
    assert job(rater, {"text": "42"})[1]["confidence"] == 0.5


def test_the_output_of_the_writer_is_an_input_of_the_rater(
    writer: ServerProcess, rater: ServerProcess
) -> None:
    _, written = job(writer, PROMPT)
    status, output = job(rater, written)
    assert status == 200
    assert output["rating"] in ("positive", "negative")


def test_a_stream_is_the_same_text_word_by_word(writer: ServerProcess) -> None:
    pieces = list(stream(writer, PROMPT))
    assert len(pieces) > 3
    assert b"".join(pieces).decode() == job(writer, PROMPT)[1]["text"] + "\n"


def test_a_stream_of_the_rater_has_a_line_for_each_sentence(rater: ServerProcess) -> None:
    data = {"text": "It was a happy day. It was a terrible night."}
    lines = b"".join(stream(rater, data)).decode().splitlines()
    assert [line.split()[0] for line in lines] == ["positive", "negative"]


def test_a_stream_without_a_prompt_is_not_empty(writer: ServerProcess) -> None:
    assert len(b"".join(stream(writer, {"length": 3})).split()) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        [],
        {"data": "text"},
        {"data": {"prompt": 1}},
        {"data": {"length": 0}},
        {"data": {"length": 1001}},
        {"data": {"length": True}},
        {"data": {"seed": "x"}},
        {"data": {"seed": 0.5}, "destination": 2},
    ],
)
def test_bad_input_is_answered_with_400_and_a_reason(writer: ServerProcess, body: Any) -> None:
    status, error = request(writer, "POST", "/service_output", body)
    assert status == 400
    assert error["code"] == "400"
    assert error["name"] == "Bad Request"
    assert error["description"]


def test_the_rater_requires_a_text(rater: ServerProcess) -> None:
    assert job(rater, {"texts": []})[0] == 400


def test_a_body_that_is_too_large_is_not_read(writer: ServerProcess) -> None:
    connection = connect(writer)
    connection.putrequest("POST", "/service_output")
    connection.putheader("content-length", str(10**9))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_other_paths_are_404(writer: ServerProcess) -> None:
    assert request(writer, "GET", "/")[0] == 404
    assert request(writer, "POST", "/", {"data": {}})[0] == 404


def test_resources_are_what_the_node_can_pass_on(writer: ServerProcess) -> None:
    status, resources = request(writer, "GET", "/service-resources")
    assert status == 200
    assert resources["service_id"] == "markov-writer"
    capabilities = msgspec.convert(resources["compute_capability"], list[ComputeCapability])
    assert capabilities[0].models[0].name == "markov-writer"


@pytest.mark.parametrize(
    ("model", "supported"), [("infernet-edge/markov-writer", True), ("other/model", False)]
)
def test_resources_report_which_model_is_supported(
    writer: ServerProcess, model: str, supported: bool
) -> None:
    answer = request(writer, "GET", f"/service-resources?model_id={model}")
    assert answer == (200, {"supported": supported})


def test_a_connection_serves_many_requests(writer: ServerProcess) -> None:
    connection = connect(writer)
    connection.connect()
    first = connection.sock
    for _ in range(20):
        connection.request("POST", "/service_output", json.dumps({"data": PROMPT}))
        assert connection.getresponse().read()
        assert connection.sock is first
    connection.close()


def test_many_clients_at_once(writer: ServerProcess) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(job(writer, PROMPT)[0])) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 16


def test_a_client_that_leaves_a_stream_does_no_harm(writer: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(writer.url).port or 0)) as client:
        body = json.dumps({"destination": 2, "data": {"length": 1000}}).encode()
        head = b"POST /service_output HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body)
        client.sendall(head + body)
        assert client.recv(10)
    assert job(writer, PROMPT)[0] == 200
    assert "Traceback" not in writer.log()


def test_sigterm_lets_a_stream_end_first(tmp_path: Path) -> None:
    with started("write", tmp_path) as writer:
        pieces = stream(writer, {"prompt": "The old", "length": 20, "seed": 1})
        text = next(pieces)
        ender = threading.Thread(target=writer.stop)
        ender.start()
        text += b"".join(pieces)
        ender.join()
    assert len(text.split()) == 22
    assert writer.exit_code() == 0


def test_sigterm_does_not_wait_for_idle_connections(tmp_path: Path) -> None:
    with started("rate", tmp_path) as rater:
        connection = connect(rater)
        connection.request("GET", "/health")
        assert connection.getresponse().read()
        assert rater.stop(timeout=20) == 0
        connection.close()


def test_port_0_is_a_free_one_that_the_first_line_names(tmp_path: Path) -> None:
    with started("write", tmp_path) as writer:
        assert writer.log() == f"write: listening on {writer.url}\n"


def test_it_is_one_file_for_any_python_from_3_8() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 8))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
