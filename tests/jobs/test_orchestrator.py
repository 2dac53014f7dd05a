"""Jobs through their containers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.errors import StorageError, TooLargeToStore
from infernet_edge.jobs import contents, table
from infernet_edge.jobs import orchestrator as orchestrator_module
from infernet_edge.jobs.contents import PIECE, Input
from infernet_edge.jobs.job import FAILED, Job
from infernet_edge.jobs.running import starts
from infernet_edge.jobs.store import ContentGone
from infernet_edge.jobs.table import Ending
from infernet_edge.memory import Reservation
from tests.support.breaking import read_only
from tests.support.managing import eventually
from tests.support.parts import CLIENT, Parts, attempts_of, made, outcome, result, submit, working
from tests.support.serving import Echo, read_request, serving, talking

HOLD = {"hold": True}


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    yield (made_echo := Echo())
    made_echo.release()


@pytest.fixture
async def document(echo: Echo) -> AsyncIterator[dict[str, Any]]:
    async with serving(echo) as url:
        yield {
            "containers": [
                {"id": "echo", "url": url, "max_concurrency": 2},
                {"id": "b", "url": f"{url}/b", "max_concurrency": 1},
                {"id": "c", "url": f"{url}/c"},
            ]
        }


@pytest.fixture
async def parts(tmp_path: Path, document: dict[str, Any], echo: Echo) -> AsyncIterator[Parts]:
    async with working(tmp_path, document) as working_parts:
        yield working_parts
        echo.release()


def numbers(echo: Echo) -> list[int]:
    """The order in which jobs came to the containers."""
    return [call["data"]["n"] for call in echo.calls]


async def test_a_container_has_only_so_many_jobs_at_a_time(parts: Parts, echo: Echo) -> None:
    jobs = [await submit(parts, data=HOLD | {"n": number}) for number in range(10)]
    await eventually(lambda: echo.open == 2)
    await asyncio.sleep(0.05)
    assert echo.open == 2
    echo.release()
    for job in jobs:
        assert (await outcome(parts, job))["status"] == "success"
    assert echo.most_open == 2
    assert numbers(echo)[:2] == [0, 1]
    assert sorted(numbers(echo)) == list(range(10))


async def test_first_come_first_served(parts: Parts, echo: Echo) -> None:
    jobs = [await submit(parts, ["b"], {"n": number}) for number in range(20)]
    for job in jobs:
        await outcome(parts, job)
    assert numbers(echo) == list(range(20))


async def test_a_busy_container_does_not_hold_up_others(parts: Parts, echo: Echo) -> None:
    held = [await submit(parts, ["b"], HOLD) for _ in range(5)]
    free = await submit(parts, ["c"])
    assert (await outcome(parts, free))["status"] == "success"
    assert (await result(parts, held[0]))["status"] == "running"


async def test_a_chain_releases_its_slot_between_two_containers(parts: Parts) -> None:
    jobs = [await submit(parts, ["b", "c", "b"], {"n": number}) for number in range(5)]
    for number, job in enumerate(jobs):
        found = await outcome(parts, job)
        assert found["status"] == "success"
        assert found["result"]["container"] == "b"
        between = found["intermediate_results"]
        assert [step["container"] for step in between] == ["b", "c"]
        assert between[0]["output"]["output"] == {"n": number}


async def test_a_chain_that_fails_keeps_the_outputs_before(tmp_path: Path) -> None:
    async def picky(request: web.Request) -> web.Response:
        if request.path.startswith("/broken"):
            return web.Response(status=500, text="boom")
        return web.json_response({"fine": True})

    async with serving(picky) as url:
        document = {
            "containers": [
                {"id": "a", "url": url},
                {"id": "broken", "url": f"{url}/broken"},
            ]
        }
        async with working(tmp_path, document) as parts:
            found = await outcome(parts, await submit(parts, ["a", "a", "broken", "a"]))
            assert found["status"] == "failed"
            assert found["result"] == {"container": "broken", "error": "boom"}
            assert found["intermediate_results"] == [
                {"container": "a", "output": {"fine": True}},
                {"container": "a", "output": {"fine": True}},
            ]


async def test_a_managed_container_is_waited_for(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    url = document["containers"][0]["url"]
    managed = {
        "manage_containers": True,
        "containers": [{"id": "echo", "image": "x"}, {"id": "bad", "image": "y"}],
    }
    async with working(tmp_path, managed) as parts:
        for service in parts.services.values():
            service.base_url = url
        waiting = await submit(parts)
        doomed = await submit(parts, ["bad"])
        await asyncio.sleep(0.05)
        assert echo.calls == []
        parts.services["echo"].set_ready()
        parts.services["bad"].set_failed("no such image")
        assert (await outcome(parts, waiting))["status"] == "success"
        error = (await outcome(parts, doomed))["result"]["error"]
        assert error == "Container is not running: no such image"
        late = await submit(parts, ["bad"])  # fails at once
        assert (await outcome(parts, late))["result"]["error"] == error
        assert len(echo.calls) == 1


async def test_a_container_that_takes_too_long(tmp_path: Path) -> None:
    echo = Echo()
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url, "timeout": 0.1}]}
        async with working(tmp_path, document) as parts:
            found = await outcome(parts, await submit(parts, data=HOLD))
            assert found["result"]["error"] == "Container did not answer within 0.1 s"
            await eventually(lambda: echo.left == 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-type: text/h\xfftml\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 500 \xff\xfe Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 404 \xe2\x80\xa8forged\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 500 Bad\r\ncontent-length: 3\r\n\r\n\xed\xa0\x80",
    ],
)
async def test_odd_text_of_a_container_fails_its_job_and_releases_its_slot(
    tmp_path: Path, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [answer] * 3 + [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head, _, body = answers.pop(0).partition(b"\r\n\r\n")
        writer.write(head + b"\r\nconnection: close\r\n\r\n" + body)
        await writer.drain()

    async with talking(talk) as url:
        document = {"containers": [{"id": "echo", "url": url, "max_concurrency": 1}]}
        async with working(tmp_path, document) as parts:
            jobs = [await submit(parts) for _ in range(4)]
            ends = [(await outcome(parts, job))["status"] for job in jobs]
    assert ends == ["failed"] * 3 + ["success"]
    assert "job.crashed" not in caplog.text


async def test_an_internal_error_fails_its_job_and_releases_its_slot(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*arguments: Any, **_: Any) -> Any:
        raise ZeroDivisionError("ours")

    with monkeypatch.context() as patch:
        patch.setattr(parts.client, "call", broken)
        for _ in range(3):
            found = await outcome(parts, await submit(parts, ["b"]))
            assert found["status"] == "failed"
            assert "log" in found["result"]["error"]
            assert "ZeroDivisionError" not in found["result"]["error"]
    assert "ZeroDivisionError: ours" in caplog.text
    assert (await outcome(parts, await submit(parts, ["b"])))["status"] == "success"


async def test_many_outcomes_that_cannot_be_written_slow_the_node_down(
    parts: Parts, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept in memory, so there must not be more and more of them."""
    monkeypatch.setattr(orchestrator_module, "_MAX_UNSAVED", 3)
    monkeypatch.setattr(orchestrator_module, "_SAVE_RETRY", 0.05)
    jobs = [await submit(parts, ["b"], HOLD | {"n": number}) for number in range(10)]
    await eventually(lambda: echo.open == 1)
    with read_only(parts.database):
        echo.release()
        await eventually(lambda: len(echo.calls) == 3)
        await asyncio.sleep(0.2)
        assert len(echo.calls) == 3
        assert (await result(parts, jobs[0]))["status"] == "running"
    for job in jobs:
        assert (await outcome(parts, job))["status"] == "success"
    assert numbers(echo) == list(range(10))  # and none ran twice


