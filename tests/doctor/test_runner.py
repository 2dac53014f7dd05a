"""All checks together, and the command."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.cli.main import main
from infernet_edge.doctor import runner
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding
from infernet_edge.doctor.runner import CHECKS, examine
from infernet_edge.doctor.user import this_user
from tests.support.evm import NODE, V1
from tests.support.process import ROOT
from tests.support.running import configuration, running


async def test_a_node_that_runs_well(tmp_path: Path) -> None:
    source = tmp_path / "config.json"
    source.write_text("{}")
    async with running(tmp_path) as node:
        found = await examine(Case(node.node.config, source))
    assert list(found) == [check.NAME for check in CHECKS]
    del found["clock"]  # a test's machine may have one that is set by hand
    del found["leftovers"], found["unpacked"]  # other tests beside this one kill nodes
    assert {each.level for findings in found.values() for each in findings} == {"ok"}


def test_the_chain_is_checked_in_a_new_process(tmp_path: Path, v1: V1) -> None:
    """Where nothing is imported yet, and several checks need the same modules at once."""
    settings = {
        "enabled": True,
        "rpc_url": v1.anvil.url,
        "registry_address": v1.registry.address,
        "wallet": {"private_key": NODE.key.hex()},
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"storage": {"path": str(tmp_path / "data")}, "chain": settings}))
    command = [sys.executable, "-m", "infernet_edge", "doctor", "--json", "--config", str(file)]
    ended = subprocess.run(
        command, capture_output=True, check=False, timeout=60, cwd=ROOT, env=os.environ
    )
    found = json.loads(ended.stdout)
    levels = {name: found[name]["level"] for name in ("rpc", "contracts", "wallet")}
    assert levels == {"rpc": "ok", "contracts": "ok", "wallet": "ok"}


async def test_a_check_that_hangs_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(case: Case) -> Finding:
        await case.blocking(time.sleep, 12)
        raise AssertionError("unreachable")

    monkeypatch.setattr(runner, "CHECK_TIMEOUT", 0.5)
    monkeypatch.setattr("infernet_edge.doctor.memory.check", hang)
    async with asyncio.timeout(10):
        found = await examine(Case(configuration(tmp_path)))
    assert found["memory"] == [Finding("problem", "not checked: no answer within 0.5 s")]
    assert found["storage"][0].level == "ok"


async def test_a_check_that_fails_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(case: Case) -> Finding:
        raise LookupError("a secret")

    monkeypatch.setattr("infernet_edge.doctor.memory.check", fail)
    found = await examine(Case(configuration(tmp_path)))
    [failed] = found["memory"]
    assert failed.level == "problem"
    assert "LookupError in line" in failed.text
    assert "test_runner.py" in failed.text
    assert "a secret" not in str(found)
    assert found["storage"][0].level == "ok"


async def test_urls_are_shown_without_credentials(tmp_path: Path) -> None:
    document = {
        "manage_containers": True,
        "containers": [{"id": "a", "image": "localhost/a"}],
        "podman": {"url": "tcp://me:s3cr3t@127.0.0.1:1"},
    }
    found = await examine(Case(configuration(tmp_path, document)))
    assert "tcp://***@127.0.0.1:1" in found["podman"][0].text
    assert "s3cr3t" not in str(found)


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    document = {
        "server": {"port": 0},
        "storage": {"path": str(tmp_path / "data"), "min_free_bytes": 0},
        "redis": {"host": "redis"},
        "redsi": {},
    }
    file.write_text(json.dumps(document))
    assert main(["doctor", "--config", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [check.NAME for check in CHECKS]
    one = {
        "level": "ok",
        "text": f"{tmp_path}/data can be written by {this_user().name}",
        "remedy": "",
        "command": "",
    }
    assert found["storage"] == {**one, "findings": [one]}
    assert found["configuration"]["level"] == "warning"
    assert found["configuration"]["text"].startswith("unknown key 'redsi'")
    assert len(found["configuration"]["findings"]) == 1  # redis needs no correction
    file.write_text(json.dumps({"storage": {"path": str(tmp_path), "min_free_bytes": 2**60}}))
    assert main(["doctor", "--config", str(file)]) == 1
    told, wrong = capsys.readouterr()
    assert "problem  space          " in told
    assert "to fix it:" in told
    assert told.splitlines()[-1].startswith("1 problem, ")
    assert wrong == ""
    file.write_text(json.dumps({"server": {"port": 70000}}))
    assert main(["doctor", "--config", str(file)]) == 78
    assert "server.port" in capsys.readouterr().out


BROKEN: list[tuple[dict[str, Any], str, set[str]]] = [
    ({"server": {"port": 70000}}, "server.port", {"ports"}),
    (
        {"storage": {"path": 5}},
        "storage.path",
        {"storage", "space", "database", "node", "leftovers", "tokens"},
    ),
    ({"chain": {"enabled": "perhaps"}}, "chain.enabled", {"rpc", "contracts", "wallet"}),
    ({"containers": "none"}, "containers", {"containers", "images", "volumes", "gpu", "devices"}),
    ({"log": {"path": 3}}, "log.path", set()),
]


@pytest.mark.parametrize(("document", "place", "lost"), BROKEN, ids=[each[1] for each in BROKEN])
def test_mistakes_leave_the_other_checks(
    document: dict[str, Any],
    place: str,
    lost: set[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "config.json"
    usual = {"server": {"port": 0}, "storage": {"path": str(tmp_path / "data")}}
    file.write_text(json.dumps(usual | document))
    assert main(["doctor", "--config", str(file), "--json"]) == 78
    found = json.loads(capsys.readouterr().out)
    assert found["configuration"]["level"] == "problem"
    assert place in found["configuration"]["text"]
    reason = f"not checked: the configuration has an error at {place}"
    assert {name for name, each in found.items() if each["text"] == reason} == lost
    assert not lost or all(found[name]["level"] == "unknown" for name in lost)


def test_a_container_with_mistakes_leaves_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    containers = [
        {"id": "right", "image": "localhost/a", "volumes": [f"{tmp_path}/right:/v"]},
        {"id": "wrong", "image": 5, "volumes": [f"{tmp_path}/wrong:/v"]},
        {"id": "volumes", "image": "localhost/b", "volumes": 5},
    ]
    file = tmp_path / "config.json"
    podman = {"url": f"unix://{tmp_path}/none.sock"}
    data = {"path": str(tmp_path / "data")}
    file.write_text(json.dumps({"containers": containers, "podman": podman, "storage": data}))
    assert main(["doctor", "--config", str(file), "--json"]) == 78
    found = json.loads(capsys.readouterr().out)
    places = [each["text"].partition(":")[0] for each in found["configuration"]["findings"]]
    assert {"containers[1].image", "containers[2].volumes"} <= set(places)
    assert [each["text"] for each in found["images"]["findings"]] == [
        f"not checked: localhost/{name}: Podman does not answer" for name in ("a", "b")
    ]
    assert len(found["containers"]["findings"]) == 3


def test_a_file_that_is_no_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text("{")
    assert main(["doctor", "--config", str(file), "--json"]) == 78
    found = json.loads(capsys.readouterr().out)
    assert "is not JSON" in found["configuration"]["text"]
    for name in ("images", "volumes", "containers", "rpc", "contracts", "secrets"):
        assert found[name]["text"] == "not checked: the configuration cannot be read"
    for name in ("memory", "storage", "space", "service"):
        assert found[name]["level"] != "unknown"


def test_on_a_terminal_texts_are_wrapped_and_commands_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / ("a long name " * 10) / "key"
    key.parent.mkdir()
    key.write_text("0123456789abcdefghij")
    key.chmod(0o644)
    file = tmp_path / "config.json"
    tokens = {"phone": {"file": str(key)}}
    data = {"path": str(tmp_path / "data"), "min_free_bytes": 2**60}
    file.write_text(json.dumps({"server": {"port": 0, "tokens": tokens}, "storage": data}))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["doctor", "--config", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    command = f"    chmod go= '{key}'"
    assert command in lines
    words = [line for line in lines if line != command and not _has_a_long_word(line)]
    assert max(map(len, words)) <= 80
    assert sum(line.startswith("problem  space ") for line in lines) == 1


def _has_a_long_word(line: str) -> bool:
    return any(len(word) > 80 - 24 for word in line.split())


def test_its_help_names_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    told = capsys.readouterr().out.partition("Examples:")[0]
    names = [
        line.split()[0]
        for line in told.splitlines()
        if line.startswith("  ") and line[2:3].isalpha()
    ]
    assert names == [check.NAME for check in CHECKS]
