"""The conversion of a decoded document to Structs, which collects every error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.decoding import Conversion, EnvironmentText, show, type_name
from infernet_edge.config.model import Config, Model
from infernet_edge.config.secret_files import Secret

CONTAINER = {"id": "a", "image": "b"}


_GPUS = 'true, false, or names such as "0"'


def convert(document: Any) -> tuple[Config, Conversion]:
    conversion = Conversion()
    return conversion.struct(document, Config, ""), conversion


def valid(document: dict[str, Any]) -> Config:
    config, conversion = convert(document)
    assert conversion.problems == []
    assert conversion.warnings == []
    return config


def wrong(document: Any) -> list[tuple[str, str, str]]:
    _, conversion = convert(document)
    return [(p.path, p.found, p.expected) for p in conversion.problems]


@pytest.mark.parametrize(
    "gpu", [True, False, "0", "0,1", "0, all", "1:0", "amd.com/gpu=0", "GPU-3a-4"]
)
def test_gpus_all_none_or_by_name(gpu: Any) -> None:
    assert valid({"containers": [CONTAINER | {"gpu": gpu}]}).containers[0].gpu == gpu


def test_an_empty_document_is_the_defaults() -> None:
    assert valid({}) == Config()


def test_null_means_not_set() -> None:
    """As the reference node writes it."""
    assert valid({"log": None, "server": {"port": None}, "containers": None}) == Config()


@pytest.mark.parametrize("port", [4001, "4001"])
def test_ports_may_be_text(port: Any) -> None:
    config = valid({"server": {"port": port}, "containers": [{**CONTAINER, "port": port}]})
    assert config.server.port == 4001
    assert config.containers[0].port == 4001


@pytest.mark.parametrize(
    ("document", "path", "found", "expected"),
    [
        ([], "", "a list", "an object"),
        ({"server": 1}, "server", "1", "an object"),
        ({"server": {"port": "x"}}, "server.port", '"x"', "a whole number"),
        ({"server": {"port": 4000.5}}, "server.port", "4000.5", "a whole number"),
        ({"server": {"port": True}}, "server.port", "true", "a whole number"),
        ({"server": {"port": 70000}}, "server.port", "70000", "a whole number <= 65535"),
        ({"server": {"port": -1}}, "server.port", "-1", "a whole number >= 0"),
        ({"server": {"host": 1}}, "server.host", "1", "text"),
        ({"server": {"allowed_hosts": "x"}}, "server.allowed_hosts", '"x"', "a list"),
        ({"server": {"allowed_hosts": [1]}}, "server.allowed_hosts[0]", "1", "text"),
        ({"manage_containers": "yes"}, "manage_containers", '"yes"', "true or false"),
        ({"manage_containers": 1}, "manage_containers", "1", "true or false"),
        ({"jobs": {"on_restart": "x"}}, "jobs.on_restart", '"x"', '"retry" or "fail"'),
        ({"jobs": {"retention": 0}}, "jobs.retention", "0", "a number > 0"),
        ({"jobs": {"retention": float("inf")}}, "jobs.retention", "null", "a number"),
        ({"jobs": {"retention": float("nan")}}, "jobs.retention", "null", "a number"),
        ({"jobs": {"retention": 1e300}}, "jobs.retention", "1e300", "a number"),
        ({"containers": {}}, "containers", "an object", "a list"),
        ({"containers": [1]}, "containers[0]", "1", "an object"),
        ({"containers": [{"image": "x"}]}, "containers[0].id", "nothing", "text"),
        (
            {"containers": [CONTAINER, {"id": "a b"}]},
            "containers[1].id",
            '"a b"',
            "text of letters, digits, '.', '_' and '-'",
        ),
        (
            {"containers": [CONTAINER | {"accepted_payments": {"0x1": "x"}}]},
            "containers[0].accepted_payments.0x1",
            '"x"',
            "a whole number >= 0",
        ),
        (
            {"containers": [CONTAINER | {"models": ["a", {"name": 1}]}]},
            "containers[0].models[1].name",
            "1",
            "text",
        ),
        ({"server": {"tls": {"cert": "x"}}}, "server.tls.key", "nothing", "text"),
        *(
            ({"containers": [CONTAINER | {"gpu": gpu}]}, "containers[0].gpu", shown, _GPUS)
            for gpu, shown in (
                (0, "0"),
                (1.5, "1.5"),
                ("", '""'),
                ("True", '"True"'),
                ("off", '"off"'),
                ("0,", '"0,"'),
                ("a b", '"a b"'),
                ("nvidia.com=0", '"nvidia.com=0"'),
                (["0"], "a list"),
            )
        ),
    ],
)
def test_an_error_is_reported_with_its_path(
    document: Any, path: str, found: str, expected: str
) -> None:
    ((where, shown, described),) = wrong(document)
    assert (where, shown) == (path, found)
    assert described.startswith(expected.split(" >=")[0].split(" <=")[0])
    assert "`" not in described


def test_every_error_is_reported() -> None:
    document = {
        "log": {"backup_count": -1},
        "server": {"port": "x", "host": 1, "tokens": {"bob": 1}, "rate_limit": []},
        "containers": [
            {"port": 99999, "gpu": "yes"},
            CONTAINER,
            {"id": "ü", "timeout": -1, "env": {"A": []}},
        ],
        "chain": {"wallet": {"max_gas_limit": 1}, "rpc_url": {}},
    }
    assert {path for path, *_ in wrong(document)} == {
        "log.backup_count",
        "server.port",
        "server.host",
        "server.tokens.bob",
        "server.rate_limit",
        "containers[0].id",
        "containers[0].port",
        "containers[0].gpu",
        "containers[2].id",
        "containers[2].timeout",
        "containers[2].env.A",
        "chain.wallet.max_gas_limit",
        "chain.rpc_url",
    }


@pytest.mark.parametrize(
    ("document", "warning"),
    [
        ({"servr": {}}, "unknown key 'servr' is ignored; did you mean 'server'?"),
        (
            {"server": {"prot": 1}},
            "unknown key 'server.prot' is ignored; did you mean 'server.port'?",
        ),
        (
            {"containers": [CONTAINER | {"volume": []}]},
            "unknown key 'containers[0].volume' is ignored; did you mean 'containers[0].volumes'?",
        ),
        ({"zzzzzz": 1}, "unknown key 'zzzzzz' is ignored"),
    ],
)
def test_unknown_keys_are_ignored_with_a_warning(document: Any, warning: str) -> None:
    _, conversion = convert(document)
    assert conversion.problems == []
    assert conversion.warnings == [warning]


def test_keys_that_users_choose_are_not_unknown() -> None:
    valid({"redis": {"host": "x", "anything": [1]}})
    valid({"containers": [CONTAINER | {"env": {"ANY": "x", "N": 1, "B": True, "F": 0.5}}]})


def test_a_secret_as_text_or_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("  from a file\n")
    file.chmod(0o600)
    config = valid(
        {"docker": {"password": {"file": str(file)}}, "server": {"tokens": {"bob": "as text"}}}
    )
    assert config.docker.password == Secret("from a file")
    assert config.server.tokens == {"bob": Secret("as text")}


def test_a_secret_in_a_file_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("top")
    file.chmod(0o644)
    _, conversion = convert({"docker": {"password": {"file": str(file)}}})
    (warning,) = conversion.warnings
    assert "docker.password" in warning
    assert f"chmod 600 {file}" in warning
    assert "top" not in warning


@pytest.mark.parametrize(
    "value",
    [
        12345678,
        1.5,
        True,
        ["hunter2"],
        {"file": ["hunter2"]},
        {"text": "hunter2"},
        {"file": "x", "more": "hunter2"},
    ],
)
@pytest.mark.parametrize(
    "document",
    [
        lambda value: {"docker": {"password": value}},
        lambda value: {"server": {"tokens": {"bob": value}}},
        lambda value: {"containers": [CONTAINER | {"bearer": value}]},
        lambda value: {"chain": {"wallet": {"private_key": value}}},
        lambda value: {"chain": {"wallet": {"keystore_password": value}}},
    ],
)
def test_a_wrong_secret_is_never_shown(document: Any, value: Any) -> None:
    _, conversion = convert(document(value))
    (problem,) = conversion.problems
    table = "one of token, file, scope, expires"
    assert problem.expected in ('text, or {"file": "/path/of/a/file"}', table)
    for part in ("hunter2", "12345678", "1.5", "true"):
        assert part not in str(problem).replace("true or false", "")


@pytest.mark.parametrize(
    "document",
    [
        {"chain": {"rpc_url": 12345678}},
        {"chain": {"rpc_url": [{"hunter2": "12345678"}]}},
        {"containers": [CONTAINER | {"env": {"KEY": ["hunter2"]}}]},
        {"containers": [CONTAINER | {"env": "KEY=hunter2"}]},
        {"redis": "redis://:hunter2@host"},
    ],
)
def test_values_that_may_hold_a_secret_are_not_shown(document: Any) -> None:
    _, conversion = convert(document)
    assert conversion.problems
    for problem in conversion.problems:
        assert "hunter2" not in str(problem)
        assert "12345678" not in str(problem)


def test_a_file_of_a_secret_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for file, reason in ((tmp_path / "absent", "No such file"), (tmp_path / "binary", "UTF-8")):
        ((path, found, _),) = wrong({"docker": {"password": {"file": str(file)}}})
        assert path == "docker.password"
        assert str(file) in found
        assert reason in found


def env(value: Any) -> Any:
    """The same with all texts from the environment."""
    if isinstance(value, dict):
        return {key: env(item) for key, item in value.items()}
    return EnvironmentText(value) if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("document", "same"),
    [
        ({"server": {"port": "4001"}}, {"server": {"port": 4001}}),
        ({"server": {"host": "4001"}}, {"server": {"host": "4001"}}),
        ({"server": {"host": ""}}, {"server": {"host": ""}}),
        ({"manage_containers": "false"}, {"manage_containers": False}),
        ({"startup_wait": "0.5"}, {"startup_wait": 0.5}),
        ({"server": {"allowed_hosts": '["a","b"]'}}, {"server": {"allowed_hosts": ["a", "b"]}}),
        ({"server": '{"port":1}'}, {"server": {"port": 1}}),
        ({"containers": '[{"id":"a","image":"b"}]'}, {"containers": [CONTAINER]}),
        ({"chain": {"rpc_url": "http://a"}}, {"chain": {"rpc_url": "http://a"}}),
        ({"chain": {"rpc_url": '["http://a"]'}}, {"chain": {"rpc_url": ["http://a"]}}),
        ({"docker": {"password": "123"}}, {"docker": {"password": "123"}}),
        ({"jobs": {"on_restart": "fail"}}, {"jobs": {"on_restart": "fail"}}),
        ({"podman": {"url": "unix:///x"}}, {"podman": {"url": "unix:///x"}}),
        ({"server": {"host": "[::1]"}}, {"server": {"host": "[::1]"}}),
        ({"chain": {"rpc_url": "[not json"}}, {"chain": {"rpc_url": "[not json"}}),
    ],
)
def test_text_from_the_environment_stands_for_any_value(
    document: dict[str, Any], same: dict[str, Any]
) -> None:
    assert valid(env(document)) == valid(same)


def test_a_secret_in_a_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("top\n")
    file.chmod(0o600)
    config = valid(env({"docker": {"password": f'{{"file": "{file}"}}'}}))
    assert config.docker.password == Secret("top")


def test_a_secret_variable_of_a_container_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("top\n")
    file.chmod(0o600)
    variables = {"TOKEN": {"file": str(file)}, "WORKERS": 2}
    config = valid({"containers": [CONTAINER | {"env": variables}]})
    assert config.containers[0].env == {"TOKEN": Secret("top"), "WORKERS": 2}
    ((where, _, expected),) = wrong({"containers": [CONTAINER | {"env": {"TOKEN": {"f": "x"}}}]})
    assert (where, expected) == (
        "containers[0].env.TOKEN",
        'text, or {"file": "/path/of/a/file"}',
    )
    # A text is a text, also one that could be such an object.
    config = valid({"containers": [CONTAINER | {"env": {"RETRY": '{"file": "x"}'}}]})
    assert config.containers[0].env == {"RETRY": '{"file": "x"}'}


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"server": {"port": "x"}}, "server.port"),
        ({"server": {"allowed_hosts": "a,b"}}, "server.allowed_hosts"),
        ({"server": "x"}, "server"),
        ({"manage_containers": "maybe"}, "manage_containers"),
        ({"containers": "{}"}, "containers"),
    ],
)
def test_wrong_text_from_the_environment(document: dict[str, Any], path: str) -> None:
    ((where, *_),) = wrong(env(document))
    assert where == path


def test_models_in_both_forms() -> None:
    models = ["a/b", {"owner": "a", "name": "b", "files": ["x"]}]
    config = valid({"containers": [CONTAINER | {"models": models}]})
    assert config.containers[0].models == ["a/b", Model(owner="a", name="b", files=["x"])]


def test_wrong_values_are_shown_short() -> None:
    assert show("x") == '"x"'
    assert len(show("x" * 1000)) == 60
    assert show({"a": 1}) == "an object"
    assert show([1]) == "a list"
    assert show(None) == "null"
    assert show(float("inf")) == "null"
    assert type_name(None) == "null"
    assert type_name(True) == "true or false"
