from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.model import Config, Container
from infernet_edge.config.recipes.files import backup_of, change, move_secrets, written
from infernet_edge.config.recipes.recipe import Keys


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_secrets_go_to_files_that_only_the_owner_can_read(tmp_path: Path) -> None:
    config: dict[str, Any] = {"id": "a/b", "env": {"TOKEN": "top", "N": "1"}, "command": "--k=top"}
    secrets = [("env", "TOKEN"), ("command",)]
    files, remaining = move_secrets(config, secrets, Container, tmp_path / "config.toml", {})
    path = tmp_path / "secrets" / "containers.a%2Fb.env.TOKEN"
    assert [(each.path, each.text) for each in files] == [(path, "top")]
    assert config["env"] == {"TOKEN": {"file": str(path)}, "N": "1"}
    assert remaining == [("command",)]
    with written(files):
        assert path.read_text() == "top\n"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_a_secret_of_another_configuration_is_never_replaced(tmp_path: Path) -> None:
    keys = ("chain", "wallet", "private_key")

    def moved(key: str) -> str:
        config: dict[str, Any] = {"chain": {"wallet": {"private_key": key}}}
        files, _ = move_secrets(config, [keys], Config, tmp_path / "config.toml", {})
        with written(files):
            return Path(config["chain"]["wallet"]["private_key"]["file"]).name

    assert [moved("one"), moved("two"), moved("one")] == [
        *("chain.wallet.private_key", "chain.wallet.private_key.2", "chain.wallet.private_key")
    ]
    assert (tmp_path / "secrets/chain.wallet.private_key").read_text() == "one\n"


def test_a_secret_that_was_given_as_a_file_stays_there(tmp_path: Path) -> None:
    config: dict[str, Any] = {"id": "a", "env": {"TOKEN": "top"}}
    given: dict[Keys, Path] = {("env", "TOKEN"): tmp_path / "mine"}
    files, _ = move_secrets(config, [("env", "TOKEN")], Container, tmp_path / "c.toml", given)
    assert files == []
    assert config["env"]["TOKEN"] == {"file": str(tmp_path / "mine")}


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    config: dict[str, Any] = {"id": "a", "env": {"TOKEN": "top"}}
    files, _ = move_secrets(config, [("env", "TOKEN")], Container, tmp_path / "c.toml", {})
    with pytest.raises(OSError, match="full"), written(files):
        raise OSError("full")
    assert list((tmp_path / "secrets").iterdir()) == []


def test_a_configuration_keeps_its_permissions_and_its_previous_content(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"old = 1\r\n")
    file.chmod(0o640)
    change(file, "new = 1\n")
    assert (file.read_text(), mode(file)) == ("new = 1\n", 0o640)
    assert (backup_of(file).read_bytes(), mode(backup_of(file))) == (b"old = 1\r\n", 0o640)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["config.toml", "config.toml.bak"]
