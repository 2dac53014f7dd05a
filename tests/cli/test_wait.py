"""`infernet-edge wait`: one job, several, and those that are not there."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from tests.support.commanding import WAYS, commanding, run_command
from tests.support.serving import Echo, serving

# Runs a command, and prints the peak of its memory in bytes on stderr.
PEAK = """
import pathlib, re, sys
from infernet_edge.cli.main import main
code = main(sys.argv[1:])
status = pathlib.Path("/proc/self/status").read_text()
print(1024 * int(re.search("VmHWM:[^0-9]*([0-9]+) kB", status)[1]), file=sys.stderr)
sys.exit(code)
"""
UNKNOWN = "01a21b75-4298-4000-bdd5-09a403a99a68"


@pytest.mark.parametrize("way", WAYS)
async def test_several_jobs(tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with commanding(tmp_path, way, document) as command:
            jobs = []
            for data in ('{"n": 1}', '{"status": 500}', '{"n": 3}'):
                assert await command("submit", "echo", data) == 0
                jobs.append(capsys.readouterr().out.strip())
            first, failing, third = jobs
            assert await command("wait", *jobs) == 1
            captured = capsys.readouterr()
            lines = captured.out.splitlines()
            assert [line.partition("  ")[0] for line in lines] == [first, third]
            assert json.loads(lines[1].partition("  ")[2])["output"] == {"n": 3}
            assert captured.err.startswith(f"Job {failing} failed in echo: ")
            assert await command("wait", *jobs, first, "--json") == 1
            found = json.loads(capsys.readouterr().out)
            assert [each["id"] for each in found] == jobs
            assert await command("wait", first, third, "--json") == 0
            capsys.readouterr()
            assert await command("wait", UNKNOWN, first) == 1
            captured = capsys.readouterr()
            assert captured.out.startswith(first)
            assert "No such job" in captured.err
            assert await command("wait", UNKNOWN, "--json") == 1
            assert json.loads(capsys.readouterr().out) == []


async def test_its_time_is_limited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    echo = Echo()
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with commanding(tmp_path, "url", document) as command:
            assert await command("submit", "echo", '{"hold": true}') == 0
            job = capsys.readouterr().out.strip()
            began = time.monotonic()
            assert await command("wait", job, "--timeout", "1") == 1
            assert 0.9 < time.monotonic() - began < 10
            assert "has not ended yet" in capsys.readouterr().err
            echo.release()


def test_a_node_that_is_not_there_is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERNET_EDGE_URL", "http://127.0.0.1:9")
    assert run_command("wait", UNKNOWN) == 1
    assert "nothing listens at port 9" in capsys.readouterr().err


async def test_a_large_result_is_held_once(tmp_path: Path) -> None:
    """The peak of memory grows by little more than the length of the result."""
    size = 15_000_000
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with commanding(tmp_path, "url", document) as command:
            peaks = []
            for length in (1, size):
                job = await command.node.job(data={"text": length * "a"})
                await command.node.finished(job)
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", PEAK, "wait", job, *command.arguments),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    limit=2 * size,
                )
                out, peak = await asyncio.wait_for(process.communicate(), 60)
                assert len(json.loads(out)["output"]["text"]) == length
                peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 1.5 * size
