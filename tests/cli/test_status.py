"""`infernet-edge status` and `jobs`, which ask the running node on its control socket."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infernet_edge.cli.main import main
from infernet_edge.hardware.network import reachable_hosts
from tests.support.breaking import read_only
from tests.support.evm import NODE, V1
from tests.support.onchain import chain_of, on_chain, polls, until
from tests.support.ports import free_port
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving


async def run_command(folder: Path, *arguments: str) -> int:
    """Run a command against the node whose data is in `folder`; returns its exit code."""
    file = folder / "config.json"
    file.write_text(json.dumps({"storage": {"path": str(folder / "data")}}))
    return await asyncio.to_thread(main, [*arguments, "--config", str(file)])


async def control(node: RunningNode, path: str, method: str = "GET") -> tuple[int, Any]:
    socket = str(node.parts.config.storage_path / "control.sock")
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as session,
        session.request(method, f"http://node{path}") as response,
    ):
        return response.status, await response.json()


async def test_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(Echo()) as url:
        containers = [
            {"id": "echo", "url": url},
            {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
        ]
        async with running(tmp_path, {"containers": containers}) as node:
            assert await run_command(tmp_path, "status") == 0
            lines = capsys.readouterr().out.splitlines()
            assert lines[0] == "Working, but 1 thing needs you"
            assert lines[1].startswith("  version 1.4.0+edge.")
            text = " ".join(" ".join(lines).split())
            assert f" at {node.url} " in text
            limit = node.parts.memory.limit // 2**20
            assert "  jobs: 0 running, 0 waiting" in lines
            assert "  last hour: 0 done, 0 failed" in lines
            assert f"  memory: 0 MiB of {limit} MiB held; the machine uses " in "\n".join(lines)
            assert re.search(r"\n  disk: \d[^\n]* free", "\n".join(lines))
            assert re.search(r"\n  up \d+ s\n", "\n".join(lines))
            at = lines.index("  containers: 1 of 2 run")
            assert lines[at + 1].split() == ["echo", "ready"]
            assert lines[at + 2] == f"    {url}"
            assert lines[at + 3].split() == ["down", "failed"]
            assert "No answer" not in "".join(lines[at:])  # it is said above, with what to do
            assert "No answer" in text
            assert "fix: Start the service at its url" in text
            assert await run_command(tmp_path, "status", "--json") == 0
            assert json.loads(capsys.readouterr().out)["containers"][0]["state"] == "ready"


async def test_the_addresses_for_other_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One that is only for this machine has none."""
    async with running(tmp_path) as node:
        assert await node.node.network_urls() == []
        assert await run_command(tmp_path, "status") == 0
        assert "network" not in capsys.readouterr().out
    if not (hosts := reachable_hosts("0.0.0.0")):
        pytest.skip("this machine has no network")
    caplog.set_level(logging.INFO, "infernet_edge")
    async with running(tmp_path, {"server": {"host": "0.0.0.0"}}) as node:
        port = node.url.rpartition(":")[2]
        urls = [f"http://{host}:{port}" for host in hosts]
        assert await run_command(tmp_path, "status") == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if "network" in line] == [f"  network: {u}" for u in urls]
        assert await run_command(tmp_path, "status", "--json") == 0
        assert json.loads(capsys.readouterr().out)["network"] == urls
        async with node.session.get(f"{urls[0]}/health") as response:
            assert response.status == 200
    (started,) = (each for each in caplog.records if each.getMessage() == "node.started")
    assert started.__dict__["fields"]["network"] == " ".join(urls)


async def test_the_chain_has_a_paragraph(
    tmp_path: Path, v1: V1, capsys: pytest.CaptureFixture[str]
) -> None:
    rpc = v1.anvil.url.removeprefix("http://")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until(lambda: chain_of(node).head.latest)
        await polls(node)
        assert await run_command(tmp_path, "status") == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        paragraph = lines[lines.index("chain 31337") + 1 :]
        shown = {line[2:16].strip(): line[16:] for line in paragraph}
        assert shown["waits for"] == "a subscription with the id 1, and delegated requests"
        assert shown["account"] == NODE.address
        assert shown["balance"].endswith(" coins")
        assert shown["paid to"] == "no wallet: subscriptions that pay are skipped"
        assert re.fullmatch(rf"{v1.anvil.block().number}, \d+ s ago", shown["block"])
        assert shown["registry"] == v1.registry.address
        assert shown["coordinator"] == f"{v1.coordinator.address} (SDK 1.x)"
        assert shown["next id"] == "1, all before it were read"
        assert shown["followed"] == "0 subscriptions"
        assert re.fullmatch(
            rf"{rpc} \(in use\): \d+ requests, 0 refused in an hour", shown["server"]
        )
        assert await run_command(tmp_path, "status", "--json") == 0
        assert json.loads(capsys.readouterr().out)["chain"]["address"] == NODE.address


