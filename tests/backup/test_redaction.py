"""No secret of a configuration is in a backup, and what remains is the same configuration."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.backup.redaction import MARKER, redact, same_kind
from infernet_edge.config.errors import ConfigurationError
from infernet_edge.config.loading import build
from infernet_edge.config.rendering import to_json, to_toml

SECRET = "5ecret"
DOCUMENT: dict[str, Any] = {
    "log_path": "/var/log/x.log",
    "unknown": SECRET,
    "server": {
        "port": 4001,
        "tokens": {"phone": SECRET, "tablet": {"file": "/etc/tablet"}},
        "tls": {"cert": "/tls/cert.pem", "key": "/tls/key.pem"},
        "other": {"deep": SECRET},
    },
    "docker": {"username": "me", "password": SECRET},
    "redis": {"host": "x", "password": SECRET},
    "containers": [
        {
            "id": "a",
            "image": "alpine",
            "env": {"KEY": SECRET, "NUMBER": 3, "FILE": {"file": "secrets/x"}},
            "command": f"serve --api-key {SECRET}",
            "bearer": SECRET,
            "port": 3001,
        },
        {"id": "b", "url": f"http://user:{SECRET}@host:80/", "command": "serve --max-tokens 5"},
        {"id": "c", "image": "alpine", "command": f"API_TOKEN={SECRET} serve", "port": 3002},
    ],
    "chain": {
        "enabled": True,
        "rpc_url": [f"https://rpc.example/{SECRET}"],
        "wallet": {
            "private_key": SECRET,
            "keystore": "wallet.json",
            "keystore_password": SECRET,
            "payment_address": "0x" + "11" * 20,
        },
    },
    "storage": {"path": "/data"},
}


def test_no_secret_is_left() -> None:
    document, left_out, files = redact(DOCUMENT)
    assert SECRET not in json.dumps(document)
    assert left_out == [
        "server.tokens.phone",
        "docker.password",
        "containers[0].bearer",
        "containers[0].command",
        "containers[0].env.KEY",
        "containers[0].env.NUMBER",
        "containers[1].url",
        "containers[2].command",
        "chain.rpc_url",
        "chain.wallet.private_key",
        "chain.wallet.keystore_password",
    ]
    assert files == {
        "server.tokens.tablet": "/etc/tablet",
        "server.tls.cert": "/tls/cert.pem",
        "server.tls.key": "/tls/key.pem",
        "containers[0].env.FILE": "secrets/x",
        "chain.wallet.keystore": "wallet.json",
    }
    assert document["server"]["port"] == 4001
    assert document["containers"][1]["command"] == "serve --max-tokens 5"
    assert document["log"] == {"path": "/var/log/x.log"}
    assert "unknown" not in document
    assert document["chain"]["wallet"]["payment_address"] == "0x" + "11" * 20


def test_the_given_document_is_unchanged() -> None:
    before = json.dumps(DOCUMENT)
    redact(DOCUMENT)
    assert json.dumps(DOCUMENT) == before


@pytest.mark.parametrize("render", [to_toml, to_json])
def test_each_secret_has_to_be_entered_again(render: Any) -> None:
    """The node does not start with a marker, and the error names the setting."""
    text = render(redact(DOCUMENT).document)
    document = tomllib.loads(text) if render is to_toml else json.loads(text)
    with pytest.raises(ConfigurationError) as failed:
        build(document, "the file", {})
    wrong = {problem.path for problem in failed.value.problems}
    named = redact(DOCUMENT)
    expected = {path for path in named.left_out if not path.startswith("containers[0].env.FILE")}
    assert expected <= wrong


@pytest.mark.parametrize("render", [to_toml, to_json])
def test_without_secrets_it_is_the_same_configuration(render: Any) -> None:
    plain = {
        "log": {"path": "/x/node.log", "backup_count": 3},
        "server": {"port": 4001, "rate_limit": {"num_requests": 3}, "allowed_hosts": ["pi"]},
        "containers": [{"id": "a", "image": "alpine", "models": ["me/x"], "accepted_payments": {}}],
        "storage": {"path": "/data"},
        "jobs": {"retention": 60.5},
    }
    text = render(redact(plain).document)
    document = tomllib.loads(text) if render is to_toml else json.loads(text)
    assert build(document, "", {})[0] == build(plain, "", {})[0]


@pytest.mark.parametrize(
    "document",
    [
        {"server": SECRET},
        {"server": {"tokens": SECRET}},
        {"containers": {"a": SECRET}},
        {"containers": [SECRET, {"env": [SECRET]}]},
        {"chain": {"wallet": [SECRET]}},
        {"chain": {"wallet": {"private_key": {"file": [SECRET]}}}},
        {"docker": {"password": {"file": "x", "text": SECRET}}},
    ],
)
def test_values_of_a_wrong_type_do_not_leak(document: dict[str, Any]) -> None:
    assert SECRET not in json.dumps(redact(document).document)


@pytest.mark.parametrize(
    "container",
    [
        {"url": f"http://host/v1?key={SECRET}"},
        {"url": f"http://user:{SECRET}@host/"},
        {"command": f"serve --upstream https://host/v1?sig={SECRET}"},
        {"command": f"serve --header 'Authorization: Bearer {SECRET}'"},
        {"command": f"serve -H 'authorization: basic {SECRET}'"},
        {"command": f"serve --hf-token {SECRET}"},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"query": {"key": SECRET}},
    ],
)
def test_secrets_in_other_settings_of_a_container(container: dict[str, Any]) -> None:
    redacted = redact({"containers": [{"id": "a", **container}]})
    assert SECRET not in json.dumps(redacted.document)
    assert redacted.left_out


def test_what_only_looks_like_a_secret_stays() -> None:
    container = {
        "id": "a",
        "description": "A basic model, see https://host/?page=2",
        "url": "http://host/v1#top",
        "command": "serve --url http://host/v1 --max-tokens 5 --basic",
    }
    assert redact({"containers": [container]}).document == {"containers": [container]}


def test_the_marker_names_no_file_that_exists() -> None:
    assert not Path(MARKER["file"]).exists()
    assert same_kind("configuration.toml", Path("x.toml"))
    assert same_kind("configuration.json", Path("x.json"))
    assert not same_kind("configuration.json", Path("x.toml"))