async def test_a_long_input_in_memory_is_not_read_from_the_disk(
    parts: Parts, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object) -> None:
        raise StorageError("it was read")

    monkeypatch.setattr(contents, "read_several", unexpected)
    monkeypatch.setattr(table, "input_of", unexpected)
    job = await submit(parts, ["b"], {"x": "y" * 300_000})
    await eventually(lambda: not parts.store.pending)
    assert echo.calls[-1]["data"] == {"x": "y" * 300_000}
    await eventually(lambda: parts.memory.total == 0)
    monkeypatch.undo()
    assert (await result(parts, job))["status"] == "success"


async def test_an_input_that_cannot_be_read_is_read_later(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestrator_module, "_SAVE_RETRY", 0.05)
    real, failures = parts.store.take_data, 2

    async def unreliable(job: Job, memory: Reservation) -> Input:
        nonlocal failures
        if failures:
            failures -= 1
            raise StorageError("disk I/O error")
        return await real(job, memory)

    monkeypatch.setattr(parts.store, "take_data", unreliable)
    found = await outcome(parts, await submit(parts, ["b"], {"n": 1}))
    assert found["result"]["output"]["output"] == {"n": 1}


async def compute(parts: Parts, *containers: str, data: bytes = b"{}") -> bytes | bytearray:
    with parts.orchestrator.computing.reserve() as memory:
        return await parts.orchestrator.computing.compute(
            containers, data, memory, source=0, destination=0, requires_proof=True
        )


