"""`infernet-edge export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from infernet_edge.cli.main import main

CONFIGURATION = """
[server.tokens]
bob = "0123456789abcdef"
[[containers]]
id = "echo"
image = "localhost/echo:1"
env = { GREETING = "hello", SIZE = 3 }
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "config.toml"
    file.write_text(CONFIGURATION)
    file.chmod(0o600)
    return str(file)


def test_kube_is_printed_as_one_stream(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "kube", "--config", config]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# the Secret infernet-edge-secrets is needed")
    kinds = [each["kind"] for each in yaml.safe_load_all(printed) if each]
    assert kinds == ["ConfigMap", "PersistentVolumeClaim", "Deployment", "Service"]
    assert "hello" not in printed
    assert "0123456789abcdef" not in printed
    assert '#   server.tokens.bob: ""' in printed


def test_variables_are_shown_when_that_is_asked_for(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "kube", "--show-env", "--name", "attic", "--config", config]) == 0
    printed = capsys.readouterr().out
    assert "value: hello" in printed
    assert "name: attic-config" in printed


def test_quadlet_is_printed_with_the_names_of_files(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "quadlet", "--image", "x.example/y:2", "--config", config]) == 0
    printed = capsys.readouterr().out
    assert "# ---- infernet-edge.container\n[Unit]" in printed
    assert "# ---- echo.container\n[Unit]" in printed
    assert "Image=x.example/y:2" in printed


def test_files_are_written_and_not_replaced(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "units"
    command = ["export", "quadlet", "--folder", str(folder), "--config", config]
    assert main(command) == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "echo.container",
        "infernet-edge-state.volume",
        "infernet-edge.container",
        "infernet-edge.json",
        "infernet-edge.network",
    ]
    printed = capsys.readouterr().out
    assert "note: make the secret: podman secret create infernet-edge.server.tokens.bob" in printed
    (folder / "echo.container").write_text("mine")
    assert main(command) == 1
    assert "replace with --force" in capsys.readouterr().err
    assert (folder / "echo.container").read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert (folder / "echo.container").read_text() != "mine"


@pytest.mark.parametrize("form", ["kube", "quadlet"])
def test_the_files_as_json(
    form: str, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", form, "--config", config, "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    folder = tmp_path / "files"
    assert main([*command, "--folder", str(folder)]) == 0
    written = json.loads(capsys.readouterr().out)
    assert printed["notes"] == written["notes"] != []
    texts = {each["name"]: each["text"] for each in printed["files"]}
    assert texts == {each["name"]: Path(each["path"]).read_text() for each in written["files"]}
    assert set(texts) == {path.name for path in folder.iterdir()}
    assert main([*command, "--folder", str(folder)]) == 1
    assert capsys.readouterr().out == ""


def test_wrong_use(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "kube", "--name", "My Node", "--config", config]) == 2
    assert "such as my-node" in capsys.readouterr().err
    (tmp_path / "file").touch()
    inside = str(tmp_path / "file" / "folder")
    assert main(["export", "kube", "--folder", inside, "--config", config]) == 1
    assert "cannot be written" in capsys.readouterr().err
    (tmp_path / "wrong.toml").write_text("[")
    assert main(["export", "kube", "--config", str(tmp_path / "wrong.toml")]) == 78
