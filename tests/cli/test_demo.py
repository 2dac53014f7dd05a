"""`infernet-edge demo` as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infernet_edge.demo import services
from tests.support.podman import need
from tests.support.ports import free_port
from tests.support.process import ROOT

DEMO = [sys.executable, "-m", "infernet_edge", "demo"]


class Running:
    """A demo under way, with its temporary folder in `folder`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder / "temporary"
        self.folder.mkdir()
        self._out = folder / "out"
        command = [*DEMO, "--no-podman", "--port", str(free_port()), *arguments]
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self.children: list[psutil.Process] = []

    @property
    def output(self) -> str:
        return self._out.read_text()

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.01)
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*arguments: str) -> Running:
        started.append(Running(tmp_path, *arguments))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait(10)


def test_once_shows_a_job_a_chain_and_a_stream(start: Callable[..., Running]) -> None:
    demo = start("--once")
    assert demo.process.wait(60) == 0, demo.output
    assert "as processes, not as containers, because" in demo.output
    assert "The small computer had written a letter." in demo.output
    assert '{"rating": "positive", "confidence": ' in demo.output
    assert "At night the lamp in the window was bright" in demo.output
    assert all(len(line) <= 80 for line in demo.output.splitlines())
    assert list(demo.folder.iterdir()) == []


def test_the_commands_work_when_they_are_pasted(start: Callable[..., Running]) -> None:
    need("curl")
    demo = start()
    demo.wait_for("until you press Ctrl+C")
    # Each command begins with curl at an indent of two and ends before an empty line.
    commands = re.findall(r"(?ms)^  (curl .+?)\n\n", demo.output)
    answers = [
        subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        for command in commands
    ]
    info, chain, result, stream, resources = answers
    assert '"id":"writer"' in info
    assert re.fullmatch(r'\{"id":"[0-9a-f-]{36}"\}\n', chain)
    assert '"status":"success"' in result
    assert '"intermediate_results":[{"container":"writer"' in result
    assert len(stream.split()) == 1 + 2 + 30
    assert "markov-writer" in resources
    assert demo.end(signal.SIGINT) == 0
    assert demo.output.endswith(
        "\nStopping the node and its services, for a minute at most."
        " Ctrl+C again ends it at once.\n"
    )


def test_a_second_ctrl_c_kills_all_that_it_started(start: Callable[..., Running]) -> None:
    demo = start()
    demo.wait_for("until you press Ctrl+C")
    for child in demo.children:
        child.suspend()  # so that it does not end when it is asked to
    demo.process.send_signal(signal.SIGINT)
    demo.wait_for("Stopping the node")
    time.sleep(0.6)
    assert demo.end(signal.SIGINT) == -signal.SIGINT
    assert psutil.wait_procs(demo.children, timeout=5)[1] == []
    assert "Traceback" not in demo.output


def test_ctrl_c_on_the_terminal_reaches_the_services_last(start: Callable[..., Running]) -> None:
    """Else they would end before the node, and its stream would fail."""
    demo = start()
    demo.wait_for("until you press Ctrl+C")
    group = os.getpgid(demo.process.pid)
    assert all(os.getpgid(child.pid) != group for child in demo.children)
    assert demo.end(signal.SIGINT) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_and_all_that_it_started(
    start: Callable[..., Running], number: signal.Signals
) -> None:
    demo = start()
    demo.wait_for("until you press Ctrl+C")
    assert len(demo.children) == 2
    assert demo.end(number) == 0, demo.output
    assert not any(child.is_running() for child in demo.children)
    assert list(demo.folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing_behind(
    start: Callable[..., Running], number: signal.Signals
) -> None:
    demo = start()
    demo.wait_for("     At night")  # the stream has begun, and is in the middle of a line
    assert demo.end(number) == 1
    assert re.search(r"At night[a-z, ]*\n(.*\n)*Stopping the node", demo.output)
    assert demo.output.endswith("\nStopped before the end.\n")
    assert "Traceback" not in demo.output
    assert not any(child.is_running() for child in demo.children)
    assert list(demo.folder.iterdir()) == []


def test_keep_leaves_the_data(start: Callable[..., Running]) -> None:
    demo = start("--once", "--keep")
    assert demo.process.wait(60) == 0, demo.output
    (folder,) = demo.folder.iterdir()
    assert str(folder) in demo.output.replace("\n", " ")
    assert list(folder.rglob("*.sqlite"))


def test_a_failure_is_exit_code_1_with_a_reason(start: Callable[..., Running]) -> None:
    demo = start("--host", "192.0.2.1")  # TEST-NET-1 of RFC 5737: not assigned
    assert demo.process.wait(60) == 1
    assert "--host" in demo.output
    assert "Traceback" not in demo.output


def test_a_port_that_is_none_is_wrong_usage() -> None:
    done = subprocess.run([*DEMO, "--port", "0"], cwd=ROOT, capture_output=True, timeout=30)
    assert done.returncode == 2


@pytest.mark.parametrize("host", [b"a..b", b"caf\xe9", b"a b", b""])
def test_a_host_that_is_none_is_wrong_usage(host: bytes) -> None:
    done = subprocess.run([*DEMO, "--host", host], cwd=ROOT, capture_output=True, timeout=30)
    assert done.returncode == 2
    assert b"--host must be" in done.stderr


def test_an_executable_is_its_own_example_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    command = services.service_command("rate")
    assert command == [sys.executable, "demo", "--service", "rate"]
    process = subprocess.Popen([*DEMO, *command[2:]], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert b"rate: listening on http://127.0.0.1:" in process.stdout.readline()
        process.stdout.close()
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_ctrl_c_while_a_model_is_loaded(
    start: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program that loads it ends too."""
    program, model = tmp_path / "llama-server", tmp_path / "model.gguf"
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(0o755)
    model.write_bytes(b"GGUF")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    demo = start("--model", str(model))
    demo.wait_for("loads model.gguf")
    assert len(demo.children) == 1
    assert demo.end(signal.SIGINT) == 1
    assert "Stopped before the end." in demo.output
    assert not psutil.pid_exists(demo.children[0].pid) or not demo.children[0].is_running()
    assert list(demo.folder.iterdir()) == []


@pytest.mark.parametrize("option", ["--model-name", "--model-key"])
def test_options_of_a_model_without_one(option: str) -> None:
    done = subprocess.run(
        [*DEMO, option, "x"], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == "--model-name and --model-key belong to --model WHAT.\n"


def test_a_mistake_in_the_model_is_a_failure(start: Callable[..., Running]) -> None:
    demo = start("--model", "localhost:8080", "--once")
    assert demo.process.wait(60) == 1
    assert "The demo failed. There is no file localhost:8080." in demo.output
    assert "http://localhost:8080" in demo.output
    assert list(demo.folder.iterdir()) == []
