"""Numbers that are out of range or improbable."""

from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.config.decoding import Conversion, EnvironmentText
from infernet_edge.config.model import Config

CONTAINER = {"id": "a", "image": "b"}


def convert(document: dict[str, Any]) -> tuple[Config, list[str]]:
    conversion = Conversion()
    config = conversion.struct(document, Config, "")
    assert conversion.problems == []
    return config, conversion.warnings


def test_numbers_beyond_a_bound_of_ours_are_clamped() -> None:
    config, notes = convert(
        {
            "chain": {"snapshot_sync": {"batch_size": 160_000}},
            "log": {"backup_count": 500, "max_file_size": 0},
        }
    )
    assert config.chain.snapshot_sync.batch_size == 100_000
    assert (config.log.backup_count, config.log.max_file_size) == (100, 1024)
    assert notes == [
        "log.max_file_size: 0 is out of range, 1024 is used",
        "log.backup_count: 500 is out of range, 100 is used",
        "chain.snapshot_sync.batch_size: 160000 is out of range, 100000 is used",
    ]
    config, _ = convert({"chain": {"snapshot_sync": {"batch_size": EnvironmentText("160000")}}})
    assert config.chain.snapshot_sync.batch_size == 100_000
    assert convert({"chain": {"snapshot_sync": {"batch_size": 100_000}}})[1] == []


@pytest.mark.parametrize("value", [0, -1, "160000", True, 1e400])
def test_others_are_errors(value: Any) -> None:
    conversion = Conversion()
    conversion.struct({"chain": {"snapshot_sync": {"batch_size": value}}}, Config, "")
    assert [problem.path for problem in conversion.problems] == ["chain.snapshot_sync.batch_size"]


@pytest.mark.parametrize(
    ("document", "note"),
    [
        ({"startup_wait": 1000}, "startup_wait: 1000 seconds are 16.7 minutes; if milliseconds"),
        ({"startup_wait": 1500.0}, "startup_wait: 1500 seconds are 25.0 minutes"),
        ({"containers": [CONTAINER | {"timeout": 30000}]}, "containers[0].timeout: 30000 seconds"),
        ({"containers": [CONTAINER | {"timeout": 180_000}]}, "containers[0].timeout: 180000 secon"),
        ({"server": {"rate_limit": {"period": 900_000}}}, "server.rate_limit.period: 900000"),
        ({"chain": {"snapshot_sync": {"sleep": 500}}}, "chain.snapshot_sync.sleep: 500 seconds"),
        ({"chain": {"snapshot_sync": {"sync_period": 500}}}, "chain.snapshot_sync.sync_period"),
        ({"server": {"rate_limit": {"period": 60000}}}, "server.rate_limit.period: 60000"),
        ({"jobs": {"retention": 604_800_000}}, "jobs.retention: 604800000 seconds are 7000.0 days"),
    ],
)
def test_what_looks_like_milliseconds_is_noted(document: dict[str, Any], note: str) -> None:
    [only] = convert(document)[1]
    assert only.startswith(note)
    assert "if milliseconds are meant, write " in only


def test_durations_of_seconds_are_not_noted() -> None:
    document = {
        "startup_wait": 600,
        "containers": [CONTAINER | {"timeout": 36000}, CONTAINER | {"timeout": 9999}],
        "server": {"rate_limit": {"period": 7 * 86400}},
        "jobs": {"retention": 365 * 86400},
        "chain": {"snapshot_sync": {"sleep": 60, "sync_period": 120}},
    }
    assert convert(document)[1] == []
