"""A reload over HTTP: what is applied, what needs a restart, what is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.api import server
from infernet_edge.backup import schedule
from infernet_edge.cli import check
from infernet_edge.config.keys.changes import RELOADED
from infernet_edge.reloading import reloader
from tests.support.managing import eventually
from tests.support.operating import operator
from tests.support.reloading import Reloadable, reloadable
from tests.support.serving import Echo, serving

TOKEN = "a-token-of-more-than-sixteen-characters"
OTHER = "another-token-of-more-than-sixteen-characters"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class Breakable(Echo):
    """Drops the connections of held calls when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = asyncio.Event()

    async def answer(self, request: Any, data: Any) -> Any:
        if isinstance(data, dict) and data.get("hold") and "break" in data:
            await self.broken.wait()
            request.transport.abort()
        return await super().answer(request, data)


async def test_nothing_changed(tmp_path: Path) -> None:
    async with reloadable(tmp_path, {}) as node:
        report = await node.reload()
        assert report == {"applied": [], "needs_restart": [], "problems": [], "notes": []}


async def test_files_for_calls_of_containers_are_reserved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call needs a file descriptor, which connections of clients must leave."""
    monkeypatch.setattr(server, "raise_file_limit", lambda: 700)
    container = {"id": "echo", "url": "http://127.0.0.1:1"}
    async with reloadable(tmp_path, {"containers": [container]}) as node:
        for slots in (100, 500, 1):
            await node.reload(containers=[{**container, "max_concurrency": slots}])
            connections = 700 - 128 - slots
            assert node.parts.store.waiters.limit == connections // 2
            assert node.parts.readers.limit == min(128, connections // 4)


async def test_keys_that_are_not_known_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As at the start: a token with a mistyped key would open the node without a word."""
    async with reloadable(tmp_path, {"server": {"tokens": {"bob": TOKEN}}}) as node:
        server = {**node.document["server"], "tokns": {"bob": TOKEN}}
        del server["tokens"]
        node.document["server"] = server
        report = await node.reload()
        assert report["applied"] == ["server.tokens"]
        (note,) = report["notes"]
        assert "server.tokns" in note
    logged = [each for each in caplog.records if each.message == "config.warning"]
    assert [each.__dict__["fields"]["text"] for each in logged] == [note]


