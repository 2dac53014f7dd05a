"""Recipes of nodes, by `infernet-edge init --recipe`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from infernet_edge.cli.main import main
from infernet_edge.config import load
from infernet_edge.config.secret_files import Secret
from tests.support.process import ROOT
from tests.support.terminal import on_a_terminal

RECIPES = ROOT / "tests/fixtures/recipes"
KEY = "0x" + 32 * "1a"
ADDRESS = "0x" + 20 * "2b"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    for name in list(os.environ):
        if name.startswith("INFERNET_"):
            monkeypatch.delenv(name)
    return tmp_path


def init(recipe: str, *arguments: str) -> int:
    return main(["init", "--yes", "--recipe", str(RECIPES / f"{recipe}.json"), *arguments])


@pytest.mark.parametrize("name", ["base", "base-sepolia", "anvil", "eth"])
@pytest.mark.parametrize("form", ["toml", "json"])
def test_the_node_of_each_chain(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    monkeypatch.setenv("INFERNET_INPUT_PRIVATE_KEY", KEY)
    given = ["--set", f"payment_address={ADDRESS}", "--host", "127.0.0.1"]
    assert init(f"node-{name}", "--format", form, *given) == 0
    config = load(None, {}).config
    assert config.chain.enabled
    assert config.chain.wallet.private_key == Secret(KEY)
    assert config.chain.wallet.payment_address == ADDRESS
    assert config.server.host == "127.0.0.1"
    file = folder / "secrets/chain.wallet.private_key"
    assert file.read_text() == f"{KEY}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert KEY not in (folder / f"config.{form}").read_text()


def test_a_key_that_the_recipe_leaves_empty(capsys: pytest.CaptureFixture[str]) -> None:
    Path("key").write_text(KEY)
    Path("key").chmod(0o600)
    given = ["--set-file", "private_key=key"]
    assert init("node-other", *given) == 2
    wrong = capsys.readouterr().err
    assert "chain.rpc_url: found nothing" in wrong
    assert "(give it with --set chain.rpc_url=VALUE)" in wrong
    given += [
        "--set",
        "chain.rpc_url=http://10.0.0.1",
        "--set",
        "chain.registry_address=" + ADDRESS,
    ]
    assert init("node-other", *given) == 0
    config = load(None, {}).config
    assert config.chain.rpc_url == "http://10.0.0.1"
    assert config.chain.wallet.private_key == Secret(KEY)
    assert config.chain.wallet.private_key.file == Path("key").absolute()
    assert not Path("secrets").exists()


def test_the_key_is_checked_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setenv("INFERNET_INPUT_PRIVATE_KEY", "not-a-key")
    assert init("node-base") == 2
    wrong = capsys.readouterr().err
    assert "private_key: found text in another format, expected 64 hex digits" in wrong
    assert "not-a-key" not in wrong
    assert list(folder.iterdir()) == []


def test_without_a_chain_and_with_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert init("node-off-chain", "--image", "one:1") == 0
    assert [each.id for each in load(None, {}).config.containers] == ["one"]
    assert init("hello-world", "--output", "other.toml") == 0
    (container,) = load(Path("other.toml"), {}).config.containers
    assert (container.id, container.port) == ("hello-world", 3000)
    assert "infernet-edge check --config other.toml" in capsys.readouterr().out


def test_flags_for_inputs_need_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--yes", "--set", "a=b"]) == 2
    assert "need --recipe" in capsys.readouterr().err


def test_questions_on_a_terminal(folder: Path) -> None:
    """Also for what the form of the recipe leaves empty, and a configuration needs."""
    answers = ["short\n", f"{KEY}\n", "0x1\n", "\n", "ftp://x\n", "http://10.0.0.1\n"]
    answers += [f"{ADDRESS}\n", "n\n", "n\n"]
    recipe = str(RECIPES / "node-other.json")
    code, screen = on_a_terminal(answers, "init", "--recipe", recipe)
    assert code == 0, screen
    assert screen.count("private_key (not shown) [required]: ") == 2
    assert screen.count("payment_address [none]: ") == 2
    assert screen.count("chain.rpc_url [required]: ") == 2
    assert KEY not in screen
    config = load(None, {}).config
    assert config.chain.wallet.private_key == Secret(KEY)
    assert config.chain.registry_address == ADDRESS
    assert config.server.host == "127.0.0.1"


def test_a_secret_key_is_not_advised_for_the_command_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [{"id": "word", "type": "password", "default": "short"}]
    recipe = {"config": {"server": {"tokens": {"phone": "${word}"}}}, "inputs": inputs}
    (folder / "node.json").write_text(json.dumps(recipe))
    assert main(["init", "--recipe", "node.json"]) == 2
    shown = capsys.readouterr().err
    assert "give it with --set-file server.tokens.phone=PATH" in shown
    assert "--set server" not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://rpc.example/v3/top-secret", "https://rpc.example/… (from"),
        ("https://user:top-secret@rpc.example", "https://rpc.example (from"),
        ("HTTPS://rpc.example:8545/?key=top-secret", "HTTPS://rpc.example:8545/… (from"),
        ("http://127.0.0.1:8545/", "http://127.0.0.1:8545 (from"),
    ],
)
def test_keys_in_urls_are_not_shown(
    url: str,
    shown: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The URL of a server of a chain usually holds the key of an account there."""
    inputs = [{"id": "rpc", "path": "chain.rpc_url"}]
    (folder / "node.json").write_text(json.dumps({"config": {}, "inputs": inputs}))
    monkeypatch.setenv("INFERNET_INPUT_RPC", url)
    assert main(["init", "--recipe", "node.json"]) == 0
    output = capsys.readouterr().out
    assert f"rpc: {shown}" in output
    assert "top-secret" not in output
    assert load(Path("config.toml"), {}).config.chain.rpc_url == url
