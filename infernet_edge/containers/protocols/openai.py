"""Servers with OpenAI's API, such as llama.cpp's, Ollama, vLLM: chat, completions, embeddings.

The input is a request (https://platform.openai.com/docs/api-reference), whose keys choose the
endpoint. A text is a request too: a user's message, or what `path` of the container asks for.
Requests are passed on as they are, but for `model`, where it is missing, and `stream`, which is
that of the job.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from infernet_edge.config.model import Container
from infernet_edge.containers.answers.checking import is_json, json_output
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.protocols import onchain
from infernet_edge.containers.protocols.call import ON_CHAIN, Call, ContainerInput
from infernet_edge.containers.protocols.events import EventWatch
from infernet_edge.containers.protocols.parts import part_of

HEALTH_PATH: Final = "/health"
LOADS_MODELS: Final = True
PASSES_JSON: Final = False
NAMES_MODELS: Final = True

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
EMBEDDINGS: Final = "/v1/embeddings"

_MAX_CHANGED: Final = 2**20  # bytes of a request in which a key is replaced: it becomes a dict
_ENDPOINT: Final = re.compile(r"/(chat/completions|completions|embeddings|responses)/?$")
_NO_ERROR: Final = (b"null", b"false", b'""', b"{}")
_EXPECTED: Final = 'an object with "messages", "prompt" or "input", or a text'


class _Request(Struct):
    """The keys that matter; all others are skipped, however many there are."""

    messages: Raw | UnsetType = UNSET
    prompt: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET
    model: Raw | UnsetType = UNSET
    stream: Raw | UnsetType = UNSET


class _ErrorObject(Struct):
    """An error: OpenAI's object, the text of Ollama, or what FastAPI and old servers send."""

    error: Raw = Raw(b"null")
    message: Raw = Raw(b"null")
    detail: Raw = Raw(b"null")


_requests = msgspec.json.Decoder(_Request)
_errors = msgspec.json.Decoder(_ErrorObject)
_texts = msgspec.json.Decoder(str)


def models_path(container: Container) -> str:
    """Where it lists its models: beside the endpoint at `path`, where that is not the usual one."""
    root = _ENDPOINT.sub("", container.path) if container.path else ""
    return (root if root != container.path else "/v1") + "/models"


def needs_whole(given: ContainerInput) -> bool:
    """Always: its keys are looked at."""
    return True


def request(container: Container, given: ContainerInput, model: str) -> Call:
    """The request; one with `stream` loses it, since the job waits for the whole answer."""
    return _call(container, given, model, stream=False)


def stream_request(container: Container, given: ContainerInput, model: str) -> Call:
    """The request with `stream`, but for embeddings, which come as a whole."""
    return _call(container, given, model, stream=True)


def result(
    container: Container,
    given: ContainerInput,
    answer: bytes | bytearray,
    content_type: str,
    *,
    keep_numbers: bool,
) -> bytes | bytearray:
    """The answer, or the part of it at the pointer `result`."""
    output = json_output(answer, content_type, keep_numbers=False)
    if output.lstrip()[:1] == b"{" and bytes(_errors.decode(output).error) not in _NO_ERROR:
        raise ContainerFailure(error_text(output.decode()))
    if container.result:
        output = part_of(output, container.result)
    return onchain.payload(output) if given.destination == ON_CHAIN else output


def event_watch() -> Callable[[bytes], None]:
    """Servers report errors as an event of their streams, whose status was 200."""
    return EventWatch(_failure_in)


def _failure_in(content: bytes, *, is_error: bool) -> None:
    """Raise the failure in the content of an event; `is_error` is whether its type says so."""
    try:
        found = _errors.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return  # a text, or [DONE]
    if is_error or bytes(found.error) not in _NO_ERROR:
        raise ContainerFailure(error_text(content.decode("utf-8", "replace")))


def error_text(text: str) -> str:
    """The message of an error object; otherwise all of the text."""
    try:
        found = _errors.decode(text)
        for value in map(bytes, (found.error, found.message, found.detail)):
            if value.startswith(b"{"):
                value = bytes(_errors.decode(value).message)
            if value.startswith(b'"'):
                return _texts.decode(value).strip() or text
    except (msgspec.DecodeError, RecursionError):
        pass
    return text


def _call(container: Container, given: ContainerInput, model: str, *, stream: bool) -> Call:
    data = _object(container, given)
    try:
        known = _requests.decode(data)
    except msgspec.ValidationError:
        raise ContainerFailure(f"The input is not a request: expected {_EXPECTED}") from None
    path = container.path or _path_of(known)
    changes: dict[str, Raw | None] = {}
    if model and _value(known.model) in (b"", b"null", b'""'):
        changes["model"] = Raw(msgspec.json.encode(model))
    streams = _value(known.stream)
    if stream and streams != b"true" and not path.endswith("/embeddings"):
        changes["stream"] = Raw(b"true")
    elif not stream and streams not in (b"", b"null", b"false"):
        changes |= {"stream": None, "stream_options": None}
    return Call(path, _changed(data, known, changes), container.method)


def _object(container: Container, given: ContainerInput) -> bytes:
    """The JSON text of a request."""
    data = given.data
    if not isinstance(data, bytes):
        raise TypeError("the input has to be in memory")
    if given.source == ON_CHAIN:
        text = onchain.input_text(data)
        is_request = text.lstrip().startswith(b"{") and is_json(text)
        data = text if is_request else msgspec.json.encode(text.decode())
    if not data.lstrip().startswith(b'"'):
        return data
    if container.path.endswith("/embeddings") or container.path.endswith("/responses"):
        return b'{"input":%b}' % data
    if container.path.endswith("/completions") and not container.path.endswith("/chat/completions"):
        return b'{"prompt":%b}' % data
    return b'{"messages":[{"role":"user","content":%b}]}' % data


def _path_of(known: _Request) -> str:
    if known.messages is not UNSET:
        return CHAT
    if known.prompt is not UNSET:
        return COMPLETIONS
    if known.input is not UNSET:
        return EMBEDDINGS
    raise ContainerFailure(f"The input is not a request: expected {_EXPECTED}")


def _value(raw: Raw | UnsetType) -> bytes:
    return b"" if raw is UNSET else bytes(raw)


def _changed(data: bytes, known: _Request, changes: dict[str, Raw | None]) -> bytes:
    """The request with other values of some keys, None for none; numbers keep their digits."""
    if not changes:
        return data
    if all(getattr(known, key, UNSET) is UNSET for key in changes):
        added = msgspec.json.encode(changes)[:-1]
        rest = data[data.index(b"{") + 1 :].lstrip()
        return added + (b"" if rest.startswith(b"}") else b",") + rest
    if len(data) > _MAX_CHANGED:
        keys = " and ".join(changes)
        raise ContainerFailure(
            f"A request of more than {_MAX_CHANGED} bytes is not changed: leave out {keys}"
        )
    fields = {**msgspec.json.decode(data, type=dict[str, Raw]), **changes}
    return msgspec.json.encode({key: value for key, value in fields.items() if value is not None})
