"""`infernet-edge discover`, without a node here and without a configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infernet_edge.cli.main import main
from tests.support.mdns import node_on
from tests.support.networks import SecondMachine, second_machine
from tests.support.process import ROOT

# A program that does not share the port, beside the command.
_ALONE = """
import socket, subprocess, sys
alone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
alone.bind(("0.0.0.0", 5353))
sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)
"""


def discover(
    other: SecondMachine, *arguments: str, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = ("-m", "infernet_edge", "discover", *arguments)
    return subprocess.run(
        [*other.within, "env", f"PYTHONPATH={ROOT}", sys.executable, *before, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_nodes_are_listed(tmp_path: Path) -> None:
    with second_machine() as other, node_on(other, tmp_path) as url:
        done = discover(other)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"pi-kitchen  {url}\n  healthy, version ")
        found = json.loads(discover(other, "--json").stdout)
        assert found["problem"] == ""
        assert found["items"][0]["url"] == url


def test_why_none_is_found() -> None:
    with second_machine() as other:
        done = discover(other, "--timeout", "1")
        assert (done.returncode, done.stdout) == (1, "No node was found.\n")
        assert "discovery.enabled is false" in done.stderr
        assert "firewall" not in done.stderr
        alone = discover(other, "--timeout", "1", before=("-c", _ALONE))
        assert alone.returncode == 1
        assert "a program that does not share it has UDP port 5353" in alone.stderr
        other.run("ip", "link", "set", other.device + "c", "down")
        none = discover(other, "--timeout", "1")
        assert none.returncode == 1
        assert none.stderr == "This machine is in no network with other machines.\n"


@pytest.mark.parametrize("chain", ["INPUT", "OUTPUT"])
def test_a_firewall_is_named(chain: str) -> None:
    with second_machine() as other:
        rule = ("-p", "udp", "--dport", "5353", "-j", "DROP")
        try:
            other.run("iptables", "-A", chain, *rule)
            other.run("ip6tables", "-A", chain, *rule)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            pytest.skip(f"iptables is not permitted here: {error}")
        done = discover(other, "--timeout", "1")
        assert done.returncode == 1
        assert "firewall" in done.stderr
        assert "sudo ufw allow mdns" in done.stderr


@pytest.mark.parametrize("seconds", ["0", "61", "x"])
def test_wrong_times(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["discover", "--timeout", seconds])
    assert raised.value.code == 2
    assert "a whole number of seconds from 1 to 60" in capsys.readouterr().err
