from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from infernet_edge.clock import follows_a_server, milliseconds
from infernet_edge.doctor import clock
from infernet_edge.doctor.commands import as_root, install_package
from infernet_edge.storage import elapsed
from tests.support.examining import finding, with_file
from tests.support.running import configuration, running


class KernelThatSays:
    """A C library whose adjtimex(2) answers with a clock state."""

    def __init__(self, state: int) -> None:
        self._state = state

    def adjtimex(self, buffer: object) -> int:
        return self._state


def test_the_kernel_can_be_asked() -> None:
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    assert state in range(6)
    assert follows_a_server() is (state != 5)


@pytest.mark.parametrize(
    ("state", "level"), [(0, "ok"), (3, "ok"), (5, "warning"), (-1, "warning")]
)
async def test_what_the_kernel_says(
    state: int, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: KernelThatSays(state))
    found = await finding(clock, configuration(tmp_path), root=tmp_path)
    assert found.level == level
    assert bool(found.remedy) is (level == "warning")


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("CanNTP=yes NTP=no", as_root("timedatectl", "set-ntp", "true")),
        ("CanNTP=no NTP=no", install_package("systemd-timesyncd")),
        ("CanNTP=yes NTP=yes", ""),
    ],
)
async def test_how_to_follow_one(
    said: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: KernelThatSays(5))
    program = (
        with_file(tmp_path, "timedatectl", f"#!/bin/sh\nprintf '%s\\n' {said}") / "timedatectl"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = await finding(clock, configuration(tmp_path), root=tmp_path)
    assert (found.level, found.command) == ("warning", command)
    assert found.remedy


async def test_what_systemd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: KernelThatSays(5))
    root = with_file(tmp_path, "run/systemd/timesync/synchronized")
    assert (await finding(clock, configuration(tmp_path), root=root)).level == "ok"


async def test_a_date_before_this_version_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "RELEASED", "2999-12-31")
    root = with_file(tmp_path, "run/systemd/timesync/synchronized")
    found = await finding(clock, configuration(tmp_path), root=root)
    assert found.level == "problem"
    assert "2999-12-31" in found.text
    assert found.remedy  # the test's machine decides what it is


@pytest.mark.parametrize("runs", [True, False])
async def test_a_clock_that_was_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    config = configuration(tmp_path)
    year = 365 * 24 * 3600 * 1000
    real = milliseconds
    monkeypatch.setattr(elapsed, "milliseconds", lambda: real() + year)
    async with running(tmp_path) as node:
        monkeypatch.setattr(elapsed, "milliseconds", real)
        if runs:
            found = await finding(clock, node.parts.config)
    if not runs:
        found = await finding(clock, config)
    assert found.level == "warning"
    assert " before: it is behind now" in found.text
    assert found.remedy
