"""The list of all settings in force: sources, and what is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.keys.settings import HIDDEN, Setting, settings
from infernet_edge.config.loading import build, load
from infernet_edge.config.model import Config
from tests.support.reference import configuration_page

SECRET = "sesame-4711"


def listed(document: dict[str, Any]) -> dict[str, Setting]:
    config, _ = build(document, "a test", {})
    return {each.key: each for each in settings(config, None, {})}


def test_every_key_of_the_reference_is_there() -> None:
    found = listed({"containers": [{"id": "a", "image": "x"}], "server": {"tls": None}})
    page = configuration_page()
    for key in found:
        assert key.replace("containers[a]", "containers[]") in page, key
    for key in ("server.port", "jobs.keep_inputs", "containers[a].memory", "chain.wallet.keystore"):
        assert key in found
    assert found["server.port"].default == 4000
    assert found["server.port"].description == "Port of the REST API"
    assert {each.source for each in found.values()} == {"default"}
    assert {each.changes for each in found.values()} <= {"reload", "restart"}


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_where_each_value_comes_from(tmp_path: Path, suffix: str) -> None:
    texts = {
        "toml": 'log_path = "/x/log"\n[server]\nport = 4001\nhost = "::1"\n'
        '[[containers]]\nid = "a"\nimage = "x"\n',
        "json": '{"log_path": "/x/log",\n\n"server": {"port": 4001,\n"host": "::1"},'
        '\n"containers": [{\n"id": "a", "image": "x"}]}',
    }
    file = tmp_path / f"config.{suffix}"
    file.write_text(texts[suffix])
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "docker.password").write_text(SECRET)
    (credentials / "server.tokens.ann").write_text(SECRET * 3)
    (credentials / "containers.a.bearer").write_text(SECRET)
    environment = {
        "INFERNET_EDGE_SERVER__PORT": "4002",
        "INFERNET_EDGE_CONTAINERS__0__CPUS": "2",
        "CREDENTIALS_DIRECTORY": str(credentials),
        "HOME": str(tmp_path),
    }
    loaded = load(file, environment)
    found = {each.key: each for each in settings(loaded.config, loaded.source, environment)}
    assert (found["server.port"].value, found["server.port"].source) == (4002, "environment")
    assert found["server.host"].source == f"{file}:4"
    assert found["containers[a].id"].source == f"{file}:6"
    assert found["containers[a].cpus"].source == "environment"
    assert found["containers[a].memory"].source == "default"
    assert found["log.path"].source == f"{file}:1"  # by its old name
    assert found["containers[a].bearer"].source == "credential"
    assert found["docker.password"].source == found["server.tokens"].source == "credential"
    assert found["jobs.retention"].source == "default"
    assert SECRET not in repr(found)


FULL = {
    "server": {"tokens": {"ann": SECRET * 2}},
    "docker": {"username": "bob", "password": SECRET},
    "redis": {"password": SECRET},
    "podman": {"url": f"tcp://bob:{SECRET}@10.0.0.1:1"},
    "containers": [
        {
            "id": "a",
            "image": "docker.io/x/tokenizer:1",
            "description": "A tokenizer service = fast",
            "command": f"serve --api-key={SECRET} --port 3",
            "env": {"PLAIN": SECRET, "NUMBER": 5, "EMPTY": ""},
        },
        {"id": "b", "url": f"http://x:{SECRET}@10.0.0.1", "bearer": SECRET},
        {"id": "c", "url": f"http://10.0.0.1/?key={SECRET}"},
        {"id": "d", "image": "x", "command": f"run --hf-token {SECRET}"},
        {"id": "e", "image": "x", "command": f"sh -c 'PASSWORD={SECRET} run'"},
        {"id": "f", "image": "x", "command": f"--header 'Authorization: Bearer {SECRET}'"},
    ],
    "chain": {
        "rpc_url": [f"https://rpc.example/v3/{SECRET}"],
        "wallet": {"private_key": SECRET, "keystore_password": SECRET},
    },
}


def test_secrets_are_never_shown() -> None:
    config, _, problems = _lenient(FULL)
    found = {each.key: each for each in settings(config, None, {})}
    assert problems is not None
    assert SECRET not in repr(found)
    for key in (
        "docker.password",
        "podman.url",
        "containers[a].command",
        "containers[b].url",
        "containers[b].bearer",
        "containers[c].url",
        "containers[d].command",
        "containers[e].command",
        "containers[f].command",
        "chain.wallet.private_key",
        "chain.wallet.keystore_password",
    ):
        assert found[key].value == HIDDEN, key
    assert found["server.tokens"].value == {"ann": HIDDEN}
    assert found["containers[a].env"].value == {"PLAIN": HIDDEN, "NUMBER": HIDDEN, "EMPTY": None}
    assert found["chain.rpc_url"].value == HIDDEN
    assert found["docker.username"].value == "bob"
    assert found["containers[a].image"].value == "docker.io/x/tokenizer:1"
    assert found["containers[a].description"].value == "A tokenizer service = fast"
    assert found["server.tls"].value is None


def _lenient(document: dict[str, Any]) -> tuple[Config, list[str], list[Any]]:
    """A configuration although some values are not valid, as for the doctor."""
    from infernet_edge.config.decoding import Conversion

    conversion = Conversion()
    return conversion.struct(document, Config, ""), conversion.warnings, conversion.problems
