"""Units of quadlet, as Podman's own generator reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infernet_edge.export.quadlet import units
from tests.export.exported import SECRETS, plan, rich
from tests.support.quadlet import generated


def written(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_the_generator_accepts_all_units(tmp_path: Path) -> None:
    files, _ = units(plan(rich(tmp_path), show_environment=True))
    services = generated(written(tmp_path / "units", files))
    (command,) = (
        line for line in services.splitlines() if "ExecStart" in line and "--name echo-1 " in line
    )
    for part in (
        *("--pull newer", "--init", "--network infernet-edge ", "-v models:/models:ro"),
        *("--memory=536870912b", "--cpus=0.5", "--pids-limit=512", "--env A=env-secret"),
        *("--device nvidia.com/gpu=0", "--device nvidia.com/gpu=1", f"-v {tmp_path}:/here"),
    ):
        assert part in command
    assert command.endswith('localhost/echo:1 --port 3000 "a b" 100%% $HOME')
    (node,) = (line for line in services.splitlines() if "--name infernet-edge " in line)
    for part in (
        *("--read-only", "--tmpfs /tmp", "--cap-drop all", "--publish 4100:4100"),
        "--secret infernet-edge.server.tokens.bob,type=mount,"
        "target=/run/secrets/infernet-edge/server.tokens.bob,mode=0400",
        "x.example/infernet-edge:1 infernet-edge run",
    ):
        assert part in node
    assert "Wants=echo-1.service echo-1-2.service third.service" in services


def test_a_wrong_unit_is_found(tmp_path: Path) -> None:
    """The generator does refuse something."""
    files, _ = units(plan({}))
    files["infernet-edge.container"] = files["infernet-edge.container"].replace("Image=", "Imag=")
    with pytest.raises(AssertionError, match="Imag"):
        generated(written(tmp_path / "units", files))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a b", "'A=a b'"),
        ("100%", "A=100%%"),
        ('"quoted"', "quoted"),
        ("back\\slash", "back"),
        ("two\nlines", "two"),
        ("$HOME", "$HOME"),
        ("", "A="),
        ("'", "'"),
    ],
)
def test_any_value_of_a_variable_is_one_value(tmp_path: Path, value: str, expected: str) -> None:
    document = {
        "containers": [{"id": "a", "image": "x.example/y:1", "env": {"A": value, "B": "last"}}]
    }
    files, _ = units(plan(document, show_environment=True))
    services = generated(written(tmp_path / "units", files))
    (command,) = (line for line in services.splitlines() if "--name a " in line)
    assert command.count("--env") == 2
    assert expected.strip("'") in command
    assert command.endswith("x.example/y:1")


def test_the_api_is_published_where_it_was() -> None:
    for host, expected in (
        *(("0.0.0.0", "4000:4000"), ("::", "4000:4000"), ("127.0.0.1", "127.0.0.1:4000:4000")),
        *(("::1", "[::1]:4000:4000"), ("192.168.1.5", "192.168.1.5:4000:4000")),
    ):
        files, _ = units(plan({"server": {"host": host}}))
        assert f"PublishPort={expected}\n" in files["infernet-edge.container"]


def test_services_are_reached_by_name(tmp_path: Path) -> None:
    files, notes = units(plan(rich(tmp_path)))
    node = json.loads(files["infernet-edge.json"])
    assert [each["url"] for each in node["containers"]] == [
        *("http://echo-1:3000", "http://echo-1-2:3000", "http://third:8000", "http://127.0.0.1:9")
    ]
    assert any("podman secret create infernet-edge.server.tokens.bob" in note for note in notes)
    text = str(files) + str(notes)
    assert [secret for secret in SECRETS if secret in text] == []