async def test_a_chain_that_cannot_be_reached(
    tmp_path: Path, v1: V1, capsys: pytest.CaptureFixture[str]
) -> None:
    """The node itself is healthy: jobs of clients are served."""
    down = f"127.0.0.1:{free_port()}"
    async with on_chain(tmp_path, v1=v1, rpc_url=f"http://{down}/key") as (node, _):
        await until(lambda: chain_of(node).problem)
        assert await run_command(tmp_path, "status") == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[0] == "Working, but 1 thing needs you"
        text = " ".join(" ".join(lines).split())
        assert f"problem: No JSON-RPC server of chain.rpc_url answers: {down}: no conn" in text
        assert "waits for a JSON-RPC server that answers" in text
        assert "block none is known yet" in text
        assert (await node.get("/health")).body == {"status": "healthy"}


async def test_problems_are_told_and_make_it_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(
        tmp_path, {"containers": [{"id": "x", "url": "http://127.0.0.1:9"}]}
    ) as node:
        node.parts.store.refusal = "The disk is nearly full"
        with read_only(node.parts.database):
            await node.put("/api/status", {"id": "x", "status": "running", "containers": []})
            assert await run_command(tmp_path, "status") == 1
        out = capsys.readouterr().out
        assert out.startswith("Not taking jobs: The disk is nearly full\n")
        assert "  problem: The disk is nearly full.\n    fix: Free space" in out
        assert "  problem: The database cannot be written: " in out


async def test_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    echo = Echo()
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node:
            assert await run_command(tmp_path, "jobs") == 0
            assert capsys.readouterr().out.startswith("None yet. How to send a job: infernet-edge")
            ids = [await node.job(["echo", "echo"]), await node.job(data={"hold": True})]
            await node.finished(ids[0])
            assert await run_command(tmp_path, "jobs") == 0
            newest, of_newest, oldest, of_oldest = capsys.readouterr().out.splitlines()
            assert re.fullmatch(rf"{ids[1]}  \S+Z  running", newest)
            assert of_newest == "    echo, for 127.0.0.1"
            assert re.fullmatch(rf"{ids[0]}  \S+Z  success", oldest)
            assert re.fullmatch(r"    echo > echo, \d\.\d{3} s, for 127\.0\.0\.1", of_oldest)
            assert await run_command(tmp_path, "jobs", "--limit", "1", "--json") == 0
            (job,) = json.loads(capsys.readouterr().out)
            assert job["id"] == ids[1]
            assert job["status"] == "running"
            assert await run_command(tmp_path, "jobs", "--onchain") == 0
            assert "infernet-edge help on-chain" in capsys.readouterr().out
            assert await run_command(tmp_path, "jobs", "--onchain", "--json") == 0
            assert json.loads(capsys.readouterr().out) == {
                "enabled": False,
                "chain": None,
                "subscriptions": [],
                "deliveries": [],
            }
            echo.release()


def rows(out: str) -> dict[str, str]:
    """The lines of `jobs ID` by their labels; all of them fit a terminal."""
    assert max(map(len, out.splitlines())) <= 80
    return {line[2:14].strip(): line[14:] for line in out.splitlines()[1:]}


