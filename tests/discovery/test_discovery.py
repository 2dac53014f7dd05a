"""Whole nodes find each other, and real Avahi finds them and is found."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from infernet_edge.discovery.browser import browse
from tests.discovery.conftest import Announced
from tests.support.mdns import avahi, node_on
from tests.support.networks import SecondMachine, second_machine
from tests.support.process import ROOT
from tests.support.running import running


async def test_two_nodes_find_each_other(tmp_path: Path) -> None:
    with second_machine() as other:
        document = {
            "server": {"host": other.here},
            "discovery": {"enabled": True, "name": "pi-attic"},
            "containers": [{"id": "away", "url": "http://127.0.0.1:1"}],
        }
        with node_on(other, tmp_path) as url:
            async with running(tmp_path, document) as node:
                reply = await node.get("/api/nodes")
                assert reply.status == 200
                assert reply.body["problem"] == ""
                [found] = reply.body["items"]
                assert found["name"] == "pi-kitchen"
                assert found["url"] == url
                assert found["health"] == "healthy"
                assert found["version"]
                assert found["pending"] == 0
                assert found["seen_at"]
                assert len(found["id"]) == 16
                async with asyncio.timeout(20):
                    while not (node.node.parts and (node.parts.discovery.report() or {})["name"]):
                        await asyncio.sleep(0.1)
                # And the other way round, from the machine of the other node.
                status, body = await _fetch(other, f"{url}/api/nodes")
                assert status == 200
                assert '"name":"pi-attic"' in body
                assert '"health":"healthy"' in body
                # What was found a moment ago is not asked again, which would renew `seen_at`.
                assert (await node.get("/api/nodes")).body == reply.body


async def _fetch(other: SecondMachine, url: str) -> tuple[int, str]:
    done = await asyncio.to_thread(
        other.run, "curl", "-s", "-w", "%{http_code}", "--max-time", "30", url
    )
    return int(done.stdout[-3:]), done.stdout[:-3]


async def test_avahi_finds_a_node_and_a_node_finds_what_avahi_publishes(
    other: SecondMachine, announced: Announced, tmp_path: Path
) -> None:
    with avahi(other.within, tmp_path) as there, there.publish("attic", 4123, "id=1f"):
        async with announced() as announcer:
            seen = await asyncio.to_thread(there.browse)
            [line] = [
                each
                for each in seen.splitlines()
                if each.startswith("=") and "pi-kitchen" in each and ";IPv4;" in each
            ]
            assert f";{other.here};4000;" in line
            assert '"id=0123456789abcdef"' in line
            assert '"containers=a,b"' in line
            collector = await browse(announcer.sockets, 2.0)
            found = {node.name: node for node in collector.found(set())}
            assert found["attic"].urls[0] == f"http://{other.address}:4123"
            assert found["attic"].identifier == "1f"
        await asyncio.sleep(1.5)  # Avahi keeps what says goodbye for a second
        seen = await asyncio.to_thread(there.browse)
        assert "pi-kitchen" not in [line.split(";")[3] for line in seen.splitlines()]


async def test_avahi_and_a_node_share_one_machine(tmp_path: Path) -> None:
    with second_machine() as other, avahi(other.within, tmp_path) as there:
        published = there.publish("of-avahi", 4123, "id=1f")
        with published, node_on(other, tmp_path):
            seen = await asyncio.to_thread(there.browse)
            assert "=;" in seen
            assert f";{other.address};4000;" in seen
            assert "of-avahi" in seen
            log = there.log.read_text()
            assert "conflict" not in log.lower()
            # Seen from elsewhere, both are there.
            done = await asyncio.to_thread(
                other.run,
                "env",
                f"PYTHONPATH={ROOT}",
                sys.executable,
                "-m",
                "infernet_edge",
                "discover",
            )
            assert "pi-kitchen  http://" in done.stdout
            assert "healthy, version" in done.stdout
            assert "of-avahi  http://" in done.stdout


async def test_a_name_that_avahi_has_is_not_taken(
    other: SecondMachine, announced: Announced, tmp_path: Path
) -> None:
    with avahi(other.within, tmp_path) as there, there.publish("pi-kitchen", 4123):
        async with announced() as announcer:
            assert announcer.responder.name == "pi-kitchen (2)"


async def test_a_node_that_listens_on_loopback_is_not_announced(tmp_path: Path) -> None:
    async with running(tmp_path, {"discovery": {"enabled": True}}) as node:
        reply = await node.get("/api/nodes")
        assert reply.body["items"] == []
        assert "server.host" in reply.body["problem"]
        assert node.parts.discovery.report() is None
        assert not (tmp_path / "data" / "node-id").exists()


async def test_tokens_hide_the_containers(tmp_path: Path) -> None:
    with second_machine() as other:
        document = {
            "server": {
                "host": "0.0.0.0",
                "port": 4000,
                "tokens": {"phone": "a-token-of-enough-length"},
                "rate_limit": {"num_requests": 0},
            },
            "containers": [{"id": "secret-model", "url": "http://127.0.0.1:1"}],
        }
        with node_on(other, tmp_path, document):
            done = await asyncio.to_thread(
                other.run,
                "env",
                f"PYTHONPATH={ROOT}",
                sys.executable,
                "-m",
                "infernet_edge",
                "discover",
                "--json",
            )
    assert "secret-model" not in done.stdout
    assert '"protected": true' in done.stdout
    assert "it needs a token" in done.stdout
