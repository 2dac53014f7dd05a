"""Disks that are full, nearly full or read-only while the node runs."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.storage.pages import PAGE_BYTES
from tests.benchmarks.usage import counters
from tests.support.client import Api, Reply, eventually
from tests.support.disks import immutable, no_more_than, small_disk
from tests.support.echo import EchoService
from tests.support.hurried import hurried, with_values
from tests.support.node import NodeProcess
from tests.support.scripted import Gate, ScriptedService

MIB = 2**20
FILE = "infernet-edge.sqlite"


def configuration(service: ScriptedService, echo: EchoService, **more: Any) -> dict[str, Any]:
    containers = [
        {"id": "gate", "url": service.url, "max_concurrency": 4},
        {"id": "echo", "url": echo.url},
    ]
    return {"containers": containers, **more}


def check_unavailable(reply: Reply) -> None:
    assert reply.status == 503, reply
    assert reply.error
    assert int(reply.headers["retry-after"]) > 0


Trouble = Callable[[NodeProcess], AbstractContextManager[None]]


@contextlib.contextmanager
def disk_full(node: NodeProcess) -> Iterator[None]:
    """A disk without one free byte; needs the data on a small disk, see `on_small_disk`."""
    ballast = node.data_path / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def no_file_grows(node: NodeProcess) -> Iterator[None]:
    """To the node it is as on a full disk: what is there can be written over, not more."""
    largest = max(path.stat().st_size for path in node.data_path.iterdir())
    with no_more_than(node.pid, largest):
        yield


@contextlib.contextmanager
def no_write_at_all(node: NodeProcess) -> Iterator[None]:
    """As on a disk that the kernel made read-only after an error; the log is not written either."""
    with no_more_than(node.pid, 0):
        yield


@contextlib.contextmanager
def files_read_only(node: NodeProcess) -> Iterator[None]:
    """Not the index in shared memory: the kernel kills whoever writes there and may not."""
    with immutable(node.data_path / FILE, node.data_path / f"{FILE}-wal"):
        yield


TROUBLES: list[Trouble] = [disk_full, no_file_grows, no_write_at_all, files_read_only]


@contextlib.contextmanager
def on_small_disk(folder: Path, trouble: Trouble) -> Iterator[None]:
    """A disk of its own under a node's data, where the trouble needs one."""
    if trouble is not disk_full:
        yield
        return
    with small_disk(folder / "data", 24 * MIB):
        yield


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_disk_that_takes_nothing_loses_nothing(
    echo: EchoService, tmp_path: Path, trouble: Trouble
) -> None:
    gate = Gate()
    with (
        ScriptedService(gate) as service,
        on_small_disk(tmp_path, trouble),
        NodeProcess(configuration(service, echo), tmp_path, command=hurried()) as node,
    ):
        api = Api(node.port)
        finished = api.submit("echo", {"n": 1})
        [before] = api.finished([finished])
        held = [api.submit("gate", {"n": number}) for number in range(8)]
        service.wait_for_calls(4)
        with trouble(node):
            eventually(lambda: _full(api, held))
            check_unavailable(api.post({"containers": ["echo"], "data": {}}))
            check_unavailable(api.post({"containers": ["echo"], "data": {}}, "/api/jobs/stream"))
            check_unavailable(api.post([{"containers": ["echo"], "data": {}}], "/api/jobs/batch"))
            report = {"id": "outside", "status": "running", "containers": []}
            check_unavailable(api.request("PUT", "/api/status", report))
            assert api.health() == "unhealthy"
            # What is there can be read, and what is wrong is still told.
            assert api.results([finished]) == [before]
            assert api.get("/info").status == 200
            assert api.post(b"nonsense").status == 400
            assert api.post({"containers": ["nobody"], "data": {}}).status == 405
            # Outcomes that cannot be written are not thrown away.
            gate.opened.set()
            service.wait_for_calls(8)
            assert set(held[:8]) <= set(api.running())
        eventually(lambda: api.health() == "healthy")
        results = api.finished(held)
        assert {each["status"] for each in results} == {"success"}
        assert api.finished([api.submit("echo")])[0]["status"] == "success"
        # No job of this container ran twice for that.
        assert len(service.calls) == len(held)
        listed = api.get("/api/jobs").json
        node.kill()
        node.start()
        assert api.get("/api/jobs").json == listed
        assert api.finished(held) == results
        assert "Traceback" not in node.log()


def _refused(api: Api, accepted: list[str], text: str = "x" * 100_000) -> bool:
    """Send a job that takes some room; one that is accepted all the same counts like others."""
    reply = api.post({"containers": ["gate"], "data": {"text": text}})
    if reply.status == 200:
        accepted.append(reply.json["id"])
        return False
    check_unavailable(reply)
    return True


