"""Model servers that run, as `demo --model URL` finds them; tests/models has a real one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from infernet_edge.demo import model_url
from infernet_edge.demo.client import DemoFailed
from infernet_edge.demo.model_choice import ModelChoice
from infernet_edge.demo.model_url import server_at
from tests.support.openai_server import OpenAIServer
from tests.support.ports import free_port
from tests.support.serving import Handler, serving


async def failure(what: str, **choice: str) -> str:
    with pytest.raises(DemoFailed) as failed:
        await server_at(ModelChoice(what, **choice))
    return str(failed.value)


def answering(status: int = 200, text: str = "", kind: str = "application/json") -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, content_type=kind)

    return answer


@pytest.mark.parametrize(
    "path", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/models", "/base/v1", "/base"]
)
async def test_the_url_may_have_the_paths_that_are_in_use(path: str) -> None:
    async with serving(OpenAIServer("owner/small")) as url:
        service = await server_at(ModelChoice(url + path))
        base = url + ("/base" if path.startswith("/base") else "")
    assert (service.container.url, service.model) == (base, "owner/small")
    assert service.container.protocol == "openai"


async def test_a_model_of_several() -> None:
    async with serving(OpenAIServer("a:1b", "b:2b")) as url:
        first, other = await server_at(ModelChoice(url)), await server_at(ModelChoice(url, "b:2b"))
        assert "choose another one with --model-name" in first.runs
        assert (first.model, other.container.models) == ("a:1b", ["b:2b"])
        reason = await failure(url, name="c")
    assert reason.endswith("has no model c. It has a:1b, b:2b: choose one with --model-name.")


async def test_it_waits_while_the_server_loads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_url, "_POLL_PERIOD", 0.01)
    async with serving(OpenAIServer("small", loading=3)) as url:
        assert (await server_at(ModelChoice(url))).model == "small"
    assert capsys.readouterr().out.count("The server loads its model ...") == 1


async def test_a_key_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-secret\n")

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer sk-secret":
            return web.json_response({"error": {"message": "Invalid API Key"}}, status=401)
        return web.json_response({"data": [{"id": "m"}]})

    async with serving(answer) as url:
        service = await server_at(ModelChoice(url, key_file=str(file)))
        assert service.container.bearer is not None
        assert service.container.bearer.reveal() == "sk-secret"
        assert "wants a key: pass its file with --model-key" in await failure(url)
        file.write_text("sk-other")
        reason = await failure(url, key_file=str(file))
        assert "refuses the key in the file of --model-key" in reason
        assert "sk-other" not in reason


@pytest.mark.parametrize("content", ["", "two\nlines", "ümlaut"])
async def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    assert "must hold one key" in await failure("http://127.0.0.1:1", key_file=str(file))


async def test_a_missing_file_of_the_key(tmp_path: Path) -> None:
    reason = await failure("http://127.0.0.1:1", key_file=str(tmp_path / "none"))
    assert "of --model-key cannot be read: No such file or directory." in reason


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (answering(404, '{"error":"not found"}'), "GET /v1/models was answered with 404"),
        (answering(200, "<html>Hello</html>", "text/html"), "no list of models in OpenAI's form"),
        (answering(200, '{"models":[]}'), "has no models yet"),
        (answering(200, '{"object":"list","data":null}'), "ollama pull"),
        (answering(200, '{"data":[{"name":"x"}]}'), "no list of models in OpenAI's form"),
        (answering(200, ""), "no list of models in OpenAI's form"),
        (answering(302), "was answered with 302"),
        (answering(503, '{"error":"busy"}'), "was answered with 503"),
        (answering(200, "[" * 100_000), "no list of models in OpenAI's form"),
        (answering(200, " " * (2**20 + 1)), "no list of models in OpenAI's form"),
    ],
)
async def test_what_is_no_model_server(handler: Handler, reason: str) -> None:
    async with serving(handler) as url:
        assert reason in await failure(url)


async def test_nothing_answers() -> None:
    reason = await failure(f"http://127.0.0.1:{free_port()}")
    assert "Connection refused. Is it started? --model takes the URL of a model server" in reason


async def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_url, "ANSWER_TIMEOUT", 0.05)

    async def hold(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with serving(hold) as url:
        assert "no answer within 0.05 seconds" in await failure(url)


@pytest.mark.parametrize(
    "url",
    ["http://", "http://[", "http://u:sk-secret@h:1", "http://h/?key=sk-secret", "http://h:x"],
)
async def test_urls_that_cannot_be_used(url: str) -> None:
    reason = await failure(url)
    assert "cannot be used" in reason or "is not valid" in reason
    assert "sk-secret" not in reason
