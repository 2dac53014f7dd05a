"""Containers in real Podman that run only while jobs need them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from infernet_edge.containers import manager
from infernet_edge.containers.protocols.call import ON_CHAIN
from infernet_edge.containers.sleeping import member
from tests.support.events import Events
from tests.support.managing import QUICK, eventually
from tests.support.node import NodeProcess
from tests.support.operating import item, managed, operator
from tests.support.podman import IsolatedPodman
from tests.support.reloading import reloadable
from tests.support.running import RunningNode

LIMITS = {"memory": "64m"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "Timing", lambda: msgspec.structs.replace(QUICK, turn=2.0))


def three(podman: IsolatedPodman, **settings: Any) -> dict[str, Any]:
    image = podman.echo_image()
    each = {"image": image, "start": "on_demand", "init": False, **LIMITS, **settings}
    return managed(podman, *({"id": name, **each} for name in "abc"))


async def running_now(podman: IsolatedPodman) -> list[str]:
    """The ids in the configuration of the containers that Podman runs."""
    found = await asyncio.to_thread(podman.containers, "status=running")
    return [name.split("-")[2] for name in found]


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


def state_of(node: RunningNode, container: str) -> str:
    return node.node.services[container].state


def most_at_once(podman: IsolatedPodman, since: float) -> int:
    """How many containers ran at the same time at most, by Podman's own events."""
    lines = podman.run(
        *("events", "--stream=false", f"--since={int(since)}", "--filter=type=container"),
        "--format={{.Time.UnixNano}} {{.Status}} {{.Name}} {{.Time}}",
    ).splitlines()
    lines = [line for line in lines if int(line.split()[0]) >= since * 1e9]
    running: set[str] = set()
    most = 0
    for line in lines:
        _, what, name, *_ = line.split()
        if what == "start":
            running.add(name)
        elif what in ("died", "remove"):
            running.discard(name)
        most = max(most, len(running))
    assert most, lines
    if most > 1:  # shown when a test fails
        print(*lines, sep="\n")
    return most


def wait_until_quiet(podman: IsolatedPodman, seconds: float = 1.5) -> None:
    """Wait until Podman has done what a killed node asked for: so long nothing has changed.

    No node can know of a start that Podman has only just taken up.
    """
    before, since = "", time.monotonic()
    until = since + 60
    while time.monotonic() < min(until, since + seconds):
        now = podman.run("ps", "--all", "--format={{.Names}} {{.Pid}}")
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.1)


async def test_jobs_for_three_with_room_for_one(podman: IsolatedPodman, tmp_path: Path) -> None:
    document = {**three(podman), "max_running": 1}
    since = time.time()
    async with reloadable(tmp_path, document) as node:
        assert [state_of(node, name) for name in "abc"] == ["asleep"] * 3
        assert await running_now(podman) == []
        names = list("abc" * 6)
        random.Random(5).shuffle(names)
        jobs = [await node.job([name], {"n": at}) for at, name in enumerate(names)]
        for at, job in enumerate(jobs):
            result = await node.finished(job, timeout=60)
            assert result["status"] == "success", result
            assert result["result"]["output"]["output"] == {"n": at}
        assert len(await running_now(podman)) == 1
        assert most_at_once(podman, since) == 1
        last = next(name for name in "abc" if state_of(node, name) == "ready")
        pid = node.parts.manager.operations.running()[last].pid
        assert Path(f"/proc/{pid}").exists()
        # A chain: each is started when its step is due, on chain as well, and streams too.
        result = await node.finished(await node.job(["a", "b", "c"], {"x": 1}), timeout=60)
        assert result["status"] == "success", result
        computing = node.parts.orchestrator.computing
        answer = await computing.compute(
            ["b", "a"],
            b'"00"',
            computing.reserve(),
            source=ON_CHAIN,
            destination=ON_CHAIN,
            requires_proof=False,
        )
        assert b'"echo": true' in answer
        body = {"containers": ["c"], "data": {"y": 1}}
        async with node.session.post(f"{node.url}/api/jobs/stream", json=body) as response:
            assert (await response.text()).count('{"y": 1}') == 5
        assert most_at_once(podman, since) == 1
        assert not Path(f"/proc/{pid}").exists()  # its memory was given back