def _full(api: Api, accepted: list[str]) -> bool:
    """The same, and nothing smaller is accepted either, for which the log may have space."""
    report = {"id": f"fills {len(accepted)}", "status": "running", "containers": []}
    return (
        _refused(api, accepted)
        and _refused(api, accepted, "")
        and api.request("PUT", "/api/status", report).status == 503
    )


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_stop_while_the_disk_takes_nothing_is_bounded_and_loses_nothing(
    echo: EchoService, tmp_path: Path, trouble: Trouble
) -> None:
    gate = Gate()
    with (
        ScriptedService(gate) as service,
        on_small_disk(tmp_path, trouble),
        NodeProcess(configuration(service, echo), tmp_path, command=hurried()) as node,
    ):
        api = Api(node.port)
        held = [api.submit("gate", {"n": number}) for number in range(6)]
        service.wait_for_calls(4)
        with trouble(node):
            eventually(lambda: _full(api, held))
            gate.opened.set()
            assert node.stop(timeout=20) in (0, 1)
        assert "Traceback" not in node.log()
        node.start()
        assert {each["status"] for each in api.finished(held)} == {"success"}


@pytest.mark.parametrize("trouble", [no_file_grows, no_write_at_all, files_read_only])
def test_a_stop_with_jobs_in_containers_and_a_disk_that_takes_nothing_is_clean(
    echo: EchoService, tmp_path: Path, trouble: Trouble
) -> None:
    gate = Gate()
    with (
        ScriptedService(gate) as service,
        NodeProcess(configuration(service, echo), tmp_path, command=hurried()) as node,
    ):
        api = Api(node.port)
        held = [api.submit("gate", {"n": number}) for number in range(6)]
        service.wait_for_calls(4)
        eventually(lambda: _starts_stored(node) == 4)  # a stop wants to take them back
        with trouble(node):
            eventually(lambda: _full(api, held))
            if trouble is not no_file_grows:
                eventually(lambda: api.health() == "unhealthy")
            assert node.stop(timeout=20) == 0
        assert "node.stopped" in node.log() or trouble is no_write_at_all
        assert "Traceback" not in node.log()
        gate.opened.set()
        node.start()
        assert {each["status"] for each in api.finished(held)} == {"success"}


def _starts_stored(node: NodeProcess) -> int:
    path = f"file:{node.data_path / FILE}?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as connection:
        (starts,) = connection.execute("SELECT total(attempts) FROM jobs").fetchone()
    return int(starts)


def test_a_start_on_a_full_disk_says_why_or_serves_what_it_can(
    echo: EchoService, tmp_path: Path
) -> None:
    gate = Gate()
    gate.opened.set()
    with ScriptedService(gate) as service, on_small_disk(tmp_path, disk_full):
        node = NodeProcess(configuration(service, echo), tmp_path, command=hurried())
        with node:
            api = Api(node.port)
            identifiers = [api.submit("echo", {"n": number}) for number in range(20)]
            node.kill()
        with disk_full(node):
            node.launch()
            eventually(lambda: not node.running or node.answers())
            if node.running:
                eventually(lambda: _full(api, identifiers))
                assert api.health() == "unhealthy"
                node.stop()
            else:
                assert node.exit_code() == 1
                assert re.search("no space|needs? space|has space|is full", node.log())
        assert "Traceback" not in node.log()
        assert "corrupt" not in node.log()
        with node:
            assert {each["status"] for each in api.finished(identifiers)} == {"success"}


