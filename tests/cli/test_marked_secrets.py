"""No command shows a secret of the configuration, whatever it says otherwise."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from infernet_edge.cli.main import COMMANDS, main
from infernet_edge.config.recipes.files import backup_of
from tests.support.node import NODE_MODULES
from tests.support.ports import free_port
from tests.support.process import ROOT
from tests.support.template import run_forked

MARK = "5ec2e75ec2e7"  # is in every secret
KEY = MARK * 5 + "abcd"
RUNS = [
    ["check"],
    ["doctor"],
    ["doctor", "--json"],
    ["status"],
    ["status", "--json"],
    ["jobs"],
    ["jobs", "--onchain"],
    ["wallet", "show"],
    ["wallet", "register"],
    ["wallet", "activate"],
    ["wallet", "pay", "create"],
    ["wallet", "pay", "show"],
    ["service", "install", "--dry-run"],
    ["run"],
    ["run", "--verbose"],
    ["add-service", str(ROOT / "tests/fixtures/recipes/hello-world.json")],
    ["remove-service", "near"],
    ["submit", "near", "{}"],
    ["stream", "near", "{}"],
    ["wait", "00000000-0000-4000-8000-000000000000"],
    ["cancel", "00000000-0000-4000-8000-000000000000"],
    ["containers"],
    ["logs", "near"],
    ["events"],
    ["token", "list"],
    ["token", "new", "tablet", "--scope", "read"],
    ["reload"],
    ["backup", "backup.tar"],
    ["restore", "none.tar"],
    ["export", "kube"],
    ["export", "quadlet"],
]
WITHOUT = {
    "demo",
    "init",
    "help",
    "version",
    "completion",
    "discover",
}  # they read no configuration


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A node that can do nothing of what it should: each command says why."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    document = {
        "server": {"host": "192.0.2.1", "port": free_port(), "tokens": {"phone": f"token-{MARK}"}},
        "storage": {"path": str(tmp_path / "data"), "min_free_bytes": 0},
        "docker": {"username": "me", "password": f"password-{MARK}"},
        "podman": {"url": f"unix://{tmp_path}/none.sock"},
        "containers": [
            {"id": "far", "url": nowhere, "bearer": f"bearer-{MARK}"},
            {"id": "near", "image": "localhost/none:1", "env": {"API_KEY": f"key-{MARK}"}},
        ],
        "chain": {
            "enabled": True,
            "rpc_url": f"{nowhere}/v3/{MARK}",
            "registry_address": "0x" + "11" * 20,
            "wallet": {"private_key": KEY, "payment_address": "0x" + "22" * 20},
        },
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def test_every_command_that_reads_a_configuration_is_tried() -> None:
    assert WITHOUT | {run[0] for run in RUNS} == set(COMMANDS)


@pytest.mark.parametrize("arguments", RUNS, ids=" ".join)
def test_no_secret_is_shown(arguments: list[str], config: Path) -> None:
    done = run_forked(
        [sys.executable, "-m", "infernet_edge", *arguments, "--config", str(config)],
        NODE_MODULES,
        cwd=config.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    shown = (done.stdout + done.stderr).decode()
    assert done.returncode in (0, 1), shown
    assert shown
    assert "Traceback" not in shown
    assert MARK not in shown
    for file in config.parent.rglob("*"):
        if file.is_file() and file not in (config, backup_of(config)):
            assert MARK.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("path", ["server.tokens.phone", "docker.password", "chain.rpc_url"])
def test_mistakes_show_no_secret(
    path: str, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where a secret is in the wrong place, or of the wrong type."""
    document = json.loads(config.read_text())
    *above, last = path.split(".")
    part = document
    for name in above:
        part = part[name]
    part[last] = [{"a": part[last]}]
    config.write_text(json.dumps(document))
    assert main(["check", "--config", str(config)]) == 78
    assert MARK not in "".join(capfd.readouterr())