async def test_a_group_has_one_place(podman: IsolatedPodman, tmp_path: Path) -> None:
    document = three(podman)
    for container in document["containers"][:2]:
        container["exclusive"] = "gpu0"
    async with reloadable(tmp_path, document) as node:
        for chain in (["c"], ["a", "b", "a"]):
            result = await node.finished(await node.job(chain), timeout=60)
            assert result["status"] == "success", result
        assert sorted(await running_now(podman)) == ["a", "c"]
        for job in [await node.job([name]) for name in "abcab"]:
            assert (await node.finished(job, timeout=60))["status"] == "success"
        assert len(await running_now(podman)) == 2
        assert state_of(node, "c") == "ready"


async def test_an_idle_one_is_stopped_and_counts_as_available(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    document = three(podman, idle_timeout=1.0)
    document["containers"] = document["containers"][:1]
    async with reloadable(tmp_path, document) as node, operator(node) as client:
        for _ in range(2):
            assert (await node.finished(await node.job(["a"])))["status"] == "success"
            assert state_of(node, "a") == "ready"
            await eventually(lambda: state_of(node, "a") == "asleep")
            await until(lambda: _equal(running_now(podman), []))
        await eventually(lambda: len(events.of("container.asleep")) == 2)
        assert len(events.of("container.woken")) == 2
        assert not events.of("container.stopped")
        found = await item(client, "a")
        assert (found["state"], found["restarts"], found["memory"]) == ("asleep", 0, None)
        assert found["reason"] == "it starts when a job needs it"
        assert (await node.get("/health")).body == {"status": "healthy"}
        (shown,) = (await node.get("/info")).body["containers"]
        assert shown["id"] == "a"
        assert (await node.get("/resources")).body.keys() == {"a"}
        metrics = str((await client.get("/metrics")).body)
        assert 'container_up{container="a"} 1' in metrics
        assert 'container_asleep{container="a"} 1' in metrics
        logs = await client.get("/api/containers/a/logs")
        assert logs.status == 200, logs
        # An operator starts it, without a job.
        assert (await client.post("/api/containers/a/restart", None)).status == 202
        await eventually(lambda: state_of(node, "a") == "ready")
        assert (await item(client, "a"))["restarts"] == 0
        await eventually(lambda: state_of(node, "a") == "asleep")


async def _equal(found: Awaitable[object], expected: object) -> bool:
    return await found == expected


async def test_a_start_that_fails_ends_the_jobs_that_waited(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    document = {**three(podman), "max_running": 1}
    document["containers"][1]["image"] = "localhost/infernet-test/nothing:1"
    async with reloadable(tmp_path, document) as node:
        jobs = [await node.job(["b"]) for _ in range(12)]
        for job in jobs:
            result = await node.finished(job)
            assert result["status"] == "failed"
            assert "localhost/infernet-test/nothing:1" in str(result["result"])
        assert (await node.finished(await node.job(["a"])))["status"] == "success"
        failures = len(events.of("container.wake_failed"))
        assert failures <= 2  # not one for each job
        # It is tried again by a job, after a while.
        await eventually(lambda: state_of(node, "b") == "asleep")
        assert "its last start failed" in node.node.services["b"].reason
        assert (await node.get("/health")).body == {"status": "healthy"}
        await asyncio.sleep(1)
        assert len(events.of("container.wake_failed")) == failures
        changed = [{**each, "image": podman.echo_image()} for each in document["containers"]]
        await node.reload(containers=changed)
        assert (await node.finished(await node.job(["b"])))["status"] == "success"


async def test_a_start_that_takes_too_long_gives_its_place_back(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    document = {**three(podman, startup_timeout=2.0), "max_running": 1}
    document["containers"][1]["command"] = "--deaf"
    async with reloadable(tmp_path, document) as node:
        slow = await node.job(["b"])
        await eventually(lambda: state_of(node, "b") == "starting")
        # While it starts: a deadline, a cancellation, the positions in the queue.
        body = {"containers": ["b"], "data": {}, "options": {"deadline": 0.5}}
        late = (await node.post("/api/jobs", body)).body["id"]
        cancelled = await node.job(["b"])
        stream = asyncio.create_task(_cancelled_stream(node))
        detail = (await node.get(f"/api/jobs/{cancelled}?detail=true")).body["detail"]
        assert (detail["position"], detail["container"], detail["attempts"]) == (3, "b", 0)
        reply = await node.request("DELETE", f"/api/jobs/{cancelled}")
        assert [each["status"] for each in reply.body] == ["failed"]
        result = await node.finished(late)
        assert "Deadline passed" in str(result["result"])
        await stream
        quick = await node.job(["a"])
        result = await node.finished(slow)
        assert "startup_timeout" in str(result["result"]), result
        assert (await node.finished(quick))["status"] == "success"
        assert await running_now(podman) == ["a"]


async def test_a_start_that_takes_too_long_says_why_the_container_stopped(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly = msgspec.structs.replace(QUICK, restart=0.01, restart_limit=0.01, crash_cap=1000)
    monkeypatch.setattr(manager, "Timing", lambda: quickly)
    document = three(podman, startup_timeout=7.0, command="--crash 3")
    async with reloadable(tmp_path, document) as node:
        result = await node.finished(await node.job(["a"]), timeout=30)
        assert "startup_timeout (7 s)" in str(result["result"])
        assert "exit code 3" in str(result["result"])


async def _cancelled_stream(node: RunningNode) -> None:
    body = {"containers": ["b"], "data": {}}
    with pytest.raises(TimeoutError):
        async with (
            asyncio.timeout(0.3),
            node.session.post(f"{node.url}/api/jobs/stream", json=body) as response,
        ):
            await response.read()


async def test_a_busy_container_leaves_its_place_after_its_turn(
    podman: IsolatedPodman, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "_TURN_FOR_START", 0.0)  # starts are quick here, or slow by chance
    document = {**three(podman, max_concurrency=1), "max_running": 1}
    async with reloadable(tmp_path, document) as node:
        first = await node.job(["a"])
        await node.finished(first)
        many = [await node.job(["a"], {"sleep": 0.5}) for _ in range(30)]
        other = await node.job(["b"], {"sleep": 0.1})
        began = time.monotonic()
        assert (await node.finished(other))["status"] == "success"
        waited = time.monotonic() - began
        assert waited < 12  # its turn of 2 s, a stop and a start: not the 15 s of all these jobs
        ended = [await node.result(job) for job in many]
        assert 2 <= sum(each["status"] == "success" for each in ended) < 30
        for job in many:
            assert (await node.finished(job, timeout=60))["status"] == "success"
        assert len(events.of("container.woken")) == 3
        assert not events.of("job.repeated")


@pytest.mark.parametrize("shared", ["max_running", "exclusive"])
async def test_one_whose_jobs_were_cancelled_is_not_started(
    podman: IsolatedPodman,
    tmp_path: Path,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
    shared: str,
) -> None:
    monkeypatch.setattr(member, "_TURN_FOR_START", 0.0)
    document = three(podman, max_concurrency=1, startup_timeout=60.0)
    document["containers"][1]["command"] = "--deaf"
    if shared == "max_running":
        document["max_running"] = 1
    else:
        for container in document["containers"]:
            container["exclusive"] = "gpu0"

    async def cancel(job: str) -> None:
        assert (await node.request("DELETE", f"/api/jobs/{job}")).body[0]["status"] == "failed"

    async with reloadable(tmp_path, document) as node:
        # While it waits for its turn, until the other one takes no further jobs, and after that.
        await node.finished(await node.job(["a"]))
        for seconds, pause in ((1, 0.2), (4, 3)):
            jobs = [await node.job(["a"], {"sleep": each}) for each in (seconds, 0.1)]
            waiting = [await node.job([name]) for name in "bcb"]
            await eventually(lambda: "when there is room" in node.node.services["b"].reason)
            await asyncio.sleep(pause)
            for job in waiting:
                await cancel(job)
            for job in jobs:
                assert (await node.finished(job))["status"] == "success"
            assert [state_of(node, name) for name in "abc"] == ["ready", "asleep", "asleep"]
        assert len(events.of("container.waking")) == 1
        # While the other one is stopped for it.
        waits = await node.job(["b"])
        await eventually(lambda: state_of(node, "a") == "asleep")
        await cancel(waits)
        await eventually(lambda: len(events.of("container.asleep")) == 1)
        # While it starts: it goes on until another one needs its place, and does not come ready.
        waits = await node.job(["b"])
        await eventually(lambda: state_of(node, "b") == "starting")
        await cancel(waits)
        await asyncio.sleep(0.5)
        assert await running_now(podman) == ["b"]
        began = time.monotonic()
        assert (await node.finished(await node.job(["c"])))["status"] == "success"
        assert time.monotonic() - began < 30  # not its startup_timeout
        assert await running_now(podman) == ["c"]
        assert state_of(node, "b") == "asleep"
        assert not events.of("container.wake_failed")
        # It starts again for a job that is not cancelled.
        waits = await node.job(["b"])
        await eventually(lambda: state_of(node, "b") == "starting")
        await cancel(waits)


async def paused(podman: IsolatedPodman) -> list[str]:
    """The containers that are paused."""
    return await asyncio.to_thread(podman.containers, "status=paused")


async def pause(podman: IsolatedPodman) -> None:
    """Pause the container that runs, as an operator may."""
    await until(lambda: asyncio.to_thread(podman.containers, "status=running"))
    (name,) = await asyncio.to_thread(podman.containers, "status=running")
    await asyncio.to_thread(podman.run, "pause", name)


async def test_one_that_was_paused_by_hand_is_stopped(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    document = {**three(podman, startup_timeout=3.0, timeout=3.0), "max_running": 1}
    document["containers"][0]["idle_timeout"] = 2.0
    document["containers"][2]["command"] = "--delay 1"
    async with reloadable(tmp_path, document) as node:
        # After its idle_timeout.
        await node.finished(await node.job(["a"]))
        await pause(podman)
        await eventually(lambda: bool(events.of("container.asleep")))
        assert await paused(podman) == []
        # For another one.
        assert (await node.finished(await node.job(["b"])))["status"] == "success"
        await pause(podman)
        assert (await node.finished(await node.job(["a"])))["status"] == "success"
        assert await paused(podman) == []
        # While it starts: its job fails after startup_timeout, and the next one starts it again.
        job = await node.job(["c"])
        await eventually(lambda: state_of(node, "c") == "starting")
        await pause(podman)
        assert "startup_timeout" in str((await node.finished(job))["result"])
        await until(lambda: _equal(paused(podman), []))
        assert (await node.finished(await node.job(["b"])))["status"] == "success"
        # While it has a job, which fails after its time limit. Then it is replaced.
        await pause(podman)
        result = await node.finished(await node.job(["b"]))
        assert "did not answer within 3 s" in str(result["result"])
        assert state_of(node, "b") != "ready"
        await eventually(lambda: state_of(node, "b") == "ready")
        assert (await node.finished(await node.job(["b"])))["status"] == "success"
        assert not events.of("container.stop_failed")


async def test_a_reload_changes_those_that_are_asleep(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    document = three(podman)
    async with reloadable(tmp_path, document) as node:
        a, _, c = document["containers"]
        changed = {**a, "env": {"COLOUR": "green"}}
        added = {**a, "id": "d", "port": 0, "start": "always", "idle_timeout": 60}
        report = await node.reload(containers=[changed, c, added])
        assert not report["problems"], report
        assert state_of(node, "a") == "asleep"
        await eventually(lambda: state_of(node, "d") == "ready")  # as at a start
        assert await running_now(podman) == ["d"]
        result = await node.finished(await node.job(["a"], {"show": True}))
        assert result["result"]["output"]["environment"]["COLOUR"] == "green"
        # The limit may change, and a container may have to run all the time.
        await node.reload(max_running=1)
        await until(lambda: _equal(running_now(podman), ["a"]))
        always = {**c, "start": "always"}
        await node.reload(containers=[changed, always], max_running=None)
        await eventually(lambda: state_of(node, "c") == "ready")
        waiting = await node.job(["a"], {"sleep": 1})
        await node.reload(containers=[always])
        assert (await node.finished(waiting))["status"] == "success"
        await until(lambda: _equal(running_now(podman), ["c"]))
        assert not events.of("container.change_crashed")


async def test_a_removed_one_fails_the_jobs_that_wait_for_it(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    document = {**three(podman), "max_running": 1}
    async with reloadable(tmp_path, document) as node:
        running = await node.job(["a"], {"sleep": 2})
        await eventually(lambda: node.node.services["a"].in_call == 1)
        waiting = await node.job(["b"])
        await node.reload(containers=[document["containers"][0], document["containers"][2]])
        result = await node.finished(waiting)
        assert "no longer configured" in str(result["result"])
        after = await node.job(["c"])
        assert (await node.finished(running))["status"] == "success"
        assert (await node.finished(after))["status"] == "success"


async def test_those_that_always_run_start_as_far_as_there_is_room(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    document = {**three(podman, start="always"), "max_running": 2}
    async with reloadable(tmp_path, document) as node:
        await eventually(lambda: [state_of(node, name) for name in "ab"] == ["ready"] * 2)
        assert state_of(node, "c") == "asleep"
        assert (await node.finished(await node.job(["b"])))["status"] == "success"
        assert (await node.finished(await node.job(["c"])))["status"] == "success"
        assert sorted(await running_now(podman)) == ["b", "c"]  # a was idle longest


def test_what_a_killed_node_left_is_removed_when_it_is_not_to_run(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    document = {**three(podman), "max_running": 1}
    since = time.time()

    async def submit(names: str, data: Any) -> list[str]:
        async with aiohttp.ClientSession() as session:
            found = []
            for name in names:
                body = {"containers": [name], "data": data}
                async with session.post(f"{node.url}/api/jobs", json=body) as response:
                    found.append((await response.json())["id"])
            return found

    async def results(ids: list[str]) -> list[str]:
        async with aiohttp.ClientSession() as session:
            query = "&".join(f"id={each}" for each in ids)
            found = ["running"]
            for _ in range(4):  # on a busy machine each start takes some seconds
                if "running" in found:
                    async with session.get(f"{node.url}/api/jobs?{query}&wait=25") as response:
                        found = [each["status"] for each in await response.json()]
            return found

    with NodeProcess(document, tmp_path) as node:
        first = asyncio.run(submit("a", {}))
        assert asyncio.run(results(first)) == ["success"]
        left = asyncio.run(submit("bca", {"sleep": 0.5}))  # now it stops a, and starts b
        time.sleep(0.7)
        node.kill()
        wait_until_quiet(podman)
        node.restart()
        assert asyncio.run(results(left)) == ["success"] * 3
    assert most_at_once(podman, since) == 1
    assert not podman.containers()


async def test_what_a_killed_node_was_about_to_start_is_removed(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    """Podman goes on with the start, so that more would run than may."""
    async with reloadable(tmp_path, three(podman)) as node:
        assert (await node.finished(await node.job(["a"])))["status"] == "success"
        (name,) = podman.containers()
        labels = podman.inspect(name)["Config"]["Labels"]
    options = [f"--label={key}={value}" for key, value in labels.items()]
    podman.run("create", f"--name={name}", *options, podman.echo_image())
    async with reloadable(tmp_path, three(podman)) as node:
        await eventually(lambda: podman.containers() == [])
        assert state_of(node, "a") == "asleep"


async def test_without_podman_it_is_not_available(podman: IsolatedPodman, tmp_path: Path) -> None:
    async with reloadable(tmp_path, three(podman)) as node:
        await asyncio.to_thread(podman.kill_service)
        await eventually(lambda: state_of(node, "a") == "failed")
        assert (await node.get("/health")).body == {"status": "unhealthy"}
        for _ in range(3):  # at once, also after the pause for a start that failed
            result = await node.finished(await node.job(["a"]), timeout=5)
            assert "Podman" in str(result["result"])
            assert (await node.get("/health")).body == {"status": "unhealthy"}
            await asyncio.sleep(0.6)
        await asyncio.to_thread(podman.start_service)
        await eventually(lambda: state_of(node, "a") == "asleep")
        assert (await node.get("/health")).body == {"status": "healthy"}
        assert (await node.finished(await node.job(["a"])))["status"] == "success"


async def test_jobs_that_wait_survive_a_restart_of_podman(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = msgspec.structs.replace(QUICK, reconnect=5.0, reconnect_limit=5.0)
    monkeypatch.setattr(manager, "Timing", lambda: timing)
    async with reloadable(tmp_path, {**three(podman), "max_running": 1}) as node:
        running = await node.job(["a"], {"sleep": 6})
        await eventually(lambda: node.node.services["a"].in_call == 1)
        waiting = await node.job(["b"])
        await asyncio.to_thread(podman.kill_service)
        await eventually(lambda: state_of(node, "b") == "failed")
        await asyncio.to_thread(podman.start_service)
        for job in (running, waiting):
            assert (await node.finished(job, timeout=60))["status"] == "success"


async def test_podman_that_is_lost_while_it_stops_or_starts_one(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    document = three(podman, idle_timeout=0.5)
    document["containers"][0]["command"] = "--stubborn"  # its stop takes two seconds
    document["containers"][1]["command"] = "--deaf"
    async with reloadable(tmp_path, document) as node:
        assert (await node.finished(await node.job(["a"])))["status"] == "success"
        await eventually(lambda: state_of(node, "a") == "asleep")
        starting = await node.job(["b"])
        await eventually(lambda: state_of(node, "b") == "starting")
        await asyncio.to_thread(podman.kill_service)
        await eventually(lambda: state_of(node, "c") == "failed")
        for name in "ac":
            result = await node.finished(await node.job([name]), timeout=5)
            assert "Podman" in str(result["result"]), result
        await asyncio.to_thread(podman.start_service)
        await eventually(lambda: [state_of(node, name) for name in "ac"] == ["asleep"] * 2)
        await node.request("DELETE", f"/api/jobs/{starting}")
        for name in "ac":
            assert (await node.finished(await node.job([name])))["status"] == "success"


async def test_nothing_is_done_for_containers_without_these_settings(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    document = managed(podman, {"id": "a", "image": podman.echo_image()})
    async with reloadable(tmp_path, document) as node:
        assert not node.node.services["a"].may_sleep
        queue = node.parts.orchestrator.computing.queues["a"]
        assert queue.slots.on_change is None
        await node.reload(containers=[{**document["containers"][0], "idle_timeout": 1}])
        await eventually(lambda: state_of(node, "a") == "asleep")
        await node.reload(containers=document["containers"])
        await eventually(lambda: state_of(node, "a") == "ready")
        assert queue.slots.on_change is None
