"""GGUF files, as `demo --model FILE` runs them; tests/models has a real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from infernet_edge.config.model import Podman
from infernet_edge.demo import model_file
from infernet_edge.demo.client import DemoFailed
from infernet_edge.demo.model_choice import ModelChoice
from infernet_edge.demo.model_file import serving_file
from tests.support.podman import IsolatedPodman

# Its options are checked as llama-server does; with "-m broken" it ends, as for a broken file.
SERVER = """
import argparse, http.server, sys
parser = argparse.ArgumentParser()
parser.add_argument("-m")
parser.add_argument("--alias")
parser.add_argument("-c", type=int)
parser.add_argument("--host")
parser.add_argument("--port", type=int)
given = parser.parse_args()
print("x" * 100_000)
if given.m.endswith("broken.gguf"):
    print("loading", "error: failed to load model", "exiting", sep="\\n\\n", flush=True)
    sys.exit(1)
class Handler(http.server.BaseHTTPRequestHandler):
    loading = 2
    def do_GET(self):
        Handler.loading -= 1
        self.send_response(503 if Handler.loading >= 0 else 200)
        self.end_headers()
http.server.HTTPServer((given.host, given.port), Handler).serve_forever()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "small model.gguf"
    made.write_bytes(b"GGUF" + bytes(100))
    return made


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for llama-server, in the PATH."""
    made = tmp_path / "bin/llama-server"
    made.parent.mkdir()
    made.write_text(f"#!{sys.executable}\n{SERVER}")
    made.chmod(0o755)
    monkeypatch.setenv("PATH", f"{made.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(model_file, "_POLL_PERIOD", 0.02)
    return made


@pytest.fixture
def no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


async def failure(choice: ModelChoice, podman: Podman | None = None) -> str:
    with pytest.raises(DemoFailed) as failed:
        async with serving_file(choice, podman, 4000):
            pass
    return str(failed.value)


async def test_the_program_runs_while_the_block_lasts(program: Path, file: Path) -> None:
    before = psutil.Process().children(recursive=True)
    async with serving_file(ModelChoice(str(file)), Podman(), 4000) as service:
        assert service.model == "small model"
        assert service.runs == f"{program} runs {file}, as a process."
        assert service.command == (f"llama-server -m '{file}' --alias 'small model' -c 4096")
        container = service.container
        assert (container.protocol, container.models) == ("openai", ["small model"])
        assert container.url.startswith("http://127.0.0.1:")
        assert len(psutil.Process().children(recursive=True)) == len(before) + 1
    assert psutil.Process().children(recursive=True) == before


async def test_a_program_that_ends_says_why(program: Path, file: Path) -> None:
    broken = file.rename(file.with_name("broken.gguf"))
    reason = await failure(ModelChoice(str(broken)))
    assert reason == (
        "llama-server ended with code 1. It wrote last: loading / error: failed to load model /"
        " exiting"
    )


async def test_a_program_that_does_not_load_in_time(
    program: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "LOAD_TIMEOUT", 0.0)
    before = psutil.Process().children(recursive=True)
    assert "did not load the model within 0 seconds" in await failure(ModelChoice(str(file)))
    assert psutil.Process().children(recursive=True) == before


@pytest.mark.usefixtures("no_program")
async def test_without_the_program_and_podman(file: Path, tmp_path: Path) -> None:
    reason = await failure(ModelChoice(str(file)))
    assert reason.startswith("A GGUF file needs llama.cpp's server. Install llama-server (https:")
    away = Podman(url=f"unix://{tmp_path}/none")
    reason = await failure(ModelChoice(str(file)), away)
    assert "or use its image with Podman: Podman does not answer" in reason


async def test_an_image_that_is_not_here(
    podman: IsolatedPodman, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "PROGRAM", "no-such-llama-server")
    here = Podman(url=podman.url)
    reason = await failure(ModelChoice(str(file)), here)
    assert "`podman pull ghcr.io/ggml-org/llama.cpp:server`, or name another one" in reason
    reason = await failure(ModelChoice(str(file), image="localhost/none:1"), here)
    assert reason.startswith("Podman cannot run localhost/none:1: ")
    # One that is here is used; the file is passed in.
    podman.echo_image(model_file.LLAMA_IMAGE)
    async with serving_file(ModelChoice(str(file), "small"), here, 4000) as service:
        assert service.container.image == model_file.LLAMA_IMAGE
        assert service.container.volumes == [f"{file}:/models/model.gguf:ro,z"]
        assert "--alias small -c 4096 --host 0.0.0.0 --port 8080" in service.container.command
    colon = file.rename(file.with_name("a:b.gguf"))
    assert "because of the colon: rename it" in await failure(ModelChoice(str(colon)), here)


async def test_a_model_in_parts(
    podman: IsolatedPodman, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any of them may be named; llama.cpp gets the first and finds the others beside it."""
    parts = [tmp_path / f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for each in parts[:2]:
        each.write_bytes(b"GGUF")
    reason = await failure(ModelChoice(str(parts[1])))
    assert reason == (
        "big-00002-of-00003.gguf is one of 3 parts, and big-00003-of-00003.gguf is not there."
    )
    parts[2].write_bytes(b"GGUF")
    async with serving_file(ModelChoice(str(parts[1])), None, 4000) as service:
        assert service.model == "big"
        assert service.command == f"llama-server -m {parts[0]} --alias big -c 4096"
    monkeypatch.setattr(model_file, "PROGRAM", "no-such-llama-server")
    podman.echo_image(model_file.LLAMA_IMAGE)
    here = Podman(url=podman.url)
    async with serving_file(ModelChoice(str(parts[2])), here, 4000) as service:
        assert service.container.volumes == [f"{each}:/models/{each.name}:ro,z" for each in parts]
        assert service.container.command.startswith(f"-m /models/{parts[0].name} --alias big")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.gguf", "It downloads no models."),
        ("localhost:11434", "For a server write http://localhost:11434."),
        ("gemma3:1b", "--model takes the URL of a model server that runs"),
        ("owner/name", "It downloads no models."),
        ("ftp://host/m.gguf", "--model takes the URL of a model server"),
    ],
)
async def test_what_is_neither_a_url_nor_a_file(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = await failure(ModelChoice(name))
    assert found.startswith(f"There is no file {name}.")
    assert reason in found


async def test_files_of_other_kinds(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"\x10\x00\x00")
    assert "is not a GGUF file" in await failure(ModelChoice(str(other)))
    assert "name one file. It has small model.gguf." in await failure(ModelChoice(str(tmp_path)))
    (tmp_path / "empty").mkdir()
    assert "It has no GGUF files." in await failure(ModelChoice(str(tmp_path / "empty")))
    reason = await failure(ModelChoice(str(file), key_file="key"))
    assert reason == "--model-key belongs to the URL of a model server, not to a file."
