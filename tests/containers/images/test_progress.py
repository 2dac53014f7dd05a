"""The progress of a pull, by messages of Podman."""

from __future__ import annotations

import pytest

from infernet_edge.containers.images.progress import PullProgress, progress_reports
from infernet_edge.errors import EngineError

LINES = [
    b'{"status":"Pulling fs layer","progressDetail":{},"id":"aa"}',
    b"",
    b'{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"aa"}',
    b'{"status":"Download complete","progressDetail":{},"id":"aa"}',
    b'{"status":"Downloading","progressDetail":{"current":1500000,"total":60000000},"id":"b"}',
    b'{"status":"Downloading","progressDetail":{"current":3000000,"total":60000000},"id":"b"}',
]


def test_progress_is_reported_at_most_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    reports = []
    for report in progress_reports(iter(LINES), "image"):
        reports.append(report)
        now += 1.0
    assert reports == [
        PullProgress(),
        PullProgress(5, 10),
        PullProgress(10, 10),
        PullProgress(1500010, 60000010, "1 of 2 parts complete; b: Downloading 1.5 of 60.0 MB"),
        PullProgress(3000010, 60000010),
    ]


def test_many_messages_are_few_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1.0)
    assert len(list(progress_reports(iter(LINES * 100), "image"))) == 1


def test_an_error_ends_the_pull() -> None:
    lines = [*LINES, b'{"error":"no space left on device"}']
    with pytest.raises(EngineError, match="could not pull image image: no space left on device"):
        list(progress_reports(iter(lines), "image"))