def test_a_disk_that_fills_again_and_again_loses_nothing(echo: EchoService, tmp_path: Path) -> None:
    gate = Gate()
    acknowledged: list[str] = []
    refused = 0
    ended = threading.Event()

    def client(api: Api) -> None:
        nonlocal refused
        while not ended.is_set():
            reply = api.post({"containers": ["echo"], "data": {"text": "x" * 5000}})
            if reply.status == 200:
                acknowledged.append(reply.json["id"])
            else:
                check_unavailable(reply)
                refused += 1

    with (
        ScriptedService(gate) as service,
        NodeProcess(configuration(service, echo), tmp_path, command=hurried()) as node,
    ):
        api = Api(node.port)
        threads = [threading.Thread(target=client, args=(api,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for round_ in range(3):
            wait_for(20, lambda: len(acknowledged))
            with no_write_at_all(node) if round_ % 2 else no_file_grows(node):
                wait_for(50, lambda: refused)
        ended.set()
        for thread in threads:
            thread.join(60)
        results = api.finished(acknowledged)
        assert {each["status"] for each in results} == {"success"}
        # What was refused was not stored in secret, either.
        assert sorted(api.get("/api/jobs").json) == sorted(acknowledged)


def wait_for(more: int, count: Callable[[], int]) -> None:
    """Wait until a count has grown by so many."""
    before = count()
    eventually(lambda: count() >= before + more)


# Bounds.


def test_with_less_than_min_free_bytes_new_jobs_are_refused(
    echo: EchoService, tmp_path: Path
) -> None:
    with ScriptedService(Gate()) as service:
        config = configuration(service, echo, storage={"min_free_bytes": 2**60})
        with NodeProcess(config, tmp_path) as node:
            api = Api(node.port)
            for path in ("/api/jobs", "/api/jobs/stream"):
                reply = api.post({"containers": ["echo"], "data": {}}, path)
                check_unavailable(reply)
                assert "min_free_bytes" in reply.error
            assert api.health() == "unhealthy"
            assert api.get("/api/jobs").json == []


def test_min_free_bytes_is_kept_and_room_is_noticed(echo: EchoService, tmp_path: Path) -> None:
    gate = Gate()
    with ScriptedService(gate) as service, small_disk(tmp_path / "data", 24 * MIB):
        config = configuration(service, echo, storage={"min_free_bytes": 8 * MIB})
        with NodeProcess(config, tmp_path, command=hurried()) as node:
            api = Api(node.port)
            kept = api.submit("echo")
            held = api.submit("gate")
            api.finished([kept])
            ballast = tmp_path / "data" / "ballast"
            ballast.write_bytes(b"x" * 18 * MIB)
            eventually(lambda: api.health() == "unhealthy")
            check_unavailable(api.post({"containers": ["echo"], "data": {}}))
            gate.opened.set()  # what was accepted goes on
            assert api.finished([held])[0]["status"] == "success"
            # The node's own jobs are not what fills the disk: they stay.
            assert len(api.results([kept, held])) == 2
            ballast.unlink()
            eventually(lambda: api.health() == "healthy")
            assert api.finished([api.submit("echo")])[0]["status"] == "success"


def test_over_max_bytes_the_oldest_finished_jobs_go_first(
    echo: EchoService, tmp_path: Path
) -> None:
    gate = Gate()
    limit = 2 * MIB
    text = "x" * 8000
    with ScriptedService(gate) as service:
        config = configuration(service, echo, storage={"max_bytes": limit})
        with NodeProcess(config, tmp_path, command=hurried()) as node:
            api = Api(node.port)
            unfinished = api.submit("gate", {"first": True})
            accepted: list[str] = []

            def sent() -> bool:
                batch = [{"containers": ["echo"], "data": {"text": text}}] * 25
                reply = api.post(batch, "/api/jobs/batch")
                if reply.status == 200:
                    accepted.extend(each["id"] for each in reply.json)
                else:
                    check_unavailable(reply)
                    assert "max_bytes" in reply.error
                return len(accepted) == 500

            eventually(sent, within=60)
            eventually(lambda: api.running() == [unfinished])
            eventually(lambda: len(api.results(accepted)) < 300)
            eventually(lambda: (node.data_path / FILE).stat().st_size < limit + MIB)
            eventually(lambda: api.health() == "healthy")
            assert api.running() == [unfinished]  # the oldest of all, but not finished
            gate.opened.set()
            eventually(lambda: api.running() == [])
            # From now on it may go too, when it took the storage over the limit once more.
            known = [each for each in api.get("/api/jobs").json if each != unfinished]
            assert len(known) > 100
            # The newest; those that ran at the same time ended in any order.
            assert set(accepted[25 - len(known) :]) <= set(known)
            assert known == [each for each in accepted if each in known]


def test_unfinished_jobs_over_max_bytes_are_kept_and_new_ones_refused(
    echo: EchoService, tmp_path: Path
) -> None:
    gate = Gate()
    with ScriptedService(gate) as service:
        config = configuration(service, echo, storage={"max_bytes": MIB})
        with NodeProcess(config, tmp_path, command=hurried()) as node:
            api = Api(node.port)
            held: list[str] = []
            eventually(lambda: _refused(api, held))
            assert len(held) > 5
            assert api.health() == "unhealthy"
            gate.opened.set()
            eventually(lambda: not set(api.running()) & set(held))
            # Those that ended first may have made room for the others' results.
            assert {each["status"] for each in api.results(held)} <= {"success"}


def test_a_node_that_has_nothing_to_do_writes_nothing(tmp_path: Path) -> None:
    """An SD card wears out by writes."""
    with NodeProcess({"containers": []}, tmp_path, command=hurried()) as node:
        eventually(lambda: "node.ready" in node.log())

        def written() -> tuple[int, dict[Path, tuple[int, int]]]:
            """Bytes that are to be written, and size and time of each file."""
            files = {path: path.stat() for path in node.data_path.rglob("*")}
            changes = {path: (at.st_size, at.st_mtime_ns) for path, at in files.items()}
            return counters(node.pid).disk, changes

        before = written()
        time.sleep(0.35)  # three looks of the housekeeper
        assert written() == before


def test_finished_jobs_go_after_their_retention(echo: EchoService, tmp_path: Path) -> None:
    gate = Gate()
    with ScriptedService(gate) as service:
        config = configuration(service, echo, jobs={"retention": 1.0})
        with NodeProcess(config, tmp_path, command=hurried()) as node:
            api = Api(node.port)
            held = api.submit("gate")
            identifiers = [api.submit("echo") for _ in range(20)]
            eventually(lambda: api.running() == [held])
            eventually(lambda: api.get("/api/jobs").json == [held])
            assert api.results(identifiers) == []
            gate.opened.set()
            eventually(lambda: api.get("/api/jobs").json == [])


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_goes_away_under_the_node_is_noticed(
    echo: EchoService, tmp_path: Path, suffix: str, replaced: bool
) -> None:
    """What is written into a deleted file is gone with the node: nothing is acknowledged then."""
    containers = {"containers": [{"id": "echo", "url": echo.url}]}
    with NodeProcess(containers, tmp_path, command=hurried()) as node:
        api = Api(node.port)
        kept = api.finished([api.submit("echo", {"n": 1})])
        file = node.data_path / f"infernet-edge.sqlite{suffix}"
        saved = tmp_path / "saved"
        os.link(file, saved)
        file.unlink()
        if replaced:
            shutil.copy(saved, file)
        eventually(lambda: api.health() == "unhealthy")
        reply = api.post({"containers": ["echo"], "data": {}})
        assert reply.status == 503
        assert "storage.failed" in node.log()
        assert ("replaced" if replaced else "deleted") in node.log()
        assert api.get("/info").status == 200
        # As its message says: put the right file there and restart the node.
        node.kill()
        saved.replace(file)
        node.start()
        assert api.results([each["id"] for each in kept]) == kept
        assert api.health() == "healthy"
        assert "Traceback" not in node.log()


def test_damage_that_is_read_later_makes_a_new_file(echo: EchoService, tmp_path: Path) -> None:
    """Of a large file, which is not checked at start, the node reads only what it needs."""
    containers = {"containers": [{"id": "echo", "url": echo.url}]}
    command = with_values({"storage.database._MAX_CHECKED": -1, "cli.run._MIN_RUN": 0})
    with NodeProcess(containers, tmp_path, command=command) as node:
        api = Api(node.port)
        jobs = api.finished([api.submit("echo", {"text": "x" * 500}) for _ in range(100)])
        for number in (1, 2):
            node.stop()
            destroy_page_of(uuid.UUID(jobs[len(jobs) // 2]["id"]).bytes, node.data_path / FILE)
            node.start()
            assert api.health() == "healthy"
            # Each reading of what is damaged is an error until the new file is there.
            with contextlib.suppress(OSError, http.client.HTTPException):
                reply = api.get("/api/jobs?" + "&".join(f"id={job['id']}" for job in jobs))
                assert reply.status in (200, 503), reply
            wanted = 2 * number + 1
            eventually(partial(has_started, node, wanted))
            assert api.health() == "healthy"
            jobs = api.results([job["id"] for job in jobs])
            assert {job["status"] for job in jobs} == {"success"}
        assert 50 < len(jobs) < 100
        assert len(list(node.data_path.glob("*.corrupt-*"))) == 2
        assert not list(node.data_path.glob("*.damaged"))
        assert api.finished([api.submit("echo", {})])


def has_started(node: NodeProcess, times: int) -> bool:
    return node.log().count("node.started") == times


def destroy_page_of(job: bytes, path: Path) -> None:
    """Destroy the page of the table in which a finished job stands."""
    whole = path.read_bytes()
    for place in range(0, len(whole), PAGE_BYTES):
        if job in (page := whole[place : place + PAGE_BYTES]) and b'"output"' in page:
            with path.open("r+b") as file:
                file.seek(place)
                file.write(b"\xa5" * 64)  # its header


def test_an_index_that_shrinks_ends_the_node_with_its_reason(
    echo: EchoService, tmp_path: Path
) -> None:
    """The system ends a program that reads what is no longer there; systemd starts it again."""
    containers = {"containers": [{"id": "echo", "url": echo.url}]}
    with NodeProcess(containers, tmp_path) as node:
        api = Api(node.port)
        kept = api.finished([api.submit("echo", {"n": number}) for number in range(20)])
        os.truncate(node.data_path / "infernet-edge.sqlite-shm", 0)
        with contextlib.suppress(OSError, http.client.HTTPException):
            api.post({"containers": ["echo"], "data": {}})
        assert node.exit_code() == -signal.SIGBUS
        assert "Bus error" in node.log()
        assert "storage/threads.py" in node.log()
        node.start()
        assert api.results([each["id"] for each in kept]) == kept