async def test_one_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    echo = Echo()
    async with serving(echo) as url:
        containers = [
            {"id": "echo", "url": url},
            {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
        ]
        async with running(tmp_path, {"containers": containers}) as node:
            done = await node.job(["echo", "echo"], data={"text": "x" * 40_000})
            failed = await node.job(["down"])
            held = await node.job(data={"hold": True})
            await node.put(
                "/api/status", {"id": "mine", "status": "success", "containers": ["elsewhere"]}
            )
            for each in (done, failed):
                await node.finished(each)
            assert await run_command(tmp_path, "jobs", failed) == 0
            shown = rows(capsys.readouterr().out)
            assert (shown["status"], shown["kind"], shown["client"]) == (
                *("failed", "direct", "127.0.0.1"),
            )
            assert shown["containers"] == "down"
            assert shown["attempts"] == "1"
            assert re.fullmatch(r"\S+Z, after \d+\.\d{3} s", shown["finished"])
            assert shown["error"]
            assert await run_command(tmp_path, "jobs") == 0
            out = capsys.readouterr().out
            assert max(map(len, out.splitlines())) <= 80
            assert f"    error: {shown['error'][:30]}" in out
            assert await run_command(tmp_path, "jobs", done) == 0
            out = capsys.readouterr().out
            assert f"read it with GET /api/jobs?id={done}" in out
            shown = rows(out)
            assert shown["containers"] == "echo > echo"
            assert int(shown["result"].split()[0]) > 40_000
            assert int(shown["outputs"].split()[0]) > 40_000
            assert await run_command(tmp_path, "jobs", held) == 0
            shown = rows(capsys.readouterr().out)
            assert (shown["status"], shown["input"]) == ("running", "13 bytes")
            assert (shown["is in"], shown["attempts"]) == ("echo", "1")
            assert shown["started"] >= shown["created"]
            assert await run_command(tmp_path, "jobs", "mine") == 0
            shown = rows(capsys.readouterr().out)
            assert (shown["kind"], shown["status"]) == ("external", "success")
            assert shown["containers"] == "elsewhere"
            echo.release()
            await node.finished(held)
            assert await run_command(tmp_path, "jobs", held, "--json") == 0
            job = json.loads(capsys.readouterr().out)
            assert json.loads(job["result"])["container"] == "echo"
            assert job["result_size"] == len(job["result"])
            assert await run_command(tmp_path, "jobs", held) == 0
            assert job["result"][:20] in capsys.readouterr().out
            for unknown in ("none", done[:-1] + ("0" if done[-1] != "0" else "1"), "%00"):
                assert await run_command(tmp_path, "jobs", unknown) == 1
                assert "jobs.retention" in capsys.readouterr().err
            assert await run_command(tmp_path, "jobs", held, "--onchain") == 2


async def test_what_a_running_job_waits_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Podman is not there, so that the container cannot be started yet."""
    containers = [{"id": "near", "image": "localhost/none:1"}]
    document = {"containers": containers, "podman": {"url": f"unix://{tmp_path}/none.sock"}}
    async with running(tmp_path, document) as node:
        service = node.node.services["near"]
        service.set_starting("its image is being pulled: 1 of 3 parts complete")
        job = await node.job(["near"])
        assert await run_command(tmp_path, "jobs", job) == 0
        shown = rows(capsys.readouterr().out)
        if shown["status"] == "running":
            assert shown["waits for"].startswith("near, ")
        assert await run_command(tmp_path, "status") == 0
        out = " ".join(capsys.readouterr().out.split())
        assert "containers: 0 of 1 run near" in out
        assert "localhost/none:1" in out


async def test_lines_fit_a_narrow_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    async with serving(Echo()) as url:
        containers = [{"id": "a-container-with-a-long-name-" + 20 * "x", "url": url}]
        async with running(tmp_path, {"containers": containers}) as node:
            job = await node.job([containers[0]["id"]])
            await node.finished(job)
            for command in (["status"], ["jobs"], ["jobs", job]):
                assert await run_command(tmp_path, *command) == 0
                for line in capsys.readouterr().out.splitlines():
                    assert len(line) <= 40 or len(line.split()) == 1, line


@pytest.mark.parametrize("command", ["status", "jobs"])
async def test_without_a_node(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run_command(tmp_path, command) == 1
    out, wrong = capsys.readouterr()
    assert out == ""
    assert "infernet-edge run" in wrong
    async with running(tmp_path):
        pass
    assert await run_command(tmp_path, command) == 1  # it was there and has stopped
    (tmp_path / "wrong.json").write_text("{")
    assert main([command, "--config", str(tmp_path / "wrong.json")]) == 78


async def test_the_socket_is_its_users_own_and_goes_with_the_node(tmp_path: Path) -> None:
    socket = tmp_path / "data" / "control.sock"
    async with running(tmp_path) as node:
        assert socket.stat().st_mode & 0o777 == 0o600
        assert (await control(node, "/status"))[0] == 200
        for method, path in (("GET", "/nothing"), ("POST", "/status"), ("GET", "/jobs/")):
            status, body = await control(node, path, method)
            assert status == 404
            assert body["error"].startswith("No such endpoint")
        status, body = await control(node, "/jobs?limit=" + "9" * 30)
        assert (status, body) == (200, {"items": []})
    assert not socket.exists()


async def test_a_socket_that_a_killed_node_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "control.sock").touch()
    async with running(tmp_path) as node:
        assert (await control(node, "/status"))[0] == 200


async def test_a_folder_with_too_long_a_name_goes_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path / ("x" * 100)) as node:
        assert (await node.get("/health")).status == 200
    assert "control.disabled" in caplog.text


async def test_the_control_socket_serves_the_api_to_the_operator(tmp_path: Path) -> None:
    """Without a token, where clients in the network need one."""
    settings = {"server": {"tokens": {"bob": "0123456789abcdef"}}}
    async with running(tmp_path, settings) as node:
        async with aiohttp.ClientSession() as session, session.get(f"{node.url}/info") as response:
            assert response.status == 401
        status, info = await control(node, "/info")
        assert status == 200
        assert info["pending"] == {"offchain": 0, "onchain": 0}
        assert (await control(node, "/nothing"))[0] == 404
