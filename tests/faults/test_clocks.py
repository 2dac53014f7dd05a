"""A wall clock that is wrong: set forward, set back, in 1970 at boot, or ahead for a while."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.client import Api, eventually
from tests.support.echo import EchoService
from tests.support.node import NodeProcess

YEAR = 365 * 24 * 3600
IN_1970 = -56 * YEAR

# The node, with a wall clock that is as many seconds off as a file says.
_PROGRAM = """
import time
from pathlib import Path
real, file = time.time_ns, Path({file!r})

def time_ns():
    return real() + int(file.read_text()) * 10**9

time.time_ns = time_ns
time.time = lambda: time_ns() / 1e9
from infernet_edge.jobs import housekeeping
housekeeping._PERIOD = 0.1
from infernet_edge.__main__ import main
raise SystemExit(main())
"""


class Clock:
    """The wall clock of a node."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "seconds"
        self.set(0)

    def set(self, seconds: int) -> None:
        self._file.write_text(str(seconds))

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-c", _PROGRAM.format(file=str(self._file)))


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def node_with(clock: Clock, echo: EchoService, folder: Path, **config: object) -> NodeProcess:
    containers = [{"id": "echo", "url": echo.url}]
    return NodeProcess({"containers": containers, **config}, folder / "node", command=clock.command)


@pytest.mark.parametrize("jump", [YEAR, -YEAR, IN_1970])
def test_results_stay_when_the_clock_is_set(
    clock: Clock, echo: EchoService, tmp_path: Path, jump: int
) -> None:
    with node_with(clock, echo, tmp_path) as node:
        api = Api(node.port)
        before = api.finished([api.submit("echo", {"n": number}) for number in range(5)])
        clock.set(jump)
        eventually(lambda: "clock.set" in node.log())
        after = api.finished([api.submit("echo", {"n": number}) for number in range(5)])
        assert api.results([each["id"] for each in before]) == before
        node.restart()
        assert api.results([each["id"] for each in before + after]) == before + after
        assert api.health() == "healthy"


def test_a_device_that_wakes_up_in_1970(clock: Clock, echo: EchoService, tmp_path: Path) -> None:
    with node_with(clock, echo, tmp_path) as node:
        api = Api(node.port)
        before = api.finished([api.submit("echo", {"n": 1})])
        node.stop()
        clock.set(IN_1970)
        node.start()
        between = api.finished([api.submit("echo", {"n": 2})])
        clock.set(0)
        eventually(lambda: "clock.set" in node.log())
        after = api.finished([api.submit("echo", {"n": 3})])
        wanted = before + between + after
        assert api.results([each["id"] for each in wanted]) == wanted
        assert api.get("/api/jobs").json == [each["id"] for each in wanted]


def test_room_is_made_after_a_clock_that_was_ahead(
    clock: Clock, echo: EchoService, tmp_path: Path
) -> None:
    """Jobs that finished in the future are as old as they are, and go as others do."""
    storage = {"max_bytes": 2**21}
    large = {"text": "x" * 100_000}
    with node_with(clock, echo, tmp_path, storage=storage) as node:
        api = Api(node.port)
        clock.set(YEAR)
        future = [api.submit("echo", large) for _ in range(6)]
        api.finished(future)
        clock.set(0)
        node.restart()

        def taken() -> bool:
            reply = api.post({"containers": ["echo"], "data": large})
            assert reply.status in (200, 503), reply
            return reply.status == 200

        for _ in range(40):
            eventually(taken)
        eventually(lambda: not api.running())
        eventually(lambda: api.results(future) == [], within=30)
        eventually(lambda: api.health() == "healthy")


def test_what_is_older_than_its_retention_goes(
    clock: Clock, echo: EchoService, tmp_path: Path
) -> None:
    with node_with(clock, echo, tmp_path, jobs={"retention": 2.0}) as node:
        api = Api(node.port)
        clock.set(-YEAR)
        identifiers = [api.submit("echo", {"n": number}) for number in range(5)]
        assert len(api.finished(identifiers)) == 5
        eventually(lambda: api.results(identifiers) == [])
