"""The check whether others can find the node."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.networks import second_machine
from tests.support.process import ROOT

_CHECK = """
import asyncio, pathlib, sys
from types import SimpleNamespace
from infernet_edge.config.loading import build
from infernet_edge.doctor.discovery import check

async def blocking(function, *arguments):
    return function(*arguments)

host, enabled = sys.argv[1:]
document = {"server": {"host": host}, "discovery": {"enabled": enabled == "on"}}
config, _ = build(document, "the test's configuration", {})
case = SimpleNamespace(config=config, blocking=blocking, root=pathlib.Path("/"))
found = asyncio.run(check(case))
print(found.level, found.text, found.remedy, sep="|")
"""


def test_what_it_finds() -> None:
    with second_machine() as other:

        def checked(host: str, enabled: str = "on") -> list[str]:
            command = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", _CHECK, host, enabled)
            return other.run(*command).stdout.strip().split("|")

        assert checked("0.0.0.0")[0] == "ok"
        assert checked("127.0.0.1")[:2] == [
            "ok",
            "off: server.host is an address of this machine only",
        ]
        assert checked("0.0.0.0", "off")[:2] == ["ok", "off: discovery.enabled is false"]
        rule = ("INPUT", "-p", "udp", "--dport", "5353", "-j", "DROP")
        try:
            other.run("iptables", "-A", *rule)
            other.run("ip6tables", "-A", *rule)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            pytest.skip(f"iptables is not permitted here: {error}")
        level, text, remedy = checked("0.0.0.0")
        assert level == "warning"
        assert "a firewall drops UDP port 5353" in text
        assert "mdns" in remedy
        other.run("ip", "link", "set", other.device + "c", "down")
        assert checked("0.0.0.0")[1].startswith("this machine is in no network")
