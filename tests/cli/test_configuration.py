"""Code shared by the commands that need a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.cli.main import main
from infernet_edge.config import installed, paths
from tests.support.examining import with_file


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_command_finds_the_storage_of_the_service(
    is_installed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "etc/config.json"
    with_file(tmp_path, "etc/config.json", "{}")
    for name in ("STATE_DIRECTORY", "XDG_RUNTIME_DIR", "CREDENTIALS_DIRECTORY"):
        monkeypatch.setenv(name, "")  # so that they are put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(installed, "SYSTEM_FILES", (file,))
    monkeypatch.setattr(paths, "UNITS", str(tmp_path))
    monkeypatch.setattr(paths, "STATE", str(tmp_path / "state"))
    if is_installed:
        with_file(tmp_path, "infernet-edge.service")
    assert main(["check", "--config", str(file)]) == 0
    expected = tmp_path / ("state" if is_installed else "home/infernet-edge")
    assert f"  storage     {expected}\n" in capsys.readouterr().out
