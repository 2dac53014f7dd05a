"""`infernet-edge submit`, over the control socket, HTTP and HTTPS."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.commanding import WAYS, commanding, config_file, run_command
from tests.support.node import NodeProcess
from tests.support.process import ROOT
from tests.support.running import running
from tests.support.serving import Echo, serving, talking


def containers(url: str) -> dict[str, Any]:
    return {"containers": [{"id": "echo", "url": url}, {"id": "other", "url": f"{url}/other"}]}


@pytest.mark.parametrize("way", WAYS)
async def test_a_job_by_its_id_and_with_its_result(
    tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        serving(Echo()) as url,
        commanding(tmp_path, way, containers(url)) as command,
    ):
        assert await command("submit", "echo", '{"n": 1}') == 0
        identifier = capsys.readouterr().out
        assert await command("wait", identifier.strip()) == 0
        assert json.loads(capsys.readouterr().out) == {"output": {"n": 1}, "by": ""}
        assert await command("submit", "echo,other", '{"n": 1}', "--wait", "20") == 0
        written = capsys.readouterr().out
        assert json.loads(written)["by"] == "/other"
        assert await command("submit", "echo", "--wait", "20", "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["status"], result["result"]["output"]["output"]) == ("success", {})
        assert await command("submit", "echo", "--json") == 0
        assert list(json.loads(capsys.readouterr().out)) == ["id"]


async def test_the_input_from_a_file_and_stdin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is sent as it is: numbers lose no digit."""
    text = (
        b'{"wei": 115792089237316195423570985008687907853269984665640564039457584007913129639935}'
    )
    file = tmp_path / "input.json"
    file.write_bytes(text)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    async with (
        serving(Echo()) as url,
        commanding(tmp_path, "url", containers(url)) as command,
    ):
        for given in (["--file", str(file)], ["-"]):
            assert await command("submit", "echo", *given, "--wait", "20") == 0
            assert json.loads(capsys.readouterr().out)["output"] == json.loads(text)
        assert await command("submit", "echo", "{}", "--file", str(file)) == 2
        assert "leave out one of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("[1]", "another value"),
        ('"text"', "another value"),
        ('{"a": NaN}', "no JSON at line 1"),
        ("{'a': 1}", "JSON has double quotes only"),
        ("", "nothing"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    ],
    ids=["list", "text", "nan", "quotes", "nothing", "deep"],
)
def test_input_that_is_no_object(
    tmp_path: Path, data: str, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "input"
    file.write_text(data)
    named = ["--config", str(config_file(tmp_path, tmp_path))]
    assert run_command("submit", "echo", "--file", str(file), *named) == 2
    error = capsys.readouterr().err
    assert "expected a JSON object" in error
    assert found in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["a,,b"],
        ["a", "--wait", "0"],
        ["a", "--wait", "soon"],
        ["a", "--priority", "11"],
        ["a", "--deadline", "-1"],
        ["a", "--idempotency-key", "two words"],
        ["a", "--idempotency-key", ""],
    ],
)
def test_wrong_arguments_say_what_is_expected(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("submit", *arguments) == 2
    assert "expected" in capsys.readouterr().err


async def test_an_input_that_does_not_fit_its_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = {"properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url, "input_schema": schema}]}
        async with commanding(tmp_path, "url", document) as command:
            for name in ("submit", "stream"):
                assert await command(name, "echo", '{"n": "one"}') == 1
                output, said = capsys.readouterr()
                assert output == ""
                assert 'data.n: expected a whole number, found the text "one"' in said
            assert await command("submit", "echo", '{"m": 1}') == 1
            said = capsys.readouterr().err
            assert 'data.m: expected one of the fields "n", found a field that is unknown' in said


async def test_a_job_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        serving(Echo()) as url,
        commanding(tmp_path, "url", containers(url)) as command,
    ):
        failing = ["submit", "echo", '{"status": 500}', "--wait", "20"]
        assert await command(*failing) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert " failed in echo: " in captured.err
        assert await command(*failing, "--json") == 1
        assert json.loads(capsys.readouterr().out)["status"] == "failed"
        assert await command("submit", "absent") == 1
        assert capsys.readouterr().err == "Container not supported (container absent)\n"


async def test_a_job_that_takes_longer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    echo = Echo()
    async with serving(echo) as url, commanding(tmp_path, "url", containers(url)) as command:
        held = ["submit", "echo", '{"hold": true}', "--wait", "1"]
        assert await command(*held) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "has not ended yet. Wait for it with: infernet-edge wait " in captured.err
        assert await command(*held, "--json") == 1
        assert json.loads(capsys.readouterr().out)["status"] == "running"
        echo.release()


async def test_options_and_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    echo = Echo()
    async with serving(echo) as url, commanding(tmp_path, "url", containers(url)) as command:
        once = ["submit", "echo", "--idempotency-key", "order-1"]
        options = ["--priority", "-3", "--deadline", "60", "--timeout", "5"]
        assert await command(*once, *options) == 0
        first = capsys.readouterr().out
        assert await command(*once, *options) == 0
        assert capsys.readouterr().out == first
        assert await command(*once, "--priority", "2") == 1
        assert "key" in capsys.readouterr().err.lower()
        assert await command("submit", "echo", "--timeout", "100000") == 1
        assert "timeout" in capsys.readouterr().err


async def test_a_large_result(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    text = json.dumps({"text": "a" * 10 * 2**20}).encode()
    file = tmp_path / "input.json"
    file.write_bytes(text)
    async with (
        serving(Echo()) as url,
        commanding(tmp_path, "url", containers(url)) as command,
    ):
        assert await command("submit", "echo", "--file", str(file), "--wait", "60") == 0
    assert json.loads(capfdbinary.readouterr().out)["output"] == json.loads(text)


async def test_a_node_that_goes_away_before_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with talking(hang_up) as url:
        assert await asyncio.to_thread(run_command, "submit", "a", "--url", url) == 1
        error = capsys.readouterr().err
        assert "closed the connection before its answer was complete" in error
        assert "It is not known whether the job was accepted" in error
        key = ["--idempotency-key", "k1"]
        assert await asyncio.to_thread(run_command, "submit", "a", "--url", url, *key) == 1
        assert "again with --idempotency-key k1" in capsys.readouterr().err


async def test_a_restart_while_it_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    echo = Echo()
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        with NodeProcess(document, tmp_path) as node:
            waiting = asyncio.create_task(
                asyncio.to_thread(
                    run_command,
                    *("submit", "echo", '{"hold": true}', "--wait", "60", "--url", node.url),
                )
            )
            async with asyncio.timeout(20):
                while not echo.open:
                    await asyncio.sleep(0.02)
            await asyncio.to_thread(node.kill)
            await asyncio.sleep(0.5)
            echo.release()
            await asyncio.to_thread(node.restart)
            assert await waiting == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["output"] == {"hold": True}
    assert "Waiting for the node" in captured.err


async def test_ctrl_c_says_that_the_job_continues(tmp_path: Path) -> None:
    echo = Echo()
    async with serving(echo) as url, running(tmp_path, containers(url)) as node:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "infernet_edge", "submit", "echo", '{"hold": true}'),
                *("--wait", "60", "--url", node.url),
            ],
            cwd=ROOT,
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        async with asyncio.timeout(20):
            while not echo.open:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # until it waits for the result
        process.send_signal(signal.SIGINT)
        out, error = await asyncio.to_thread(process.communicate, timeout=30)
        echo.release()
    assert (process.returncode, out) == (130, "")
    assert error.startswith("The job continues: infernet-edge wait ")
    assert "Traceback" not in error
