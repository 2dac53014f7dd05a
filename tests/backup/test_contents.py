"""What is read for a backup, and where secrets are kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.backup import contents
from infernet_edge.backup.archive import MAX_SMALL, Tables
from infernet_edge.backup.contents import CannotBackUp, gather, node_id
from infernet_edge.config.loading import load


def gathered(folder: Path, document: dict[str, Any], *, secrets: bool = False) -> Any:
    source = folder / "config.json"
    source.write_text(json.dumps({"storage": {"path": str(folder / "data")}, **document}))
    source.chmod(0o600)
    environment = {"CREDENTIALS_DIRECTORY": str(folder / "credentials")}
    config = load(source, environment).config
    return gather(config, source, environment, with_secrets=secrets)


def test_credentials_are_named_where_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The running service has copies of them elsewhere."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "server.tokens.phone").write_text("a-token-of-many-characters")
    found = gathered(tmp_path, {})
    assert found.manifest.left_out == [str(folder / "server.tokens.phone")]
    monkeypatch.setattr(contents, "LOADED_CREDENTIALS", str(folder).lstrip("/"))
    found = gathered(tmp_path, {}, secrets=True)
    assert found.manifest.secret_files == {
        "secrets/0": "/etc/infernet-edge/credentials/server.tokens.phone"
    }
    assert found.files["secrets/0"] == b"a-token-of-many-characters"


def test_tokens_that_were_made_are_in_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert "tokens.json" not in gathered(tmp_path, {}).files
    (tmp_path / "data/tokens.json").write_text("{}")
    assert gathered(tmp_path, {}).files["tokens.json"] == b"{}"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    tokens = tmp_path / "data/tokens.json"
    os.mkfifo(tokens)
    with pytest.raises(CannotBackUp, match="is no file"):
        gathered(tmp_path, {})
    tokens.unlink()
    with tokens.open("wb") as file:
        file.truncate(MAX_SMALL + 1)
    with pytest.raises(CannotBackUp, match="is larger than"):
        gathered(tmp_path, {})
    tokens.unlink()
    tokens.symlink_to(tmp_path)
    with pytest.raises(CannotBackUp, match=r"tokens\.json"):
        gathered(tmp_path, {})


def test_nodes_have_different_ids(tmp_path: Path) -> None:
    assert node_id(tmp_path / "a") != node_id(tmp_path / "b")
    assert len(node_id(tmp_path)) == 8


def test_the_tables_are_added_to_the_manifest(tmp_path: Path) -> None:
    found = gathered(tmp_path, {})
    tables = {"jobs": Tables(3, 1)}
    assert found.with_tables(tables).tables == tables
    assert found.with_tables(tables).configuration == str(tmp_path / "config.json")
