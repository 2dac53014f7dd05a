"""The key stays with its node: nothing that anybody may read shows it. Without a chain, no cost."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Api, eventually
from tests.support.delegated import request_v1
from tests.support.echo import EchoService
from tests.support.evm import ALICE, NODE, OTHER_NODE, V1, deliveries
from tests.support.node import NodeProcess
from tests.support.process import ROOT

KEY = NODE.key.hex().removeprefix("0x")


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[EchoService]:
    with EchoService(tmp_path) as service:
        yield service


def with_key(v1: V1, echo: EchoService, key: str = KEY, **chain: Any) -> dict[str, Any]:
    settings = {
        "enabled": True,
        "rpc_url": v1.anvil.url,
        "registry_address": v1.registry.address,
        "trail_head_blocks": 0,
        "snapshot_sync": {"sync_period": 0.1},
        "wallet": {"private_key": key},
    }
    containers = [{"id": "echo", "url": echo.url}]
    return {"chain": settings | chain, "containers": containers}


def shown_forms(text: str) -> list[str]:
    """The forms of the key, or of its half, that a text holds."""
    key = bytes.fromhex(KEY)
    forms = [
        KEY[:32],
        KEY[32:],
        KEY.upper()[:32],
        str(int(KEY, 16)),
        base64.b64encode(key).decode(),
    ]
    return [form for form in [*forms, repr(key)[2:-1]] if form in text]


def control(node: NodeProcess, path: str) -> str:
    """A report for the operator."""
    with contextlib.closing(http.client.HTTPConnection("node")) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(node.data_path / "control.sock"))
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode()


def test_the_key_is_never_shown(tmp_path: Path, v1: V1, echo: EchoService) -> None:
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    verbose = NodeProcess(with_key(v1, echo), tmp_path / "node", fresh=True)
    verbose.command.append("--verbose")
    with verbose as node:
        api, shown = Api(node.port), []
        good, other = request_v1(v1, consumer), request_v1(v1, consumer, nonce=2)
        wrong = request_v1(v1, consumer, nonce=3, signer=OTHER_NODE)
        v1.anvil.set_balance(NODE.address, 0)
        for body in (good.body, wrong.body, {"subscription": KEY}, good.body | {"signature": 1}):
            shown.append(api.post(body).body.decode())
        eventually(lambda: "nsufficient funds" in control(node, "/deliveries"))
        shown += [control(node, "/deliveries"), control(node, "/status")]
        v1.anvil.set_balance(NODE.address, 10**18)
        shown.append(api.post(other.body).body.decode())
        eventually(lambda: len(deliveries(consumer)) == 2)
        v1.anvil.stop()
        eventually(lambda: "rpc.lost" in node.log())
        shown += [control(node, path) for path in ("/deliveries", "/status", "/jobs")]
        shown += [api.get(path).body.decode() for path in ("/info", "/health", "/nothing")]
        process = Path("/proc") / str(node.pid)
        for name in ("cmdline", "environ", "comm"):
            shown.append((process / name).read_bytes().decode(errors="replace"))
        assert "--config" in shown[-3]  # it is the node's own command line
        assert "Max core file size        0 " in (process / "limits").read_text()
    shown.append(node.log())
    assert NODE.address in node.log()
    found = [(form, text) for text in shown for form in shown_forms(text)]
    # What a client sends may come back to that client, and to no other.
    assert all("subscription: expected" in text for _, text in found), found


@pytest.mark.parametrize(
    "key",
    [KEY + "0", KEY[:-1] + "g", KEY[:40], f'"{KEY}"'],
    ids=["long", "no digit", "short", "in quotes"],
)
def test_a_key_that_is_wrong_is_not_shown_either(
    tmp_path: Path, v1: V1, echo: EchoService, key: str
) -> None:
    node = NodeProcess(with_key(v1, echo, key), tmp_path / "node")
    node.launch()
    assert node.exit_code() not in (0, -9)
    assert "hex digits, with or without 0x" in node.log()
    assert shown_forms(node.log()) == []


_IMPORTS = """
import asyncio, sys
from pathlib import Path
import infernet_edge.__main__
import infernet_edge.cli.run
from infernet_edge.config.loading import build
from infernet_edge.node import Node

async def run():
    document = {"server": {"host": "127.0.0.1", "port": 0}, "manage_containers": False,
                "storage": {"path": sys.argv[1]}}
    node = Node(build(document, "the test", {})[0])
    await node.start()
    await node.stop()

asyncio.run(run())
costly = ("infernet_edge.chain", "eth_", "web3", "coincurve")
print(sorted(name for name in sys.modules if name.startswith(costly)))
"""


def test_nothing_of_the_chain_is_loaded_while_it_is_off(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_node_without_a_chain_says_so(tmp_path: Path, echo: EchoService) -> None:
    containers = [{"id": "echo", "url": echo.url}]
    with NodeProcess({"containers": containers}, tmp_path / "node") as node:
        info = Api(node.port).get("/info").json
        assert info["chain"] == {"enabled": False, "address": ""}
        assert info["pending"]["onchain"] == 0
        reply = Api(node.port).post({"subscription": {}, "signature": {}, "data": {}})
        assert (reply.status, reply.json["error"]) == (405, "Chain not enabled")
        assert '"items":null' in control(node, "/deliveries")
        maps = (Path("/proc") / str(node.pid) / "maps").read_text()
        assert "eth_" not in maps
