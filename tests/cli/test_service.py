"""`infernet-edge service` where it can do nothing: it says why, and what to do."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from infernet_edge.cli.main import main
from infernet_edge.cli.service import StepLog
from infernet_edge.installer import unit


@pytest.fixture
def booted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "is_booted", lambda: True)


@pytest.mark.parametrize("arguments", [("install",), ("install", "--dry-run"), ("unpack", "/x")])
def test_a_python_package_is_not_installed(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["service", *arguments]) == 1
    assert "this is the Python package" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("uninstall",), ("status",), ("logs",), ("upgrade", "/no/such")]
)
def test_without_systemd(
    arguments: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unit, "is_booted", lambda: False)
    assert main(["service", *arguments]) == 1
    assert "does not run systemd" in capsys.readouterr().err


@pytest.mark.usefixtures("booted")
@pytest.mark.parametrize("arguments", [("uninstall", "--purge"), ("upgrade", "/no/such")])
def test_without_root(
    arguments: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["service", *arguments]) == 1
    assert f"sudo infernet-edge service {arguments[0]}" in capsys.readouterr().err


def test_what_a_dry_run_would_do_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit, "is_booted", lambda: False)
    assert main(["service", "uninstall", "--dry-run", "--json"]) == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["dry_run"] is True
    assert answer["changed"] == bool(answer["steps"])
    assert answer["kept"] == ["/etc/infernet-edge", "/var/lib/infernet-edge"]
    assert "The real run would fail" in printed.err
    assert main(["service", "uninstall", "--json"]) == 1
    assert capsys.readouterr().out == ""


def test_the_steps_are_listed_without_what_they_write(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = StepLog()
    for line in ("Write /a (mode 0644)", "    [Unit]", "Run systemctl daemon-reload"):
        log(line)
    assert log.answer(Namespace(dry_run=False)) == {
        "dry_run": False,
        "changed": True,
        "steps": ["Write /a (mode 0644)", "Run systemctl daemon-reload"],
    }
    assert "    [Unit]" in capsys.readouterr().out


def test_a_sum_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "upgrade", "x", "--sha256", "abc"]) == 1
    assert "64 hexadecimal digits" in capsys.readouterr().err


def test_a_machine_that_systemd_runs(tmp_path: Path) -> None:
    assert not unit.is_booted(tmp_path)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert unit.is_booted(tmp_path)


def test_every_action_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["service", "--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    for word in ("install", "uninstall", "status", "logs", "upgrade", "/etc/infernet-edge"):
        assert word in output
