"""A wall clock that is wrong: set forward, set back, in 1970 at boot, or ahead for a while."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from infernet_edge.config import load
from infernet_edge.control.client import call, fetch
from infernet_edge.storage.token_file import TokenFile
from tests.support.client import Api, eventually
from tests.support.echo import EchoService
from tests.support.node import NodeProcess

HOUR = 3600
YEAR = 365 * 24 * HOUR
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
from infernet_edge.storage import dates
housekeeping._PERIOD = 0.1
dates.follows_a_server = lambda: False
from infernet_edge.__main__ import main
raise SystemExit(main())
"""


class Clock:
    """The wall clock of a node."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "seconds"
        self.set(0)

    def set(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)  # the node reads it at any moment

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


def token_of(node: NodeProcess, name: str, **more: str) -> str:
    """Make a token at the control socket."""
    request = {"name": name, "scope": "read", **more}
    return str(call(load(node.config_path, {}).config, "POST", "/api/tokens", request)["token"])


def status_with(node: NodeProcess, token: str) -> int:
    """The status of GET /info with a token."""
    request = urllib.request.Request(f"{node.url}/info")
    request.add_header("authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def date_in(node: NodeProcess) -> float:
    """The date that is stored for the expiry of tokens."""
    anchor = TokenFile(node.data_path).read().anchor
    return 0 if anchor is None else anchor.date / 1000


def test_the_expiry_of_tokens_is_not_decided_by_a_wrong_clock(clock: Clock, tmp_path: Path) -> None:
    with NodeProcess({}, tmp_path / "node", command=clock.command) as node:
        short = token_of(node, "short", expires="1h")
        long = token_of(node, "long", expires="8w")
        assert [status_with(node, each) for each in (short, long)] == [200, 200]
        clock.set(2 * HOUR)
        assert [status_with(node, each) for each in (short, long)] == [401, 200]
        eventually(lambda: date_in(node) > time.time() + HOUR)
        node.kill()
        for wrong in (IN_1970, 40 * YEAR):
            clock.set(wrong)
            node.restart()  # a token that has expired does not become valid, and no other expires
            assert [status_with(node, each) for each in (short, long)] == [401, 200], wrong
            problems = fetch(load(node.config_path, {}).config, "status")["problems"]
            text = "Tokens may expire too late: the clock of this machine shows"
            assert any(text in problem for problem in problems), problems
            node.kill()
        clock.set(9 * 7 * 24 * HOUR)
        node.restart()
        assert [status_with(node, each) for each in (short, long)] == [401, 401]
        problems = fetch(load(node.config_path, {}).config, "status")["problems"]
        assert not [each for each in problems if text in each]  # it is believed again
