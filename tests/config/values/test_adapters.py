from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.errors import ConfigurationError
from infernet_edge.config.loading import build
from infernet_edge.config.secret_files import Secret


def problems(**settings: Any) -> list[str]:
    """The errors of a configuration with this container, apart from the place of the container."""
    container = {"id": "llm", "url": "http://10.0.0.5:8080", **settings}
    try:
        build({"containers": [container]}, "test", {})
    except ConfigurationError as error:
        return [str(each).removeprefix("containers[0].") for each in error.problems]
    return []


def test_settings_that_are_valid(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("top\n")
    secret.chmod(0o600)
    settings = {
        "protocol": "http",
        "path": "/v2/models/a%20b:predict",
        "method": "PUT",
        "headers": {"X-Key": {"file": str(secret)}, "api_key": "x"},
        "query": {"version": 3, "key": {"file": str(secret)}},
        "result": "/a~1b/0/~0/",
        "startup_timeout": 600,
    }
    container = {"id": "llm", "url": "http://10.0.0.5:8080", **settings}
    config, warnings = build({"containers": [container]}, "test", {})
    made = config.containers[0]
    assert made.headers == {"X-Key": Secret("top"), "api_key": "x"}
    assert made.query == {"version": 3, "key": Secret("top")}
    assert warnings == []


@pytest.mark.parametrize("protocol", ["http", "openai"])
@pytest.mark.parametrize(
    ("settings", "key", "expected"),
    [
        ({"path": "predict"}, "path", "a path such as /predict"),
        ({"path": "/a?b=c"}, "path", "parameters belong into query"),
        ({"path": "/a#b"}, "path", "a path such as /predict"),
        ({"path": "/a b"}, "path", "percent-encoded"),
        ({"method": "GET"}, "method", '"POST" or "PUT" or "PATCH"'),
        ({"headers": {"Host": "x"}}, "headers.Host", "a header that the node sets"),
        ({"headers": {"content-length": "1"}}, "headers.content-length", "that the node sets"),
        ({"headers": {"Accept-Encoding": "gzip"}}, "headers.Accept-Encoding", "that the node sets"),
        ({"headers": {"a b": "x"}}, "headers", "a name of a header"),
        ({"headers": {"": "x"}}, "headers", "a name of a header"),
        ({"headers": {"X": "secret\r\nHost: y"}}, "headers.X", "text of one line"),
        ({"headers": {"X": "a", "x": "b"}}, "headers.x", "it is there twice"),
        (
            {"headers": {"Authorization": "x"}, "bearer": "y"},
            "headers.Authorization",
            "bearer is set too",
        ),
        ({"query": {"": "x"}}, "query", "names of parameters"),
        ({"result": "choices"}, "result", "a JSON pointer (RFC 6901)"),
        ({"result": "/a~2"}, "result", "a JSON pointer (RFC 6901)"),
        ({"result": "/a~"}, "result", "a JSON pointer (RFC 6901)"),
        ({"result": "/a/1000"}, "result", "an item of a list up to 999"),
        ({"startup_timeout": 0}, "startup_timeout", ""),
    ],
)
def test_settings_that_are_not(
    protocol: str, settings: dict[str, Any], key: str, expected: str
) -> None:
    (problem,) = problems(protocol=protocol, **settings)
    assert problem.startswith(f"{key}: ")
    assert expected in problem
    assert "secret" not in problem


def test_an_unknown_protocol() -> None:
    (problem,) = problems(protocol="grpc")
    assert problem.startswith("protocol: ")
    assert '"infernet" or "http" or "openai"' in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("path", "/x"),
        ("method", "PUT"),
        ("headers", {"X": "secret"}),
        ("query", {"x": 1}),
        ("result", "/x"),
    ],
)
def test_they_need_a_protocol(key: str, value: Any) -> None:
    (problem,) = problems(**{key: value})
    assert problem.startswith(f"{key}: ")
    assert 'set protocol to "http" or "openai"' in problem
    assert "secret" not in problem


def test_an_openai_server_makes_no_proofs() -> None:
    assert problems(protocol="http", generates_proofs=True) == []
    (problem,) = problems(protocol="openai", generates_proofs=True)
    assert problem.startswith("generates_proofs: ")
