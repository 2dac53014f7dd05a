"""Relative paths: of a file, of the service, of the environment; and what earlier versions made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from infernet_edge.config import Config, load
from infernet_edge.config.model import DATABASE
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.values import relative_paths
from infernet_edge.config.values.relative_paths import NO_FOLDERS, Folders


class Place(NamedTuple):
    """A configuration file, and the working directory, which is another folder."""

    file: Path
    working: Path

    @property
    def folder(self) -> Path:
        return self.file.parent

    def load(self, document: Any, **environment: str) -> tuple[Config, list[str]]:
        self.file.write_text(json.dumps(document))
        self.file.chmod(0o600)
        config, warnings, _ = load(self.file, environment)
        return config, warnings


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "settings").mkdir()
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")
    return Place(tmp_path / "settings/config.json", tmp_path / "working")


def write(file: Path, text: str = "x") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_paths_of_a_file_are_relative_to_it(place: Place) -> None:
    for name in ("cert.pem", "key.pem", "keystore.json", "models/a", "../token"):
        write(place.folder / name, "a-long-secret-token")
    config, warnings = place.load(
        {
            "log_path": "logs/node.log",
            "storage": {"path": "data"},
            "server": {
                "tls": {"cert": "cert.pem", "key": "./key.pem"},
                "tokens": {"phone": {"file": "../token"}},
            },
            "chain": {"wallet": {"keystore": "keystore.json"}},
            "containers": [
                {"id": "a", "image": "x", "volumes": ["./models:/m:ro", "named:/n", "/abs:/a"]}
            ],
        }
    )
    assert warnings == []
    assert config.log.path == f"{place.folder}/logs/node.log"
    assert config.storage_path == place.folder / "data"
    assert config.server.tls is not None
    assert config.server.tls.cert == f"{place.folder}/cert.pem"
    assert config.server.tls.key == f"{place.folder}/key.pem"
    assert config.server.tokens["phone"] == Secret("a-long-secret-token")
    assert config.chain.wallet.keystore == f"{place.folder}/keystore.json"
    volumes = config.containers[0].volumes
    assert volumes == [f"{place.folder}/models:/m:ro", "named:/n", "/abs:/a"]


def test_the_name_of_the_file_does_not_matter(place: Place) -> None:
    """A node is known by the path of its storage."""
    place.load({"storage": {"path": "data"}})
    link = place.working / "link"
    link.symlink_to(place.folder)
    for name in ("../settings/config.json", str(link / "config.json"), str(place.file)):
        assert load(Path(name), {}).config.storage_path == place.folder / "data"


def test_absolute_paths_and_homes_stay(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config, _ = place.load({"log": {"path": "~/x.log"}, "storage": {"path": "/data"}})
    assert config.log.path == "/home/me/x.log"
    assert config.storage_path == Path("/data")


def test_paths_of_the_environment_are_relative_to_the_working_directory(place: Place) -> None:
    write(place.working / "token", "a-long-secret-token")
    container = {"id": "a", "image": "x", "volumes": ["./models:/m"]}
    config, warnings = place.load(
        {"log": {"path": "x"}, "storage": {"path": "y"}},
        INFERNET_EDGE_STORAGE__PATH="data",
        INFERNET_EDGE_LOG='{"path": "node.log"}',
        INFERNET_EDGE_SERVER__TOKENS__phone='{"file": "token"}',
        INFERNET_EDGE_CONTAINERS=json.dumps([container]),
        STATE_DIRECTORY="/var/lib/x",
    )
    assert warnings == []
    assert config.storage_path == place.working / "data"
    assert config.log.path == f"{place.working}/node.log"
    assert config.server.tokens["phone"] == Secret("a-long-secret-token")
    assert config.containers[0].volumes == ["./models:/m"]  # absolute when it is mounted


@pytest.mark.parametrize("path", ["data", "./data", "../data", "a/../../../data"])
def test_the_service_writes_below_its_state_folder(place: Place, path: str) -> None:
    write(place.folder / "cert.pem")
    config, warnings = place.load(
        {
            "storage": {"path": path},
            "log_path": "../node.log",
            "server": {"tls": {"cert": "cert.pem", "key": "cert.pem"}},
        },
        STATE_DIRECTORY="/var/lib/x:/var/lib/y",
    )
    assert warnings == []
    assert config.storage_path == Path("/var/lib/x/data")
    assert config.log.path == "/var/lib/x/node.log"
    assert config.server.tls is not None
    assert config.server.tls.cert == f"{place.folder}/cert.pem"  # which it only reads


def test_a_database_where_earlier_versions_made_it_is_used(place: Place) -> None:
    old, new = place.working / "data", place.folder / "data"
    write(old / DATABASE)
    config, [note] = place.load({"storage": {"path": "data"}})
    assert config.storage_path == old
    assert note.startswith(f"storage.path: the database in {old} is used.")
    assert str(new) in note
    assert f'path = "{old}"' in note
    # When both are there, the other one is named.
    write(new / DATABASE)
    config, [note] = place.load({"storage": {"path": "data"}})
    assert config.storage_path == new
    assert f"There is another database in {old}" in note
    # The same place by another name is not another one.
    (old / DATABASE).unlink()
    old.rmdir()
    old.symlink_to(new)
    assert place.load({"storage": {"path": "data"}})[1] == []


def test_a_database_beside_the_file_of_the_service_is_named(place: Place, tmp_path: Path) -> None:
    state = tmp_path / "state"
    write(place.folder / "data" / DATABASE)
    config, [note] = place.load({"storage": {"path": "data"}}, STATE_DIRECTORY=str(state))
    assert config.storage_path == state / "data"
    assert f"There is another database in {place.folder}/data" in note


def test_the_working_directory_of_the_installed_service_is_the_root(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for commands that are run elsewhere: they use the database of the service."""
    monkeypatch.setattr(relative_paths, "SYSTEM_FILES", (place.file,))
    folders = Folders.of(place.file, {"STATE_DIRECTORY": "/var/lib/x"})
    assert folders == Folders(place.folder, Path("/var/lib/x"), Path("/"))
    assert Folders.of(place.file, {}) == Folders(place.folder, None, place.working)


