"""`infernet-edge demo --model` with a real model: a server that runs, a program, and an image."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.support.models import (
    MODEL,
    LlamaServer,
    make_llama_image,
    make_llama_server,
    need_model,
)
from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port
from tests.support.process import ROOT

pytestmark = [pytest.mark.models, pytest.mark.xdist_group("models"), pytest.mark.timeout(240)]

DEMO = [sys.executable, "-m", "infernet_edge", "demo", "--once"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    need_model()
    with LlamaServer(tmp_path_factory.mktemp("llama")) as started:
        yield started


def demo(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """What the demo prints, in one line; it must succeed and leave nothing."""
    temporary = folder / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [*DEMO, *arguments, "--port", str(free_port())],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary), **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )
    printed = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 0, printed
    assert list(temporary.iterdir()) == []
    return printed


def check(printed: str, model: str) -> None:
    """Each step has what the real model says."""
    assert f"1. A job: {model} answers" in printed
    answer = printed.partition("The model answered: ")[2].partition(" in a second.")[0]
    assert answer.startswith("The capital of France is "), printed
    assert " 24 tokens, " in answer
    streamed = printed.partition("their texts are: Once upon a time")[2]
    assert len(streamed.partition("The first word came after")[0].split()) > 20
    assert "its output has the same" in printed
    assert f'GET /resources?model_id={model} {{"model": {{"supported": true}}}}' in printed


def test_a_server_that_runs(server: LlamaServer, tmp_path: Path) -> None:
    printed = demo(tmp_path, "--model", server.url + "/v1", "--no-podman")
    check(printed, "gemma-3-270m")
    assert f"The server at {server.url} runs gemma-3-270m." in printed
    assert f'url = "{server.url}"' in printed


def test_a_file_and_the_program(tmp_path: Path) -> None:
    need_model()
    program = make_llama_server(tmp_path)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    printed = demo(tmp_path, "--model", str(MODEL), "--no-podman", env=path)
    check(printed, "model")
    assert f"{program} runs {MODEL}, as a process." in printed
    assert f"# started with: llama-server -m {MODEL} --alias model -c 4096" in printed
    running = [each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"])]
    assert not [each for each in running if str(MODEL) in each and "4096" in each]


def test_a_file_and_an_image(podman: IsolatedPodman, tmp_path: Path) -> None:
    need_model()
    image = make_llama_image(podman)
    where = ["--podman-url", podman.url, "--image", image]
    printed = demo(tmp_path, "--model", str(MODEL), "--model-name", "gemma", *where)
    check(printed, "gemma")
    assert f"{image} runs {MODEL}, as a container in Podman." in printed
    assert f'image = "{image}"' in printed
    assert podman.containers() == []


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The beginning of a model, as an interrupted download leaves it."""
    need_model()
    made = tmp_path / "broken.gguf"
    with MODEL.open("rb") as file:
        made.write_bytes(file.read(100_000))
    return made


def failure(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [*DEMO, *arguments, "--port", str(free_port())],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1, done.stdout
    return " ".join(done.stderr.split())


def test_a_broken_file_and_the_program(broken: Path, tmp_path: Path) -> None:
    make_llama_server(tmp_path)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    reason = failure("--model", str(broken), "--no-podman", env=path)
    assert reason.startswith("The demo failed. llama-server ended with code 1. It wrote last: ")
    assert "Failed to init server" in reason  # which is what this library says


def test_a_broken_file_and_an_image(podman: IsolatedPodman, broken: Path) -> None:
    image = make_llama_image(podman)
    where = ["--podman-url", podman.url, "--image", image]
    reason = failure("--model", str(broken), *where)
    assert reason.startswith("The demo failed. The model server does not answer: model: ")
    assert "Failed to init server" in reason
    assert podman.containers() == []
