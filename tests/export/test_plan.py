"""What is exported, without secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.loading import build
from infernet_edge.config.model import Config
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.values.tokens import Token
from infernet_edge.export import kube, quadlet
from infernet_edge.export.plan import (
    RPC_VARIABLE,
    SECRETS_PATH,
    STATE_PATH,
    changed,
    make_plan,
    object_name,
)
from tests.export.exported import KEY, SECRETS, configuration, plan, rich


def settings(config: Config) -> dict[str, Any]:
    """The configuration without what an export changes."""
    found = changed(config)
    for gone in ("log", "docker", "storage", "manage_containers", "podman"):
        found.pop(gone, None)
    for gone in ("host", "allowed_hosts", "tls"):
        found["server"].pop(gone, None)
    kept = ("id", "health_path", "max_concurrency")
    found["containers"] = [
        {name: each[name] for name in kept if name in each} for each in found["containers"]
    ]
    return found


def test_the_exported_node_has_the_same_settings(tmp_path: Path) -> None:
    """When the secrets are given in the new place."""
    document = rich(tmp_path)
    made = plan(document)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for key in made.secrets:
        text = {"server.tokens.bob": SECRETS[0], "chain.wallet.private_key": KEY}.get(key, "bearer")
        (credentials / key).write_text(text)
    exported = json.loads(json.dumps(made.configuration({"Echo_1": "http://a:1"})))
    environment = {
        "CREDENTIALS_DIRECTORY": str(credentials),
        RPC_VARIABLE: "http://u:rpc-secret@x.example/KEY",
    }
    del exported["server"]["tls"]  # the files are there in the new place only
    for each in exported["containers"]:
        each["url"] = each["url"] or "http://b:2"
    config, _ = build(exported, "exported", environment)
    assert settings(config) == settings(configuration(document))
    assert config.containers[0].url == "http://a:1"
    assert config.storage.path == STATE_PATH
    assert not config.manage_containers
    assert config.containers[3].bearer is not None


def test_a_token_permits_no_more_in_the_new_place(tmp_path: Path) -> None:
    table = {"token": SECRETS[0], "scope": "read", "expires": "2027-01-01"}
    made = plan({"server": {"tokens": {"bob": SECRETS[0], "eve": table}}})
    exported = json.loads(json.dumps(made.configuration({})))
    assert SECRETS[0] not in json.dumps(exported)
    for key in made.secrets:
        (tmp_path / key).write_text(SECRETS[0])
    config, _ = build(exported, "exported", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert config.server.tokens == {
        "bob": Secret(SECRETS[0]),
        "eve": Token(Secret(SECRETS[0]), scope="read", expires="2027-01-01"),
    }


def test_a_default_configuration_changes_what_it_must() -> None:
    made = plan({})
    assert made.configuration({}) == {
        "server": {"host": "0.0.0.0", "port": 4000, "allowed_hosts": ["infernet-edge"]},
        "storage": {"path": STATE_PATH},
        "manage_containers": False,
        "containers": [],
    }
    assert (made.services, made.all_secrets, made.notes) == ([], [], [])


@pytest.mark.parametrize("show_environment", [False, True])
def test_no_secret_is_in_a_plan(tmp_path: Path, show_environment: bool) -> None:
    made = plan(rich(tmp_path), show_environment=show_environment)
    text = json.dumps(made.configuration({})) + repr([each.environment for each in made.services])
    found = [secret for secret in SECRETS if secret in text]
    assert found == (["env-secret"] if show_environment else [])
    assert "KEY" not in text


def test_the_secrets_are_named(tmp_path: Path) -> None:
    assert plan(rich(tmp_path)).all_secrets == [
        "server.tokens.bob",
        "server.tls.cert",
        "server.tls.key",
        "chain.wallet.private_key",
        "containers.far.bearer",
        RPC_VARIABLE,
        "containers.Echo_1.env.A",
    ]


def test_names_of_objects_are_unique(tmp_path: Path) -> None:
    assert [each.name for each in plan(rich(tmp_path)).services] == ["echo-1", "echo-1-2", "third"]
    assert object_name("My_Model.v2") == "my-model-v2"
    assert object_name("...") == "service"
    assert len(object_name("a" * 200)) <= 63
    both = {"containers": [{"id": "infernet-edge", "image": "a"}]}
    assert plan(both).services[0].name == "infernet-edge-2"


def test_what_no_system_can_express_is_named(tmp_path: Path) -> None:
    document = rich(tmp_path)
    document["containers"][0]["volumes"].append(f"{tmp_path}/missing:/m")
    notes = plan(document).notes
    assert [note.partition(":")[0] for note in notes] == [
        "docker",
        "log.path",
        "containers[0] (Echo_1).volumes",
        "containers[3] (far).url",
    ]
    assert "login-secret" not in str(notes)


def test_values_that_differ_are_the_document() -> None:
    document = {"server": {"rate_limit": {"num_requests": 5}}, "jobs": {"max_pending": 7}}
    found = changed(configuration(document))
    del found["storage"]  # the default is filled in
    assert found == document
    assert changed(Config()) == {}


def adapted(folder: Path) -> dict[str, Any]:
    """A configuration with a server of another kind, and secrets in all of its settings."""
    file = folder / "model.env"
    file.write_text("HF_TOKEN=file-secret\nMODE=file-secret\n")
    container = {
        "id": "llm",
        "image": "ghcr.io/x/llm:1",
        "protocol": "http",
        "path": "/predict",
        "method": "PUT",
        "headers": {"X-Key": "header-secret", "a!b": "header-secret"},
        "query": {"key": "query-secret"},
        "result": "/text",
        "startup_timeout": 600,
        "env": {"MODE": 1},
        "env_file": str(file),
        "shm_size": "1g",
    }
    return {"containers": [container]}


def test_a_server_of_another_kind_is_called_in_the_same_way(tmp_path: Path) -> None:
    made = plan(adapted(tmp_path))
    assert made.secrets == [
        "containers.llm.headers.X-Key",
        "containers.llm.headers.1",
        "containers.llm.query.key",
    ]
    assert (made.services[0].secrets, made.services[0].environment) == (["HF_TOKEN"], {"MODE": "1"})
    document = made.configuration({"llm": "http://a:1"})
    assert "secret-" not in json.dumps(document)
    assert "-secret" not in json.dumps(document)
    folder = tmp_path / "secrets"
    folder.mkdir()
    for key in made.secrets:
        (folder / key).write_text("header-secret" if "headers" in key else "query-secret")
        (folder / key).chmod(0o600)
    text = json.dumps(document).replace(SECRETS_PATH, str(folder))
    config, _ = build(json.loads(text), "exported", {})
    before = configuration(adapted(tmp_path)).containers[0]
    after = config.containers[0]
    for name in ("protocol", "path", "method", "result", "startup_timeout"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.headers == {name: Secret("header-secret") for name in before.headers}
    assert after.query == {"key": Secret("query-secret")}


def test_a_file_of_variables_that_is_not_there_is_named(tmp_path: Path) -> None:
    document = adapted(tmp_path)
    config = configuration(document)
    (tmp_path / "model.env").unlink()
    made = make_plan(config, "edge", "x.example/edge:1", show_environment=False)
    assert any(note.startswith("containers[0] (llm).env_file: ") for note in made.notes)


def test_shared_memory_in_both_systems(tmp_path: Path) -> None:
    made = plan(adapted(tmp_path))
    units, _ = quadlet.units(made)
    assert "PodmanArgs=--shm-size=1073741824b" in "".join(units.values())
    assert "1073741824" in json.dumps(kube.manifests(made))


@pytest.mark.parametrize(
    ("command", "left_out"),
    [
        ("--port 3000 --verbose", False),
        ("--api-key xyz", True),
        ("--header 'Authorization: Bearer xyz'", True),
        ("--upstream https://u:xyz@a.example/", True),
        ("--upstream https://a.example/?key=xyz", True),
    ],
)
def test_commands_and_urls_that_may_hold_a_secret_are_left_out(
    command: str, left_out: bool
) -> None:
    far = {"id": "far", "url": "http://10.0.0.7:8000/a?key=xyz"}
    near = {"id": "near", "image": "localhost/near:1", "command": command}
    made = plan({"containers": [far, near]})
    assert (made.services[0].arguments == []) is left_out
    assert made.configuration({})["containers"][0]["url"] == "http://10.0.0.7:8000/a"
    assert any("near).command" in note for note in made.notes) is left_out
    assert any("far).url: its query" in note for note in made.notes)
    assert "xyz" not in str(made.configuration({})) + str(made.notes)


def test_containers_that_sleep_run_all_the_time_there() -> None:
    document = {
        "containers": [
            {"id": "llm", "image": "ghcr.io/x/llm:1", "start": "on_demand", "idle_timeout": 60},
            {"id": "tts", "image": "ghcr.io/x/tts:1", "exclusive": "gpu0"},
        ]
    }
    made = plan(document)
    assert [note for note in made.notes if note.startswith("max_running, start,")] == [
        "max_running, start, idle_timeout, exclusive: llm, tts run all the time there, at the same"
        " time"
    ]
    limited = plan({**document, "max_running": 1})
    exported = limited.configuration({"llm": "http://a:1", "tts": "http://b:1"})
    build({**exported, "storage": {}}, "exported", {})
    assert "max_running" not in exported
