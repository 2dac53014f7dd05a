"""The steps with a model, against servers that differ or fail; tests/models has a real one."""

from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.config.loading import build
from infernet_edge.config.model import Container
from infernet_edge.demo.client import DemoFailed
from infernet_edge.demo.demo import Options, run_demo
from infernet_edge.demo.model_choice import ModelChoice, ModelService
from infernet_edge.demo.model_tour import examples
from tests.support.openai_server import OpenAIServer
from tests.support.ports import free_port
from tests.support.running import running
from tests.support.serving import Handler, serving


async def test_the_examples_work(tmp_path: Path) -> None:
    """As they are printed, by a shell."""
    async with serving(OpenAIServer("owner/small")) as url:
        container = {"id": "model", "url": url, "protocol": "openai", "models": ["owner/small"]}
        async with running(tmp_path, {"containers": [container]}) as node:
            job = await node.job(["model"], {"prompt": "it's"})
            await node.finished(job)
            service = ModelService(Container(id="model", url=url), "owner/small", "")
            shown = examples(node.url, job, {"prompt": "it's", "max_tokens": 5}, service)
            answers = [await shell(each.command) for each in shown if "curl" in each.command]
    assert len(answers) == 4
    accepted, result, stream, front = answers
    assert json.loads(accepted).keys() == {"id"}
    assert json.loads(result)[0]["status"] == "success"
    assert stream.endswith("data: [DONE]\n\n")
    assert json.loads(front)["choices"][0]["text"] == "it's"


async def shell(command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    return out.decode()


async def demo(url: str, **choice: str) -> None:
    port = free_port()
    model = ModelChoice(url, **choice)
    options = Options("127.0.0.1", port, "unused", podman=None, once=True, keep=False, model=model)
    await run_demo(options)


def joined(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


async def test_all_steps(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(OpenAIServer("owner/small")) as url:
        await demo(url)
        shown = capsys.readouterr().out
    printed = " ".join(shown.split())
    for text in (
        "with a model to try",
        f"The server at {url} runs owner/small.",
        "The model answered: The capital of France is",
        "Server-sent events follow, as from the model server; their texts are: Once upon a time012",
        "3. What was streamed is stored",
        '{"model": [{"owner": "owner", "name": "small"',
        '{"model": {"supported": true}}',
    ):
        assert text in printed, printed
    # What it prints for a configuration is one.
    begin = shown.index("[[containers]]")
    lines = [line.strip() for line in shown[begin:].split("\n\n")[0].splitlines()]
    config, warnings = build(tomllib.loads("\n".join(lines)), "the demo", {})
    assert not warnings
    assert (config.containers[0].url, config.containers[0].models) == (url, ["owner/small"])


class Chats(OpenAIServer):
    """A server without completions, whose model thinks first."""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/completions":
            return web.json_response({"detail": "Not Found"}, status=404)
        return await super().__call__(request)


async def test_a_server_that_has_only_chats(capsys: pytest.CaptureFixture[str]) -> None:
    server = Chats("small")
    async with serving(server) as url:
        await demo(url)
    printed = joined(capsys)
    assert "The job failed in model: Not Found So the same as a chat:" in printed
    assert "The model answered: What is the capital of France?" in printed
    assert server.request["messages"][0]["content"] == "Tell me a very short story."


def streaming(*parts: bytes) -> Handler:
    """A server whose streams are of these parts."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({"data": [{"id": "m"}]})
        if not json.loads(await request.read()).get("stream"):
            choice: Any = {"text": None, "message": {"content": "", "reasoning_content": "hm"}}
            usage = {"completion_tokens": 5}
            return web.json_response({"choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        return response

    return answer


async def test_streams_in_other_forms(capsys: pytest.CaptureFixture[str]) -> None:
    """Comments, CRLF, events that are split, without [DONE], with members that are missing."""
    handler = streaming(
        b": ping\r\n\r\n",
        b'data:{"choices":[{"delta":{"reasoning_content":"so"}}]}\r\n\r\nda',
        b'ta: {"choices":[]}\n\ndata: {"choices":[{"delta":null,"text":" it is \xc3',
        b'\xbc"}]}\n\ndata: {"usage":{}}\n\nevent: x\n\n',
    )
    async with serving(handler) as url:
        await demo(url)
    printed = joined(capsys)
    assert "Once upon a timeso it is ü" in printed
    assert "The model answered: The capital of France ishm 5 tokens" in printed


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((b"",), "The stream has no "),
        ((b"data: [DONE]\n\n",), "The stream has no text: b'data: .DONE"),
        ((b'data: {"error":{"message":"no memory"}}\n\n',), "broke off the stream: .*no memory"),
        ((b"data: {x}\n\n",), "The node did not answer correctly"),
    ],
)
async def test_streams_that_fail(parts: tuple[bytes, ...], reason: str) -> None:
    async with serving(streaming(*parts)) as url:
        with pytest.raises(DemoFailed, match=reason):
            await demo(url)


async def test_a_server_that_refuses_both_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    server = OpenAIServer("vectors")
    server.error = 501, {"error": {"message": "This server makes only embeddings"}}
    async with serving(server) as url:
        with pytest.raises(DemoFailed, match="makes only embeddings"):
            await demo(url)
    assert "So the same as a chat" in joined(capsys)


async def test_a_mistake_is_reported_before_the_node_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DemoFailed, match="There is no file"):
        await demo(str(tmp_path / "none.gguf"))
    assert "The node answers" not in joined(capsys)