async def test_a_file_that_cannot_be_read_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that does not answer. Nothing waits for it without an end, also not the stop."""
    monkeypatch.setattr(reloader, "_READ_TIMEOUT", 0.5)
    async with reloadable(tmp_path, {"jobs": {"max_pending": 5}}) as node:
        node.file.unlink()
        os.mkfifo(node.file)
        for _ in range(3):
            report = await node.post_reload()
            assert report["problems"] == [
                "The configuration cannot be read now: does its disk answer? Try again"
            ]
        threads = [each for each in threading.enumerate() if each.name == "blocking read"]
        assert len(threads) == 1
        assert threads[0].daemon
        document = json.dumps({**node.document, "jobs": {"max_pending": 6}})
        await asyncio.to_thread(node.file.write_text, document)  # what the thread waits for
        node.file.unlink()
        node.file.write_text(document)
        assert (await node.post_reload())["applied"] == ["jobs.max_pending"]


async def test_who_may_reload(tmp_path: Path) -> None:
    async with reloadable(tmp_path, {}) as node, operator(node) as client:
        assert (await node.post("/api/reload", None)).status == 403
        assert (await client.get("/api/reload")).status == 405


async def test_what_needs_a_restart_is_named_until_then(tmp_path: Path) -> None:
    async with reloadable(tmp_path, {}) as node:
        changes: dict[str, Any] = {
            "server": {"max_body_bytes": 2000},
            "log": {"backup_count": 5},
            "jobs": {"max_pending": 7},
        }
        report = await node.reload(**changes)
        assert report == {
            "applied": ["jobs.max_pending"],
            "needs_restart": ["log.backup_count", "server.max_body_bytes"],
            "problems": [],
            "notes": [],
        }
        again = await node.reload()
        assert again["applied"] == []
        assert again["needs_restart"] == report["needs_restart"]
        assert node.node.config.server.max_body_bytes == 16 * 2**20
        assert node.node.config.jobs.max_pending == 7


async def test_a_wrong_configuration_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with reloadable(tmp_path, {"jobs": {"max_pending": 5}}) as node:
        config = node.node.config
        node.document["jobs"]["max_pending"] = 0
        report = await node.reload(server={"tokens": {"a": TOKEN}, "port": "x"})
        assert report["applied"] == report["needs_restart"] == []
        assert len(report["problems"]) == 2
        arguments = type("Arguments", (), {"config": node.file, "json": False, "strict": False})
        assert check.run(arguments()) == 78
        printed = capsys.readouterr().err
        assert all(problem in printed for problem in report["problems"])
        assert node.node.config is config
        assert (await node.get("/info")).status == 200
        node.file.write_text("{")
        assert "JSON" in str((await node.post_reload())["problems"])
        node.file.unlink()
        assert (await node.post_reload())["problems"]
        assert (await node.get("/info")).status == 200


def certificate(folder: Path, name: str) -> dict[str, str]:
    files = {"cert": str(folder / f"{name}.pem"), "key": str(folder / f"{name}.key")}
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    outputs = ["-out", files["cert"], "-keyout", files["key"]]
    subprocess.run([*command.split(), *outputs], check=True, capture_output=True)
    return files


async def served(node: Reloadable) -> str:
    """The certificate that the node shows."""
    port = int(node.url.rpartition(":")[2])
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))


async def test_certificates(tmp_path: Path) -> None:
    first, second = certificate(tmp_path, "first"), certificate(tmp_path, "second")
    async with reloadable(tmp_path, {"server": {"tls": first}}) as node:
        assert (await served(node)).strip() == Path(first["cert"]).read_text().strip()
        # Other files.
        report = await node.reload(server={"tls": second})
        assert report["applied"] == ["server.tls.cert", "server.tls.key", "server.tls"]
        assert (await served(node)).strip() == Path(second["cert"]).read_text().strip()
        # A certificate without its key changes nothing, also of other keys.
        shutil.copy(first["cert"], second["cert"])
        report = await node.reload(jobs={"max_pending": 7})
        assert (report["applied"], len(report["problems"])) == ([], 1)
        assert report["problems"][0].startswith("server.tls: found ")
        assert node.node.config.jobs.max_pending != 7
        # Renewed files of the same names.
        shutil.copy(first["key"], second["key"])
        assert (await node.reload())["applied"] == ["jobs.max_pending", "server.tls"]
        assert (await served(node)).strip() == Path(first["cert"]).read_text().strip()


async def test_whether_there_is_tls_is_decided_at_the_start(tmp_path: Path) -> None:
    tls = certificate(tmp_path, "tls")
    async with reloadable(tmp_path, {}) as node:
        report = await node.reload(server={"tls": tls}, jobs={"max_pending": 9})
        assert (report["applied"], report["needs_restart"]) == (
            ["jobs.max_pending"],
            ["server.tls"],
        )
        assert (await node.get("/info")).status == 200


async def test_reloads_come_one_after_the_other(tmp_path: Path) -> None:
    async with reloadable(tmp_path, {}) as node:
        for round in range(5):
            node.document["jobs"] = {"max_pending": 100 + round}
            node.file.write_text(json.dumps(node.document))
            reports = await asyncio.gather(*(node.post_reload() for _ in range(5)))
            applied = [report["applied"] for report in reports]
            assert applied.count(["jobs.max_pending"]) == 1
            assert applied.count([]) == 4


# Each key that a reload applies: the change, and what shows that it is in force.

Check = Callable[[Reloadable], Awaitable[None]]


async def _tokens(node: Reloadable) -> None:
    assert (await node.get("/info")).status == 200
    await node.reload(server={"tokens": {"a": TOKEN}})
    assert (await node.get("/info")).status == 401
    assert (await node.get("/info", bearer(TOKEN))).status == 200
    await node.reload(server={"tokens": {"a": OTHER}})
    assert (await node.get("/info", bearer(TOKEN))).status == 401
    assert (await node.get("/info", bearer(OTHER))).status == 200


async def _rate_limit(node: Reloadable) -> None:
    for _ in range(5):
        assert (await node.get("/info")).status == 200
    await node.reload(server={"rate_limit": {"num_requests": 2, "period": 5.0}})
    statuses = [(await node.get("/info")).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    await node.reload(server={"rate_limit": {"num_requests": 3, "period": 5.0}})
    assert (await node.get("/info")).status == 429  # those before count
    await node.reload(server={"rate_limit": {"num_requests": 3, "period": 6.0}})
    assert (await node.get("/info")).headers["ratelimit-remaining"] == "2"


async def _allowed_hosts(node: Reloadable) -> None:
    host = {"host": "node.example.org"}
    assert (await node.get("/info", host)).status == 403
    await node.reload(server={"allowed_hosts": ["node.example.org"]})
    assert (await node.get("/info", host)).status == 200


async def _allowed_origins(node: Reloadable) -> None:
    origin = {"origin": "https://app.example.org"}
    assert (await node.get("/info", origin)).status == 403
    await node.reload(server={"allowed_origins": ["https://app.example.org"]})
    reply = await node.get("/info", origin)
    assert reply.headers["access-control-allow-origin"] == "https://app.example.org"


async def _trusted_proxies(node: Reloadable) -> None:
    await node.reload(server={"trusted_proxies": ["127.0.0.1"]})
    forwarded = {"x-forwarded-for": "192.0.2.7"}
    job = await node.job(headers=forwarded)
    assert (await node.get(f"/api/jobs/{job}")).status == 404
    assert (await node.get(f"/api/jobs/{job}", forwarded)).status == 200


async def _max_connections_per_client(node: Reloadable) -> None:
    await node.reload(server={"max_connections_per_client": 1})
    # Connections of this machine have no limit; tests/api/test_connections.py has the others.
    assert node.node.config.server.max_connections_per_client == 1


async def _min_body_bytes_per_second(node: Reloadable) -> None:
    await node.reload(server={"min_body_bytes_per_second": 123})
    assert node.node.config.server.min_body_bytes_per_second == 123


async def _openai(node: Reloadable) -> None:
    await node.reload(containers=[{**node.document["containers"][0], "models": ["small"]}])
    assert (await node.get("/v1/models")).status == 200
    await node.reload(server={"openai": False})
    assert (await node.get("/v1/models")).status == 404


async def _docker(node: Reloadable) -> None:
    await node.reload(docker={"username": "someone", "password": "secret"})
    assert node.node.config.docker.username == "someone"


async def _containers(node: Reloadable) -> None:
    assert (await node.post("/api/jobs", {"containers": ["new"], "data": {}})).status == 405
    echo = node.document["containers"][0]
    await node.reload(containers=[echo, {**echo, "id": "new"}])
    assert (await node.finished(await node.job(["new"])))["status"] == "success"


async def _min_free_bytes(node: Reloadable) -> None:
    await node.job()
    await node.reload(storage={"min_free_bytes": 2**60})
    await eventually(lambda: node.parts.store.refusal, timeout=15)
    assert (await node.post("/api/jobs", {"containers": ["echo"], "data": {}})).status == 503


async def _max_bytes(node: Reloadable) -> None:
    await node.reload(storage={"max_bytes": 2**20})
    assert node.parts.store.answers.max_bytes == 2**17
    for _ in range(4):
        await node.job(data={"text": "x" * 2**19, "hold": True})
    await eventually(lambda: "max_bytes" in node.parts.store.refusal, timeout=15)


async def _max_pending(node: Reloadable) -> None:
    await node.job(data={"hold": True})
    await node.reload(jobs={"max_pending": 1})
    reply = await node.post("/api/jobs", {"containers": ["echo"], "data": {}})
    assert (reply.status, reply.body["params"]["limit"]) == (503, 1)
    report = {"id": "external", "status": "running", "containers": []}
    assert (await node.put("/api/status", report)).status == 200
    assert (await node.put("/api/status", report | {"id": "b"})).status == 503


async def _retention(node: Reloadable) -> None:
    job = await node.job()
    await node.finished(job)
    await asyncio.sleep(0.1)
    await node.reload(jobs={"retention": 0.05})
    async with asyncio.timeout(25):
        while (await node.get(f"/api/jobs/{job}")).status == 200:
            await asyncio.sleep(0.2)


async def _on_restart(node: Reloadable) -> None:
    await node.reload(jobs={"on_restart": "fail"})
    assert await _after_an_interruption(node) == (
        "The container was restarted while the job was running"
    )


async def _max_attempts(node: Reloadable) -> None:
    await node.reload(jobs={"max_attempts": 1})
    assert await _after_an_interruption(node) == (
        "The container was restarted while the job was running, 1 times"
    )


async def _after_an_interruption(node: Reloadable) -> str:
    """The error of a job whose call breaks because the node stops the container."""
    service, echo = node.node.services["echo"], node.echo
    job = await node.job(data={"hold": True, "break": True})
    await eventually(lambda: service.in_call == 1)
    service.interrupt()
    echo.broken.set()
    result = await node.finished(job)
    return str(result["result"]["error"])


async def _keep_inputs(node: Reloadable) -> None:
    before = await node.job()
    await node.finished(before)
    assert (await node.get(f"/api/jobs/{before}/input")).status == 404
    await node.reload(jobs={"keep_inputs": "all"})
    kept = await node.job()
    await node.finished(kept)
    assert (await node.get(f"/api/jobs/{kept}/input")).status == 200


CHECKS: dict[str, Check] = {
    "server.rate_limit": _rate_limit,
    "server.max_connections_per_client": _max_connections_per_client,
    "server.min_body_bytes_per_second": _min_body_bytes_per_second,
    "server.trusted_proxies": _trusted_proxies,
    "server.allowed_hosts": _allowed_hosts,
    "server.allowed_origins": _allowed_origins,
    "server.tokens": _tokens,
    "server.openai": _openai,
    "docker": _docker,
    "containers": _containers,
    "storage.min_free_bytes": _min_free_bytes,
    "storage.max_bytes": _max_bytes,
    "jobs.max_pending": _max_pending,
    "jobs.retention": _retention,
    "jobs.on_restart": _on_restart,
    "jobs.max_attempts": _max_attempts,
    "jobs.keep_inputs": _keep_inputs,
}


def test_each_key_is_checked() -> None:
    elsewhere = {"server.tls.cert", "server.tls.key"}  # test_certificates
    elsewhere |= {"max_running"}  # tests/containers/sleeping/test_control.py
    assert CHECKS.keys() | elsewhere == RELOADED


@pytest.mark.parametrize("key", sorted(CHECKS))
async def test_each_key_is_applied(tmp_path: Path, key: str) -> None:
    echo = Breakable()
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with reloadable(tmp_path, document) as node:
            node.echo = echo
            await CHECKS[key](node)
            echo.release()


async def test_backups_keep_the_new_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_AFTER_START", 1.0)
    (tmp_path / "out").mkdir()
    document = {"backup": {"path": str(tmp_path / "out")}, "containers": []}
    async with reloadable(tmp_path, document) as node:
        backups = node.parts.backups
        assert backups is not None
        await node.reload(storage={"min_free_bytes": 2**60})
        async with operator(node) as client:
            copy = await client.get("/database")
        assert b"error" in copy.body
        assert b"free" in copy.body
        await eventually(lambda: backups.problem)
        assert list((tmp_path / "out").glob("*.tar")) == []
