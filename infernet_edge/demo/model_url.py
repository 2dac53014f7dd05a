"""A model server that runs already: llama.cpp's, Ollama, vLLM and others with OpenAI's API."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from infernet_edge.config.model import Container
from infernet_edge.config.secret_files import Secret, read_secret
from infernet_edge.containers.answers.failures import cause_of
from infernet_edge.demo.client import DemoFailed
from infernet_edge.demo.console import print_text
from infernet_edge.demo.model_choice import (
    ANSWER_TIMEOUT,
    CONTAINER,
    FORMS,
    LOAD_TIMEOUT,
    MAX_BYTES,
    ModelChoice,
    ModelService,
    some_of,
)
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError
from infernet_edge.http_client.heads import Headers
from infernet_edge.http_client.urls import parse_url

_POLL_PERIOD: Final = 0.2
_ENDPOINT: Final = re.compile(r"/v1(/(chat/completions|completions|embeddings|models)?)?$")


class _ServedModel(msgspec.Struct):
    id: str


class _ServedModels(msgspec.Struct):
    data: list[_ServedModel] | None = None  # Ollama without models answers null


async def server_at(choice: ModelChoice) -> ModelService:
    """The server at the URL of the choice, once it has a model. Raises DemoFailed."""
    base = _base_url(choice.what)
    key = await asyncio.to_thread(_key, choice.key_file) if choice.key_file else None
    listed = await _listed_models(base, key)
    if not listed:
        raise DemoFailed(
            f"The server at {base} has no models yet. Give it one first, for example with"
            " `ollama pull gemma3:1b`."
        )
    if choice.name and choice.name not in listed:
        raise DemoFailed(
            f"The server at {base} has no model {choice.name}. It has {some_of(listed)}:"
            " choose one with --model-name."
        )
    name = choice.name or listed[0]
    runs = f"The server at {base} runs {name}."
    if not choice.name and len(listed) > 1:
        runs += f" It has {len(listed)} models: choose another one with --model-name."
    container = Container(
        id=CONTAINER,
        url=base,
        bearer=key,
        protocol="openai",
        models=[name],
        timeout=LOAD_TIMEOUT,  # Ollama loads it at the first request
    )
    return ModelService(container, name, runs)


def _base_url(text: str) -> str:
    """The URL without a path of OpenAI's API, which the node adds."""
    try:
        parse_url(text)
        url = urlsplit(text)
    except ValueError:
        raise DemoFailed(f"The URL of --model is not valid. {FORMS}") from None
    if "@" in url.netloc or url.query or url.fragment:
        raise DemoFailed(
            "The URL of --model cannot be used: expected http://HOST:PORT, with a path at most."
            " A key belongs into a file, for --model-key."
        )
    return _ENDPOINT.sub("", text.rstrip("/")).rstrip("/")


def _key(path: str) -> Secret:
    try:
        text, _ = read_secret(Path(path).expanduser())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DemoFailed(f"The file {path} of --model-key cannot be read: {reason}.") from None
    if not text or not text.isprintable() or not text.isascii():
        raise DemoFailed(f"The file {path} of --model-key must hold one key, on one line.")
    return Secret(text)


async def _listed_models(base: str, key: Secret | None) -> list[str]:
    """The names of the server's models; waits while it loads one."""
    headers = (("Authorization", f"Bearer {key.reveal()}"),) if key else ()
    until = asyncio.get_running_loop().time() + LOAD_TIMEOUT
    async with HttpClient() as http:
        waited = False
        while True:
            status, content = await _list(http, base, headers)
            loading = status == 503 and b"loading" in content.lower()
            if not loading or asyncio.get_running_loop().time() >= until:
                break
            if not waited:
                print_text("The server loads its model ...")
            waited = True
            await asyncio.sleep(_POLL_PERIOD)
    if status in (401, 403):
        what = "refuses the key in the file of" if key else "wants a key: pass its file with"
        raise DemoFailed(f"The server at {base} {what} --model-key.")
    try:
        if status != 200:
            raise ValueError
        listed = msgspec.json.decode(content, type=_ServedModels).data or []
    except (ValueError, RecursionError):
        raise DemoFailed(
            f"What answers at {base} has no list of models in OpenAI's form: GET /v1/models was"
            f" answered with {status}. {FORMS}"
        ) from None
    return [each.id for each in listed if each.id]


async def _list(http: HttpClient, base: str, headers: Headers) -> tuple[int, bytes]:
    """Status and beginning of the answer of GET /v1/models."""
    try:
        target = parse_url(f"{base}/v1/models")
        async with (
            asyncio.timeout(ANSWER_TIMEOUT),
            await http.request("GET", target, headers) as response,
        ):
            content = b""
            while len(content) < MAX_BYTES and (part := await response.read()):
                content += part
            return response.status, content[:MAX_BYTES]
    except TimeoutError:
        reason = f"no answer within {ANSWER_TIMEOUT:g} seconds"
    except HttpError as error:
        reason = cause_of(error)
    raise DemoFailed(f"No model server answers at {base}: {reason}. Is it started? {FORMS}")
