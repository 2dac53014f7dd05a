"""Texts that are invalid anywhere in a configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config import ConfigurationError, load
from infernet_edge.config.loading import build
from infernet_edge.config.texts import flaw, flaws, join, printable

NOT_UTF8 = os.fsdecode(b"caf\xe9")  # as it comes in a variable of the environment
CONTAINER = {"id": "a", "image": "b"}


def problems(document: dict[str, Any], **environment: str) -> dict[str, str]:
    """Path and text of each problem."""
    with pytest.raises(ConfigurationError) as refused:
        build(document, "x", environment)
    return {problem.path: str(problem) for problem in refused.value.problems}


def container(**keys: Any) -> dict[str, Any]:
    return {"containers": [{**CONTAINER, **keys}]}


def test_flaws() -> None:
    assert flaw("") == flaw("käse \n\t\x1b 🧀") == ""
    assert flaw("ab\0") == "text with a NUL character at position 3"
    assert flaw(NOT_UTF8) == flaw("caf\ud800") == "text that is not UTF-8 at position 4"


def test_flaws_of_deep_values() -> None:
    deep: Any = "\0"
    for _ in range(100_000):
        deep = [deep]
    assert len(list(flaws(deep, ""))) == 1
    value = {"a": [{"b\0": 1}, {"c": "\0"}], "d": None}
    assert [problem.path for problem in flaws(value, "x")] == ["x.a[1].c", "x.a[0].b\\u0000"]


def test_paths_can_be_printed() -> None:
    assert join("a", "b") == "a.b"
    assert join("", "x\0\x1b[1m\ud800") == "x\\u0000\\u001b[1m\\ud800"
    assert printable("käse") == "käse"


@pytest.mark.parametrize("bad", ["a\0b", NOT_UTF8], ids=ascii)
@pytest.mark.parametrize(
    ("document", "path"),
    [
        (lambda bad: {"server": {"host": bad}}, "server.host"),
        (lambda bad: {"server": {"tls": {"cert": bad, "key": "/dev/null"}}}, "server.tls.cert"),
        (lambda bad: {"server": {"allowed_hosts": ["x", bad]}}, "server.allowed_hosts[1]"),
        (lambda bad: {"server": {"trusted_proxies": [bad]}}, "server.trusted_proxies[0]"),
        (lambda bad: {"server": {"tokens": {"bob": 16 * bad}}}, "server.tokens.bob"),
        (lambda bad: {"storage": {"path": bad}}, "storage.path"),
        (lambda bad: {"log": {"path": bad}}, "log.path"),
        (lambda bad: {"log_path": bad}, "log.path"),
        (lambda bad: {"jobs": {"on_restart": bad}}, "jobs.on_restart"),
        (lambda bad: {"podman": {"url": f"unix:///{bad}"}}, "podman.url"),
        (lambda bad: {"docker": {"username": bad}}, "docker.username"),
        (lambda bad: {"docker": {"password": bad}}, "docker.password"),
        (lambda bad: {"docker": {"password": {"file": bad}}}, "docker.password.file"),
        (lambda bad: {"chain": {"rpc_url": bad}}, "chain.rpc_url"),
        (lambda bad: {"chain": {"rpc_url": ["http://a", bad]}}, "chain.rpc_url[1]"),
        (lambda bad: {"chain": {"wallet": {"keystore": bad}}}, "chain.wallet.keystore"),
        (lambda bad: {"redis": {"a": [bad]}}, "redis.a[0]"),
        (lambda bad: container(id=bad), "containers[0].id"),
        (lambda bad: container(image=bad), "containers[0].image"),
        (lambda bad: container(command=bad), "containers[0].command"),
        (lambda bad: container(port=bad), "containers[0].port"),
        (lambda bad: container(env={"A": bad}), "containers[0].env.A"),
        (lambda bad: container(volumes=["a:/b", bad]), "containers[0].volumes[1]"),
        (lambda bad: container(devices=[bad]), "containers[0].devices[0]"),
        (lambda bad: container(models=[bad]), "containers[0].models[0]"),
        (lambda bad: container(models=[{"owner": bad}]), "containers[0].models[0].owner"),
        (lambda bad: {"unknown": {"deep": [bad]}}, "unknown.deep[0]"),
    ],
)
def test_invalid_texts_of_a_file(document: Any, path: str, bad: str) -> None:
    found = problems(document(bad))
    assert list(found) == [path]
    assert "NUL" in found[path]
    assert bad not in found[path]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"un\0known": 1}, "un\\u0000known"),
        ({"server": {"ho\0st": 1}}, "server.ho\\u0000st"),
        (container(env={"A\0": "x"}), "containers[0].env.A\\u0000"),
        (container(models=[{"own\0er": "x"}]), "containers[0].models[0].own\\u0000er"),
        ({"server": {"tokens": {"\0": "x" * 16}}}, "server.tokens.\\u0000"),
        ({"redis": {"a": {"\0": 1}}}, "redis.a.\\u0000"),
    ],
)
def test_invalid_keys(document: dict[str, Any], path: str) -> None:
    found = problems(document)
    assert list(found) == [path]
    assert "a key that is text with a NUL character at position" in found[path]


@pytest.mark.parametrize(
    ("name", "text", "path"),
    [
        ("SERVER__HOST", NOT_UTF8, "server.host"),
        ("SERVER__ALLOWED_HOSTS", f'["{NOT_UTF8}"]', "server.allowed_hosts"),
        ("SERVER__ALLOWED_HOSTS", r'["a\u0000"]', "server.allowed_hosts[0]"),
        ("SERVER", r'{"host": "a\u0000"}', "server.host"),
        ("DOCKER__PASSWORD", r'{"file": "a\u0000"}', "docker.password.file"),
        ("CHAIN__RPC_URL", r'["\u0000"]', "chain.rpc_url[0]"),
        ("SERVER__PORT", NOT_UTF8, "server.port"),
        ("LOG", NOT_UTF8, "log"),
        (f"SERVER__{NOT_UTF8}", "x", "server.caf\\udce9"),
        (f"SERVER__TOKENS__{NOT_UTF8}", "x" * 16, "server.tokens.caf\\udce9"),
        ("CONTAINERS__0__MODELS", r'[{"owner": "\u0000"}]', "containers[0].models[0].owner"),
    ],
    ids=ascii,
)
def test_invalid_texts_of_the_environment(name: str, text: str, path: str) -> None:
    found = problems({"containers": [dict(CONTAINER)]}, **{f"INFERNET_EDGE_{name}": text})
    assert list(found) == [path]
    assert "NUL" in found[path]


@pytest.mark.parametrize("variable", ["STATE_DIRECTORY", "XDG_DATA_HOME"])
def test_invalid_folders_of_the_environment(variable: str) -> None:
    found = problems({}, **{variable: f"/tmp/{NOT_UTF8}"})
    assert "text that is not UTF-8" in found["storage.path"]


def test_invalid_text_of_a_credential(tmp_path: Path) -> None:
    (tmp_path / "docker.password").write_text("hunter2\0")
    (tmp_path / os.fsdecode(b"server.tokens.caf\xe9")).write_text("0123456789abcdef")
    found = problems({}, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert list(found) == ["server.tokens.caf\\udce9", "docker.password"]
    assert "hunter2" not in str(found)


def test_invalid_text_in_a_secret_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\0")
    found = problems({"docker": {"password": {"file": str(tmp_path / "secret")}}})
    assert "text with a NUL character at position 8" in found["docker.password"]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", r'{"server": {"host": "a\u0000b"}}'),
        ("config.toml", '[server]\nhost = "a\\u0000b"'),
    ],
)
def test_a_decoded_file(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"server\.host: found text with a NUL character"):
        load(file, {})