async def test_compute_hands_over_off_chain_between_containers(parts: Parts, echo: Echo) -> None:
    answer = await compute(parts, "echo", "c", "b", data=b'"00ff"')
    assert answer.endswith(b'"by": "/b"}')
    ends = [(call["source"], call["destination"]) for call in echo.calls]
    assert ends == [(0, 1), (1, 1), (1, 0)]
    assert all(call["requires_proof"] is True for call in echo.calls)
    assert echo.calls[0]["data"] == "00ff"
    await compute(parts, "b")
    assert (echo.calls[3]["source"], echo.calls[3]["destination"]) == (0, 0)
    assert await parts.store.newest(10) == []  # the caller stores the outcome


@pytest.mark.parametrize("padding", [0, PIECE])
async def test_numbers_that_json_does_not_have_are_null_in_results(
    tmp_path: Path, padding: int
) -> None:
    """Short and long ones; on chain nodes must agree, so there the answer is the original."""
    written = b'{"a": [NaN, -Infinity, "NaN"], "b": "%b"}' % (b"x" * padding)
    seen: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.Response(body=written)

    async with serving(answer) as url:
        containers = [{"id": name, "url": url} for name in ("one", "two")]
        async with working(tmp_path, {"containers": containers}) as parts:
            found = await outcome(parts, await submit(parts, ["one", "two"], {}))
            expected = {"a": [None, None, "NaN"], "b": "x" * padding}
            assert found["result"]["output"] == expected
            assert b'"data":{"a": [null, null, "NaN"]' in seen[1]
            assert await compute(parts, "one", "two") == written
            assert b'"data":{"a": [NaN, -Infinity, "NaN"]' in seen[3]


async def test_compute_waits_in_the_queue_with_jobs(parts: Parts, echo: Echo) -> None:
    first = await submit(parts, ["b"], HOLD | {"n": 0})
    await eventually(lambda: echo.open == 1)
    computing = asyncio.create_task(compute(parts, "b", data=b'{"n":1}'))
    await asyncio.sleep(0)
    last = await submit(parts, ["b"], {"n": 2})
    echo.release()
    await computing
    for job in (first, last):
        await outcome(parts, job)
    assert numbers(echo) == [0, 1, 2]
    assert echo.most_open == 1


async def test_compute_that_fails_or_is_cancelled_releases_its_slot(
    parts: Parts, echo: Echo
) -> None:
    with pytest.raises(ContainerFailure):
        await compute(parts, "b", data=b'{"status":500}')
    for _ in range(2):
        working_one = asyncio.create_task(compute(parts, "b", data=b'{"hold":true}'))
        await eventually(lambda: echo.open == 1)
        waiting_one = asyncio.create_task(compute(parts, "b"))
        await asyncio.sleep(0.01)
        for task in (waiting_one, working_one):
            task.cancel()
        await asyncio.gather(working_one, waiting_one, return_exceptions=True)
        await eventually(lambda: echo.open == 0)
    assert (await outcome(parts, await submit(parts, ["b"])))["status"] == "success"


async def interrupted(
    tmp_path: Path,
    document: dict[str, Any],
    echo: Echo,
    data: dict[str, Any],
    *,
    kill: bool = True,
    containers: tuple[str, ...] = ("b",),
) -> str:
    """A job that was in its container, its start on the disk, when the node ended."""
    async with working(tmp_path, document, stop=not kill) as parts:
        before = len(echo.calls)
        job = await submit(parts, containers, data)
        await eventually(lambda: len(echo.calls) > before)
        await _on_disk(parts, job)
    await eventually(lambda: echo.open == 0)
    return job.id