def test_files_that_are_only_where_earlier_versions_read_them(place: Place) -> None:
    write(place.working / "keystore.json")
    (place.working / "models").mkdir()
    write(place.working / "token", "a-long-secret-token")
    document = {
        "chain": {"wallet": {"keystore": "keystore.json"}},
        "containers": [{"id": "a", "image": "x", "volumes": ["./models:/m"]}],
        "server": {"tokens": {"phone": {"file": "token"}}},
    }
    config, warnings = place.load(document)
    assert config.chain.wallet.keystore == f"{place.working}/keystore.json"
    assert config.containers[0].volumes == [f"{place.working}/models:/m"]
    assert config.server.tokens["phone"] == Secret("a-long-secret-token")
    assert len(warnings) == 3
    assert all(str(place.working) in each and "absolute path" in each for each in warnings)
    assert {each.partition(":")[0] for each in warnings} == {
        "server.tokens.phone",
        "containers[0].volumes[0]",
        "chain.wallet.keystore",
    }


def test_a_log_beside_a_file_in_a_folder_that_cannot_be_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in /etc: the node wrote it into its working directory, and still starts."""
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, how: path != place.folder and real(path, how))
    config, [note] = place.load({"log_path": "node.log"})
    assert config.log.path == f"{place.working}/node.log"
    assert f"cannot write to {place.folder}" in note


def test_without_a_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    file = write(tmp_path / "config.json", '{"storage": {"path": "data"}}')
    assert load(file, {}).config.storage_path == tmp_path / "data"


def test_a_document_of_no_file_keeps_its_paths() -> None:
    assert NO_FOLDERS.resolve("data", "storage") == ("data", "")
    folders = Folders(Path("/a"), None, Path("/b"))
    assert folders.resolve("x" * 300, "storage") == (f"/a/{'x' * 300}", "")
    assert folders.resolve("..:/m", "volume") == ("/a/..:/m", "")
