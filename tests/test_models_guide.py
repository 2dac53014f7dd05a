"""The page about models: its program for whisper.cpp's server works, and its settings are valid."""

from __future__ import annotations

import base64
import sys
import tomllib
from pathlib import Path

import pytest
from aiohttp import web

from infernet_edge.config.loading import build
from tests.support import markdown
from tests.support.markdown import DOCS
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.running import running
from tests.support.serving import serving
from tests.test_documentation import mistakes

BLOCKS = list(markdown.blocks((DOCS / "models.md").read_text()))
SOUND = bytes(range(256)) * 300


class Whisper:
    """A stand-in for whisper.cpp's server: POST /inference with a form, as its README has it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def __call__(self, request: web.Request) -> web.Response:
        assert request.path == "/inference"
        form = await request.post()
        assert form["response_format"] == "json"
        file = form["file"]
        assert isinstance(file, web.FileField)
        assert file.filename == "a.wav"
        self.heard.append(file.file.read())
        if self.heard[-1] == b"broken":
            return web.json_response({"error": "failed to read WAV file"}, status=400)
        return web.json_response({"text": " Hello\n"})


@pytest.mark.timeout(60)
async def test_the_program_for_whisper(tmp_path: Path) -> None:
    (program,) = [block.text for block in BLOCKS if block.kind == "python"]
    file, port, whisper = tmp_path / "ears.py", free_port(), Whisper()
    file.write_text(program)
    (settings,) = [
        block.text for block in BLOCKS if block.kind == "toml" and 'id = "ears"' in block.text
    ]
    container = container_of(settings)
    url = f"http://127.0.0.1:{port}"
    assert container["url"] == "http://127.0.0.1:3000"
    async with serving(whisper) as server:
        env = {"WHISPER": f"{server}/inference", "PORT": str(port)}
        command = [sys.executable, "-I", str(file)]
        with ServerProcess(command, url, tmp_path / "log", env=env):
            async with running(tmp_path, {"containers": [{**container, "url": url}]}) as node:
                for sound, status, text in (
                    (base64.b64encode(SOUND).decode(), "success", " Hello\n"),
                    (base64.b64encode(b"broken").decode(), "failed", "failed to read WAV file"),
                    ("no base64!", "failed", "audio must be a WAV file in base64"),
                ):
                    found = await node.finished(await node.job(["ears"], {"audio": sound}))
                    assert found["status"] == status
                    assert text in str(found["result"].get("output", found["result"].get("error")))
    assert whisper.heard == [SOUND, b"broken"]


def container_of(text: str) -> dict[str, object]:
    (found,) = tomllib.loads(text)["containers"]
    return dict(found)


def test_each_configuration_can_be_used_alone() -> None:
    """Also together with a node's own settings, without a mistake or a warning."""
    shown = [container_of(block.text) for block in BLOCKS if block.kind == "toml"]
    assert {"llama", "ollama", "vllm", "ears", "meaning", "vectors", "detect"} == {
        each["id"] for each in shown
    }
    for each in shown:
        file = "containers[0].headers.X-Api-Key", "containers[0].env_file"
        assert mistakes({"containers": [each]}) <= set(file)  # of a secret, not on this machine
        if not mistakes({"containers": [each]}):
            config, _ = build({"containers": [each]}, "the page", {})
            assert config.containers[0].protocol in ("http", "openai")