async def _on_disk(parts: Parts, job: Job) -> None:
    async with asyncio.timeout(20):
        while await attempts_of(parts, job) < job.attempts:
            await asyncio.sleep(0.01)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrator_module, "_GRACE", 0.05)
    monkeypatch.setattr(starts, "_STORE_AFTER", 0.01)


@pytest.mark.usefixtures("hasty")
async def test_jobs_are_resumed_after_a_kill(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    """The one that was in its container, and those that waited for it."""
    async with working(tmp_path, document, stop=False) as parts:
        jobs = [await submit(parts, ["b"], HOLD | {"n": number}) for number in range(3)]
        await eventually(lambda: echo.open == 1)
    echo.release()
    async with working(tmp_path, document) as parts:
        assert len(parts.store.pending) == 3
        for number, job in enumerate(jobs):
            found = await outcome(parts, job.id)
            assert found["status"] == "success"
            assert found["result"]["output"]["output"]["n"] == number
    assert numbers(echo) == [0, 0, 1, 2]


@pytest.mark.usefixtures("hasty")
async def test_a_chain_starts_again_after_a_kill(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    job = await interrupted(tmp_path, document, echo, HOLD, containers=("b", "c"))
    echo.release()
    async with working(tmp_path, document) as parts:
        found = await outcome(parts, job)
        assert found["status"] == "success"
        assert len(found["intermediate_results"]) == 1


@pytest.mark.usefixtures("hasty")
async def test_a_job_that_crashes_the_node_fails_after_some_attempts(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    document["jobs"] = {"max_attempts": 2}
    job = await interrupted(tmp_path, document, echo, HOLD)
    async with working(tmp_path, document, stop=False) as parts:
        await eventually(lambda: len(echo.calls) == 2)
        (again,) = parts.store.pending.values()
        await _on_disk(parts, again)
    async with working(tmp_path, document) as parts:
        found = await outcome(parts, job)
        assert found["status"] == "failed"
        assert found["result"]["container"] == "b"
        assert found["result"]["error"].endswith("2 times")
    assert len(echo.calls) == 2


@pytest.mark.usefixtures("hasty")
async def test_a_stop_does_not_count_as_a_start(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    document["jobs"] = {"max_attempts": 1}
    job = await interrupted(tmp_path, document, echo, HOLD, kill=False)
    for _ in range(3):
        async with working(tmp_path, document) as parts:
            assert await attempts_of(parts, job) == 0
            await eventually(lambda: echo.open == 1)
        await eventually(lambda: echo.open == 0)
    echo.release()
    async with working(tmp_path, document) as parts:
        assert (await outcome(parts, job))["status"] == "success"


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("bounds", [{"on_restart": "fail"}, {"max_attempts": 1}])
async def test_only_jobs_that_reached_a_container_began(
    tmp_path: Path, document: dict[str, Any], echo: Echo, bounds: dict[str, Any]
) -> None:
    document["jobs"] = bounds
    async with working(tmp_path, document, stop=False) as parts:
        jobs = [await submit(parts, ["b"], HOLD | {"n": number}) for number in range(20)]
        await eventually(lambda: echo.open == 1)
        await _on_disk(parts, jobs[0])
    echo.release()
    async with working(tmp_path, document) as parts:
        ends = [(await outcome(parts, job.id))["status"] for job in jobs]
    assert ends == ["failed"] + ["success"] * 19
    assert numbers(echo) == list(range(20))


@pytest.mark.usefixtures("hasty")
async def test_a_stop_uncounts_one_start_of_what_it_interrupts(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    document["jobs"] = {"max_attempts": 9}
    first = await interrupted(tmp_path, document, echo, HOLD)
    async with working(tmp_path, document) as parts:
        waiting = made(parts, ["b"], HOLD, attempts=1)  # of an earlier crash
        await parts.store.add([waiting])
        parts.orchestrator.submit(waiting)
        (again,) = [job for job in parts.store.pending.values() if job.id == first]
        await eventually(lambda: echo.open == 1)
        assert again.attempts == 2
        await _on_disk(parts, again)
        await parts.orchestrator.stop()
        await parts.orchestrator.stop()
        assert [await attempts_of(parts, job) for job in (first, waiting)] == [1, 1]


@pytest.mark.usefixtures("hasty")
async def test_with_on_restart_fail_a_stop_uncounts_nothing(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    document["jobs"] = {"on_restart": "fail"}
    job = await interrupted(tmp_path, document, echo, HOLD, kill=False)
    async with working(tmp_path, document) as parts:
        assert await attempts_of(parts, job) == 1
        assert (await outcome(parts, job))["status"] == "failed"
    assert len(echo.calls) == 1


@pytest.mark.usefixtures("hasty")
async def test_a_stop_lets_jobs_in_flight_end(
    tmp_path: Path, document: dict[str, Any], echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestrator_module, "_GRACE", 20)
    async with working(tmp_path, document) as parts:
        jobs = [await submit(parts, ["b"], HOLD | {"n": number}) for number in range(2)]
        await eventually(lambda: echo.open == 1)
        stopping = asyncio.create_task(parts.orchestrator.stop())
        await asyncio.sleep(0.05)
        echo.release()
        await stopping
        await parts.orchestrator.stop()
        assert (await outcome(parts, jobs[0]))["status"] == "success"
        assert (await result(parts, jobs[1]))["status"] == "running"  # it never began
    assert numbers(echo) == [0]


@pytest.mark.usefixtures("hasty")
async def test_on_restart_fail(tmp_path: Path, document: dict[str, Any], echo: Echo) -> None:
    """What may have run is not run again; what has not begun is run."""
    document["jobs"] = {"on_restart": "fail"}
    async with working(tmp_path, document, stop=False) as parts:
        jobs = [await submit(parts, ["b"], HOLD | {"n": number}) for number in range(2)]
        await eventually(lambda: echo.open == 1)
        # The start was on the disk before the container was called.
        assert await attempts_of(parts, jobs[0]) == 1
    echo.release()
    async with working(tmp_path, document) as parts:
        first, second = [await outcome(parts, job.id) for job in jobs]
        assert first["status"] == "failed"
        assert first["result"]["error"] == "The node stopped while the job was running"
        assert second["status"] == "success"
    assert numbers(echo) == [0, 1]


async def test_on_restart_fail_does_not_call_before_the_start_is_stored(
    tmp_path: Path, document: dict[str, Any], echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestrator_module, "_SAVE_RETRY", 0.02)
    document["jobs"] = {"on_restart": "fail"}
    async with working(tmp_path, document) as parts:
        job = made(parts, ["b"], {"n": 1})
        await parts.store.add([job])
        with read_only(parts.database):
            parts.orchestrator.submit(job)
            await asyncio.sleep(0.2)
            assert echo.calls == []
        assert (await outcome(parts, job))["status"] == "success"
        assert await attempts_of(parts, job) == 1


@pytest.mark.parametrize("on_restart", ["fail", "retry"])
async def test_many_jobs_on_a_disk_that_cannot_be_written_are_one_event(
    tmp_path: Path,
    document: dict[str, Any],
    echo: Echo,
    on_restart: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(orchestrator_module, "_SAVE_RETRY", 0.02)
    monkeypatch.setattr(starts, "_STORE_AFTER", 0.01)
    document["jobs"] = {"on_restart": on_restart}
    async with working(tmp_path, document) as parts:
        jobs = [made(parts, ["b"], {"n": number}) for number in range(50)]
        await parts.store.add(jobs)
        with read_only(parts.database):
            for job in jobs:
                parts.orchestrator.submit(job)
            await asyncio.sleep(0.2)  # ten tries to save
        logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert [record.getMessage() for record in logged] == ["storage.failed"]
        for job in jobs:
            found = await outcome(parts, job)
            assert found["result"]["output"]["output"] == {"n": jobs.index(job)}
    assert sorted(numbers(echo)) == list(range(50))


async def test_a_quick_job_costs_no_write_for_its_start(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[Any] = []
    real: Callable[..., Any] = parts.database.write

    def counted(function: Any, *arguments: Any) -> Any:
        writes.append(function)
        return real(function, *arguments)

    monkeypatch.setattr(parts.database, "write", counted)
    await outcome(parts, await submit(parts, ["echo", "b"]))
    assert len(writes) == 2  # its acceptance and its end


async def test_a_container_that_is_no_longer_configured(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    async with working(tmp_path, document) as parts:
        jobs = [made(parts, ["b"]), made(parts, ["c", "b"]), made(parts, ["c"])]
        await parts.store.add(jobs)
    document["containers"] = [one for one in document["containers"] if one["id"] != "b"]
    async with working(tmp_path, document) as parts:
        for job in jobs[:2]:
            found = await outcome(parts, job.id)
            assert found["status"] == "failed"
            assert found["result"] == {
                "container": job.containers[0],
                "error": "A container of the job is no longer configured",
            }
        assert (await outcome(parts, jobs[2].id))["status"] == "success"


async def test_a_stream_is_not_resumed_after_a_kill(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    """Its client is gone."""
    async with working(tmp_path, document) as parts:
        job = made(parts, ["b"], stream=True)
        await parts.store.add([job])
    async with working(tmp_path, document) as parts:
        found = await outcome(parts, job.id)
        assert found["status"] == "failed"
        assert "streaming" in found["result"]["error"]
    assert echo.calls == []


async def test_results_of_a_client_stay_its_own_over_a_restart(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    async with working(tmp_path, document) as parts:
        job = await submit(parts, ["b"], client="10.0.0.1")
        await outcome(parts, job, "10.0.0.1")
    async with working(tmp_path, document) as parts:
        assert await parts.store.results(CLIENT, [job.id], intermediate=False) == []
        assert (await outcome(parts, job.id, "10.0.0.1"))["status"] == "success"


LARGE = [PIECE - 100, PIECE, PIECE + 1, 3 * PIECE, 1_000_000]


@pytest.mark.parametrize("size", LARGE)
async def test_a_chain_of_large_outputs(parts: Parts, echo: Echo, size: int) -> None:
    """Inputs, outputs and results that do not fit into a row."""
    text = {"text": "x" * size}
    found = await outcome(parts, await submit(parts, ["echo", "b", "c"], text))
    assert found["status"] == "success"
    first, second = found["intermediate_results"]
    assert first == {"container": "echo", "output": {"output": text, "by": ""}}
    assert second["container"] == "b"
    assert second["output"]["output"] == first["output"]
    assert found["result"]["output"]["output"] == second["output"]
    assert [call["data"] for call in echo.calls] == [text, first["output"], second["output"]]
    await eventually(lambda: parts.memory.total == 0)


async def test_outputs_of_one_job_have_a_limit_together(tmp_path: Path, echo: Echo) -> None:
    async with serving(echo) as url:
        document = {
            "containers": [{"id": "echo", "url": url}],
            "server": {"max_body_bytes": 4 * PIECE},
        }
        async with working(tmp_path, document) as parts:
            found = await outcome(
                parts, await submit(parts, ["echo"] * 20, {"text": "x" * 3 * PIECE})
            )
            assert found["status"] == "failed"
            assert f"larger than {16 * PIECE} bytes together" in found["result"]["error"]
            assert len(found["intermediate_results"]) == 5
            await eventually(lambda: parts.memory.total == 0)


async def test_a_chain_that_failed_keeps_its_large_outputs(parts: Parts) -> None:
    wish = {"text": "x" * 2 * PIECE, "status": 200}
    found = await outcome(parts, await submit(parts, ["echo", "b", "c"][:1] * 2, wish))
    assert len(found["intermediate_results"]) == 1


async def test_a_large_chain_is_resumed_after_a_kill(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    """It begins again; what it had stored meanwhile is replaced."""
    text = {"text": "x" * 3 * PIECE, "hold": True}
    async with working(tmp_path, document, stop=False) as parts:
        job = await submit(parts, ["echo", "b"], text)
        await eventually(lambda: echo.open == 1)
        await parts.store.keep_outputs(job, 0, [b"of the earlier run" * 10_000, b"more" * 50_000])
    echo.release()
    async with working(tmp_path, document) as parts:
        found = await outcome(parts, job)
        assert found["status"] == "success"
        (between,) = found["intermediate_results"]
        assert between["output"]["output"] == text


async def test_outputs_that_cannot_be_stored_are_stored_later(
    parts: Parts, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestrator_module, "_SAVE_RETRY", 0.05)
    text = {"text": "x" * 2 * PIECE, "hold": True}
    job = await submit(parts, ["echo", "b"], text)
    await eventually(lambda: echo.open == 1)
    with read_only(parts.database):
        echo.release()
        await asyncio.sleep(0.3)
        assert len(echo.calls) == 1
        assert (await result(parts, job))["status"] == "running"
    assert (await outcome(parts, job))["status"] == "success"
    assert len(echo.calls) == 2
    await eventually(lambda: parts.memory.total == 0)


async def test_a_result_that_is_too_large_for_a_row_is_the_jobs_failure(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, refused = parts.store.finish, 0

    def too_large(job: Job, status: int, *more: Any) -> asyncio.Future[None]:
        nonlocal refused
        if status != FAILED:
            refused += 1
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.set_exception(TooLargeToStore("string or blob too big"))
            return future
        return finish(job, status, *more)

    monkeypatch.setattr(parts.store, "finish", too_large)
    found = await outcome(parts, await submit(parts))
    assert "cannot be stored: string or blob too big" in found["result"]["error"]
    assert refused == 1
    await eventually(lambda: parts.memory.total == 0)


async def test_accepted_jobs_wait_for_memory(parts: Parts, echo: Echo) -> None:
    """And the time that they wait is not the container's."""
    others = parts.memory.reserve("outputs")
    while others.try_take(2**20):
        pass
    first = parts.memory.reserve("outputs")
    await first.wait_for(parts.config.server.max_body_bytes)  # what is kept back for one
    job = await submit(parts, data={"text": "x" * 500_000})
    await eventually(lambda: parts.memory.is_short)
    late = await submit(parts, data={"n": 2})
    await asyncio.sleep(0.1)
    assert (await result(parts, job))["status"] == "running"
    others.release()
    assert (await outcome(parts, job))["status"] == "success"
    assert (await outcome(parts, late))["status"] == "success"
    first.release()
    await eventually(lambda: parts.memory.total == 0)


async def test_large_chains_of_compute_do_not_block_each_other(tmp_path: Path, echo: Echo) -> None:
    """None holds an answer while it waits for a slot, otherwise all would wait forever."""
    size = 2_000_000
    async with serving(echo) as url:
        document = {
            "containers": [
                {"id": "a", "url": f"{url}/a", "max_concurrency": 8},
                {"id": "b", "url": f"{url}/b", "max_concurrency": 1},
            ],
            "server": {"max_body_bytes": size + 1000, "max_held_bytes": 8 * 2**20},
        }
        data = b'"%b"' % (b"x" * size)
        async with working(tmp_path, document) as parts, asyncio.timeout(60):
            answers = await asyncio.gather(*(compute(parts, "a", "b", data=data) for _ in range(8)))
            assert {len(answer) for answer in answers} == {size + 50}
            assert (await outcome(parts, await submit(parts, ["b"])))["status"] == "success"
            await eventually(lambda: parts.memory.total == 0)
            stored = await parts.database.read(
                lambda connection: connection.execute("SELECT count(*) FROM pieces").fetchone()[0]
            )
            assert stored == 0


async def test_what_a_killed_node_had_stored_for_the_chain_is_deleted(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    async with working(tmp_path, document, stop=False) as parts:
        content = await parts.store.keep_temporary(b"x" * 200_000)
        assert b"".join([piece async for piece in parts.store.read(content)]) == b"x" * 200_000
    async with working(tmp_path, document) as parts:
        with pytest.raises(ContentGone):
            [piece async for piece in parts.store.read(content)]


async def test_a_job_does_not_end_twice_in_two_ways(
    parts: Parts, echo: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    job = await submit(parts, data=HOLD)
    await eventually(lambda: echo.calls)
    now = Ending(1, 1)
    for _ in range(2):  # a commit that seemed to fail is repeated
        await parts.database.write(table.finish, job.key, FAILED, now, b"{}", None, False, 0)
    echo.release()
    await eventually(lambda: not parts.store.pending)
    assert f"job {job.id} must not end twice" in caplog.text
    assert (await outcome(parts, job))["status"] == "failed"
    await eventually(lambda: parts.memory.total == 0)
    assert (await outcome(parts, await submit(parts)))["status"] == "success"
