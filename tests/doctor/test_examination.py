"""All checks together, and the command."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from infernet_edge.cli.main import main
from infernet_edge.doctor import examination
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.examination import CHECKS, examine
from infernet_edge.doctor.finding import Finding
from tests.support.running import configuration, running


async def test_a_node_that_runs_well(tmp_path: Path) -> None:
    source = tmp_path / "config.json"
    source.write_text("{}")
    async with running(tmp_path) as node:
        found = await examine(Case(node.node.config, source))
    assert list(found) == [check.NAME for check in CHECKS]
    del found["clock"]  # a test's machine may have one that is set by hand
    assert {finding.level for finding in found.values()} == {"ok"}


async def test_a_check_that_hangs_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(case: Case) -> Finding:
        await case.blocking(time.sleep, 5)
        raise AssertionError("unreachable")

    monkeypatch.setattr(examination, "CHECK_TIMEOUT", 0.5)
    monkeypatch.setattr("infernet_edge.doctor.memory.check", hang)
    async with asyncio.timeout(4):
        found = await examine(Case(configuration(tmp_path)))
    assert found["memory"] == Finding("problem", "no answer within 0.5 s")
    assert found["storage"].level == "ok"


async def test_a_check_that_fails_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(case: Case) -> Finding:
        raise LookupError("a secret")

    monkeypatch.setattr("infernet_edge.doctor.memory.check", fail)
    found = await examine(Case(configuration(tmp_path)))
    assert found["memory"].level == "problem"
    assert "LookupError in line" in found["memory"].text
    assert "test_examination.py" in found["memory"].text
    assert "a secret" not in str(found)
    assert found["storage"].level == "ok"


async def test_urls_are_shown_without_credentials(tmp_path: Path) -> None:
    document = {
        "manage_containers": True,
        "containers": [{"id": "a", "image": "localhost/a"}],
        "podman": {"url": "tcp://me:s3cr3t@127.0.0.1:1"},
    }
    found = await examine(Case(configuration(tmp_path, document)))
    assert "tcp://***@127.0.0.1:1" in found["podman"].text
    assert "s3cr3t" not in str(found)


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    document = {
        "server": {"port": 0},
        "storage": {"path": str(tmp_path / "data"), "min_free_bytes": 0},
        "redis": {"host": "redis"},
    }
    file.write_text(json.dumps(document))
    assert main(["doctor", "--config", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [check.NAME for check in CHECKS]
    assert found["storage"] == {
        "level": "ok",
        "text": f"{tmp_path}/data can be written",
        "remedy": "",
    }
    assert found["configuration"]["level"] == "warning"
    file.write_text(json.dumps({"storage": {"path": str(tmp_path), "min_free_bytes": 2**60}}))
    assert main(["doctor", "--config", str(file)]) == 1
    told, wrong = capsys.readouterr()
    assert "problem  space          " in told
    assert "to mend it:" in told
    assert told.splitlines()[-1].startswith("1 problem, ")
    assert wrong == ""
    file.write_text(json.dumps({"server": {"port": 70000}}))
    assert main(["doctor", "--config", str(file)]) == 78
    assert "server.port" in capsys.readouterr().err


def test_its_help_names_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    told = capsys.readouterr().out
    names = [
        line.split()[0]
        for line in told.splitlines()
        if line.startswith("  ") and line[2:3].isalpha()
    ]
    assert names == [check.NAME for check in CHECKS]
