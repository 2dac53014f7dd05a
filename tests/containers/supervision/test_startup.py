from __future__ import annotations

import time

from infernet_edge.config.model import Container
from infernet_edge.containers.service import Service
from infernet_edge.containers.supervision.startup import report_silence


class Reports:
    def __init__(self) -> None:
        self.states: list[str] = []
        self.logged: list[str] = []

    def report_state(self, reason: str) -> None:
        self.states.append(reason)

    def log_container(self, verb: str, level: int = 0, **fields: object) -> None:
        self.logged.append(f"{verb}: {fields['reason']}")


def service(**settings: float) -> Service:
    return Service(Container(id="llm", image="x", **settings), managed=True)  # type: ignore[arg-type]


async def test_jobs_wait_as_long_as_it_may_take() -> None:
    for started, settings in ((-1e6, {}), (-5, {"startup_timeout": 60.0})):
        starting, reports = service(**settings), Reports()
        report_silence(starting, reports, "no answer", time.monotonic() + started)
        assert starting.state == "starting"
        assert reports.states == ["it does not answer yet: no answer"]
        assert reports.logged == []


async def test_then_they_fail_with_the_reason_which_is_logged_once() -> None:
    late, reports = service(startup_timeout=60.0), Reports()
    for reason in ("no answer", "status 503"):
        report_silence(late, reports, reason, time.monotonic() - 61)
        assert late.state == "failed"
        assert late.reason == f"it was not ready within startup_timeout (60 s): {reason}"
    assert reports.logged == [
        "failed: it was not ready within startup_timeout (60 s): no answer",
    ]
    assert reports.states == []
