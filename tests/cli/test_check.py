"""`infernet-edge check`: exit codes and texts."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.cli.main import main
from infernet_edge.config.host_names import resolves


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine's, no environment of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("infernet_edge.config.sources.SYSTEM_FILES", ())
    for name in ("INFERNET_CONFIG_PATH", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def check(document: Any, name: str = "config.json") -> int:
    Path(name).write_text(document if isinstance(document, str) else json.dumps(document))
    return main(["check", "--config", name])


def test_a_right_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    containers = [{"id": "a", "image": "x"}, {"id": "b", "image": "y"}]
    assert check({"containers": containers, "storage": {"path": "/data"}}) == 0
    output, wrong = capsys.readouterr()
    assert wrong == ""
    assert output == (
        "note: containers[1].port: 3000 is taken, using 3999 instead\n"
        "config.json: no errors\n"
        "  API         0.0.0.0 port 4000\n"
        "  containers  a, b\n"
        "  storage     /data\n"
    )


def test_all_errors_are_listed_with_their_paths(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"server": {"port": 70000}, "containers": [{"id": "a"}, {"id": "a", "image": 7}]}
    assert check(document) == 78
    output, wrong = capsys.readouterr()
    assert output == ""
    assert wrong == (
        "config.json: 4 errors\n"
        "  server.port: found 70000, expected a whole number <= 65535\n"
        "  containers[1].image: found 7, expected text\n"
        "  containers[0].image: found nothing, expected an image, or the url of a running service\n"
        '  containers[1].id: found "a", expected a unique id (containers[0] has the same)\n'
        "Fix these, then try again: infernet-edge check --config config.json\n"
    )


@pytest.mark.parametrize(
    ("name", "text"), [("config.json", "{"), ("config.toml", "a ="), ("config.json", "[]")]
)
def test_a_file_that_cannot_be_decoded(
    name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(text, name) == 78
    assert f"{name}: 1 error\n" in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", "absent.json"]) == 78
    assert "absent.json" in capsys.readouterr().err


def test_without_a_file_the_defaults_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    note, summary, *rest = capsys.readouterr().out.splitlines()
    assert note.startswith("note: No configuration file was found")
    assert "infernet-edge init" in note
    assert summary == "No file found, the defaults: no errors"
    assert "  containers  none" in rest


def test_strict_makes_notes_errors(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.json").write_text('{"redis": {"host": "x"}}')
    for arguments, code in ((["--strict"], 78), (["--strict", "--json"], 78), ([], 0)):
        assert main(["check", *arguments]) == code
    capsys.readouterr()
    assert main(["check", "--strict"]) == 78
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("note: redis is ignored")
    assert "--strict" in output[-1]
    Path("config.json").write_text('{"containers": [{"id": "a", "image": "x"}]}')
    for arguments in (["--strict"], ["--strict", "--json"]):
        assert main(["check", *arguments]) == 0


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    containers = [{"id": "a", "image": "x"}, {"id": "b", "image": "y"}]
    document = {"containers": containers, "storage": {"path": "/data"}}
    Path("config.json").write_text(json.dumps(document))
    assert main(["check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "source": "config.json",
        "valid": True,
        "errors": [],
        "notes": ["containers[1].port: 3000 is taken, using 3999 instead"],
        "api": {"host": "0.0.0.0", "port": 4000},
        "containers": ["a", "b"],
        "storage": "/data",
    }


@pytest.mark.parametrize(
    ("text", "paths"),
    [("{", [""]), ('{"server": {"port": 70000}, "jobs": 1}', ["server.port", "jobs"])],
)
def test_errors_as_json(text: str, paths: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.json").write_text(text)
    assert main(["check", "--json"]) == 78
    output, wrong = capsys.readouterr()
    report = json.loads(output)
    assert wrong == ""
    assert report["valid"] is False
    assert [error["path"] for error in report["errors"]] == paths
    assert all(error["found"] and error["expected"] for error in report["errors"])
    assert "api" not in report


def test_the_files_that_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("config.json").write_text("{}")
    assert main(["check"]) == 0
    assert capsys.readouterr().out.startswith("config.json: no errors")
    named = tmp_path / "named.toml"
    named.write_text("")
    monkeypatch.setenv("INFERNET_CONFIG_PATH", str(named))
    assert main(["check"]) == 0
    assert capsys.readouterr().out.startswith(f"{named}: no errors")


def test_secrets_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "docker": {"password": ["hunter2"]},
        "server": {"tokens": {"bob": "hunter2"}},
        "chain": {"enabled": True, "wallet": {"private_key": "hunter2"}, "rpc_url": "x://hunter2"},
    }
    assert check(document) == 78
    output, wrong = capsys.readouterr()
    assert "hunter2" not in output + wrong
    assert "server.tokens.bob" in wrong


def test_nothing_is_started_or_written(tmp_path: Path) -> None:
    assert check({"storage": {"path": str(tmp_path / "data")}, "log": {"path": "x.log"}}) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json"]


@pytest.mark.parametrize("known", [False, True])
def test_a_name_that_only_containers_know(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    def look_up(*arguments: Any, **options: Any) -> list[Any]:
        if known:
            return []
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    chain = {
        "enabled": True,
        "rpc_url": "http://host.docker.internal:8545/api-key",
        "registry_address": "0x" + "11" * 20,
        "wallet": {"private_key": "22" * 32},
    }
    assert check({"chain": chain}) == 0
    output = capsys.readouterr().out
    note = (
        "note: chain.rpc_url: host.docker.internal is a name that only containers know. It is taken"
        " for this machine, 127.0.0.1; write that instead.\n"
    )
    assert (note in output) is not known
    assert "api-key" not in output


def test_hosts_that_only_containers_know(capsys: pytest.CaptureFixture[str]) -> None:
    if resolves("host.docker.internal"):
        pytest.skip("host.docker.internal is a name of this network")
    containers = [
        {"id": "a", "url": "http://host.docker.internal:3000"},
        {"id": "b", "url": "http://127.0.0.1:3000"},
    ]
    assert check({"containers": containers}) == 0
    note = capsys.readouterr().out.splitlines()[0]
    assert note.startswith("note: containers[0].url: host.docker.internal is a name that only")
    assert "127.0.0.1" in note


def test_the_resolved_paths_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, elsewhere = tmp_path / "settings", tmp_path / "elsewhere"
    settings.mkdir()
    elsewhere.mkdir()
    file = settings / "config.json"
    file.write_text('{"log_path": "node.log", "storage": {"path": "data"}}')
    monkeypatch.chdir(elsewhere)
    assert main(["check", "--config", str(file)]) == 0
    output = capsys.readouterr().out
    assert f"  storage     {settings}/data\n" in output
    assert f"  log         {settings}/node.log\n" in output
    assert main(["check", "--config", str(file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["storage"], report["log"]) == (f"{settings}/data", f"{settings}/node.log")


def test_a_certificate_that_would_stop_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.pem").write_text("no certificate")
    document = {"server": {"tls": {"cert": "wrong.pem", "key": "wrong.pem"}}}
    assert check(document) == 78
    assert "server.tls: found cert has no certificate in PEM" in capsys.readouterr().err
    assert main(["check", "--json", "--config", "config.json"]) == 78
    report = json.loads(capsys.readouterr().out)
    assert [each["path"] for each in report["errors"]] == ["server.tls"]
    assert report["valid"] is False
