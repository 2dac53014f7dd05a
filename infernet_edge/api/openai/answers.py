"""Answers in OpenAI's form, made of what a container answered.

A container may answer with OpenAI's object, which stays as it is; with a text; with an object that
has a text under one of the usual keys; or with a list of those, one for each choice. All else is
shown as its JSON text. Of embeddings it may answer the vectors.
"""

from __future__ import annotations

import array
import base64
import sys
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from infernet_edge.api.openai.paths import CHAT, COMPLETIONS
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.protocols.openai import error_text
from infernet_edge.schema import encoder

_TEXT_KEYS: Final = (
    *("output", "text", "content", "response", "completion", "generated_text", "answer"),
    *("result", "message"),
)
_VECTOR_KEYS: Final = ("data", "embeddings", "embedding", "vectors", "vector", "output", "result")
_DEPTH: Final = 4  # objects and lists within each other in which a text is looked for
_MAX_CHOICES: Final = 128  # as in OpenAI's API
_MAX_LIST: Final = 2**20  # bytes of a list that may be one of choices
_SHOWN: Final = 100  # bytes of an answer that is none
_NO_USAGE: Final = Raw(b'{"prompt_tokens":0,"total_tokens":0}')


class Naming(NamedTuple):
    """What names an answer: the id of its job, the model as requested, seconds since 1970."""

    job: str
    model: str
    created: int

    def identifier(self, path: str) -> str:
        """The id of an answer."""
        return f"{'chatcmpl' if path == CHAT else 'cmpl'}-{self.job}"


class _KnownKeys(Struct):
    """OpenAI's object, as far as it is looked at; every other key is skipped."""

    id: Raw | UnsetType = UNSET
    object: Raw | UnsetType = UNSET
    created: Raw | UnsetType = UNSET
    model: Raw | UnsetType = UNSET
    choices: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    usage: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class _Embedding(Struct):
    embedding: Raw


def _keys(name: str, keys: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """A decoder of some keys of an object, which skips all others."""
    fields = [(key, Raw | UnsetType, UNSET) for key in keys]
    return msgspec.json.Decoder(msgspec.defstruct(name, fields))


_objects = msgspec.json.Decoder(_KnownKeys)
_texts = msgspec.json.Decoder(str)
_lists = msgspec.json.Decoder(list[Raw])
_embeddings = msgspec.json.Decoder(list[_Embedding])
_vectors = msgspec.json.Decoder(list[float])
_with_text = _keys("WithText", _TEXT_KEYS)
_with_vectors = _keys("WithVectors", _VECTOR_KEYS)
_choices = msgspec.json.Decoder(list[dict[str, Any]])


def text_answer(path: str, naming: Naming, output: bytes) -> bytes:
    """The answer to a chat or a completion; `output` is JSON text. Raises ContainerFailure."""
    found = _known(output)
    named = {
        "id": naming.identifier(path),
        "object": "chat.completion" if path == CHAT else "text_completion",
        "created": naming.created,
        "model": naming.model,
    }
    if found is not None and _first(found.choices) == b"[":
        return _completed(output, found, named)
    choices = [_choice(path, index, text) for index, text in enumerate(_texts_of(output, _DEPTH))]
    return encoder.encode({**named, "choices": choices, **_usage_of(found)})


def events_of(path: str, naming: Naming, output: bytes, *, with_usage: bool) -> list[bytes]:
    """The same as server-sent events, without their end; see `Chunks`."""
    found = _known(output)
    chunks = Chunks(path, naming)
    if found is not None and found.choices is not UNSET and _first(found.choices) == b"[":
        try:
            choices = _choices.decode(found.choices)
        except (msgspec.ValidationError, RecursionError):
            raise ContainerFailure("Container's choices are not a list of objects") from None
    else:
        choices = [
            _choice(path, number, text) for number, text in enumerate(_texts_of(output, _DEPTH))
        ]
    events = []
    for number, choice in enumerate(choices):
        index, reason = choice.get("index", number), choice.get("finish_reason")
        content = _delta(choice.get("message")) if path == CHAT else choice.get("text", "")
        events += [chunks.event(content, index), chunks.end(index, reason or "stop")]
    if with_usage and (usage := _usage_of(found)):
        events.append(chunks.usage(usage["usage"]))
    return events


def embeddings_answer(naming: Naming, output: bytes, *, inputs: int, as_base64: bool) -> bytes:
    """The answer to a request of embeddings; `output` is JSON text.

    `inputs` is the number of vectors that are expected, 0 for any. Raises ContainerFailure.
    """
    found = _known(output)
    named: dict[str, Any] = {"object": "list", "model": naming.model, "usage": _NO_USAGE}
    if found is not None and _is_embeddings(found.data):
        return _completed(output, found, named)
    vectors = _vectors_of(output, _DEPTH)
    if inputs and len(vectors) != inputs:
        raise ContainerFailure(
            f"Container answered {len(vectors)} embeddings, expected {inputs}: one for each input"
        )
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(each, as_base64=as_base64)}
        for index, each in enumerate(vectors)
    ]
    return encoder.encode({**named, "data": data, **_usage_of(found)})


class Chunks:
    """Makes the events of a stream: objects with the part of a choice that is new."""

    def __init__(self, path: str, naming: Naming) -> None:
        self._is_chat = path == CHAT
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        self._head = {
            "id": naming.identifier(path),
            "object": kind,
            "created": naming.created,
            "model": naming.model,
        }

    def begin(self) -> bytes:
        """The first event of a chat, which names the role; b"" for a completion."""
        return self.event({"role": "assistant", "content": ""}) if self._is_chat else b""

    def text(self, text: str) -> bytes:
        """A part of the text."""
        return self.event({"content": text} if self._is_chat else text)

    def event(self, content: Any, index: int = 0) -> bytes:
        """A part of a choice: a delta of a chat, a text of a completion."""
        return self._choice(content, index, None)

    def end(self, index: int = 0, reason: str = "stop") -> bytes:
        """The last event of a choice."""
        return self._choice({} if self._is_chat else "", index, reason)

    def usage(self, usage: Raw) -> bytes:
        """What the whole stream used."""
        return _event({**self._head, "choices": [], "usage": usage})

    def _choice(self, content: Any, index: int, reason: str | None) -> bytes:
        choice = {"index": index, "delta" if self._is_chat else "text": content}
        choice |= {"logprobs": None, "finish_reason": reason}
        return _event({**self._head, "choices": [choice]})


def _event(content: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % encoder.encode(content)


def _known(output: bytes) -> _KnownKeys | None:
    """An object, None for other values. Raises ContainerFailure for one with an error only."""
    if output.lstrip()[:1] != b"{":
        return None
    found = _objects.decode(output)
    if _first(found.error) not in (b"", b"n") and found.choices is UNSET and found.data is UNSET:
        raise ContainerFailure(error_text(output.decode()))
    return found


def _completed(output: bytes, found: _KnownKeys, named: dict[str, Any]) -> bytes:
    """OpenAI's object with the keys that it lacks."""
    added = {key: value for key, value in named.items() if getattr(found, key) is UNSET}
    if not added:
        return output
    rest = output[output.index(b"{") + 1 :]
    return encoder.encode(added)[:-1] + b"," + rest  # it has choices, or data


def _choice(path: str, index: int, text: str) -> dict[str, Any]:
    if path == COMPLETIONS:
        content: dict[str, Any] = {"text": text}
    else:
        content = {"message": {"role": "assistant", "content": text, "refusal": None}}
    return {"index": index, **content, "logprobs": None, "finish_reason": "stop"}


def _delta(message: Any) -> Any:
    """The message of a whole answer as a delta, whose tool calls are numbered."""
    if not isinstance(message, dict):
        return {"role": "assistant", "content": ""}
    calls = message.get("tool_calls")
    if isinstance(calls, list) and all(isinstance(call, dict) for call in calls):
        numbered = [{"index": index, **call} for index, call in enumerate(calls)]
        return {**message, "tool_calls": numbered}
    return message


def _usage_of(found: _KnownKeys | None) -> dict[str, Raw]:
    if found is None or _first(found.usage) != b"{" or found.usage is UNSET:
        return {}
    return {"usage": found.usage}


def _texts_of(value: bytes | Raw, depth: int) -> list[str]:
    """The texts of an answer, one for each choice."""
    first = _first(value)
    if first == b"[" and len(memoryview(value)) <= _MAX_LIST:
        items = _lists.decode(value)
        if 0 < len(items) <= _MAX_CHOICES and all(_is_text(item, depth - 1) for item in items):
            return [_text_of(item, depth - 1) for item in items]
    inner = _inner(value, depth)
    if inner is not None and _first(inner) == b"[":
        return _texts_of(inner, depth - 1)
    return [_text_of(value, depth)]


def _text_of(value: bytes | Raw, depth: int) -> str:
    """One text; JSON text where there is none."""
    first = _first(value)
    if first == b'"':
        return _texts.decode(value)
    if first == b"n":
        return ""
    inner = _inner(value, depth)
    return bytes(value).decode() if inner is None else _text_of(inner, depth - 1)


def _is_text(value: bytes | Raw, depth: int) -> bool:
    return _first(value) == b'"' or _inner(value, depth) is not None


def _inner(value: bytes | Raw, depth: int) -> Raw | None:
    """What an object has under the first of the usual keys; None for nothing."""
    if depth <= 0 or _first(value) != b"{":
        return None
    found = _with_text.decode(value)
    values = (getattr(found, key) for key in _TEXT_KEYS)
    return next((each for each in values if _first(each) not in (b"", b"n")), None)


def _is_embeddings(data: Raw | UnsetType) -> bool:
    if data is UNSET or _first(data) != b"[":
        return False
    try:
        return bool(_embeddings.decode(data))
    except msgspec.ValidationError:
        return False


def _vectors_of(value: bytes | Raw, depth: int) -> list[Raw]:
    """The vectors of an answer, each a list of numbers."""
    first = _first(value)
    if first == b"{" and depth > 0:
        found = _with_vectors.decode(value)
        values = (getattr(found, key) for key in _VECTOR_KEYS)
        inner = next((each for each in values if _first(each) not in (b"", b"n")), None)
        if inner is not None:
            return _vectors_of(inner, depth - 1)
    try:
        if first == b"[":
            item = bytes(memoryview(value)[1:64]).lstrip()[:1]
            if item == b"[":
                return _lists.decode(value)
            if item == b"{":
                return [each.embedding for each in _embeddings.decode(value)]
            return [Raw(bytes(value))]
    except msgspec.ValidationError:
        raise _no_vectors(value) from None
    raise _no_vectors(value)


def _no_vectors(value: bytes | Raw) -> ContainerFailure:
    shown = bytes(memoryview(value)[:_SHOWN]).decode("utf-8", "replace")
    return ContainerFailure(
        f"Container answered no embeddings, which are lists of numbers: {shown}"
    )


def _vector(value: Raw, *, as_base64: bool) -> Raw | str:
    """A vector as it is, or as the base64 of 32-bit numbers, little-endian."""
    try:
        numbers = _vectors.decode(value)
    except msgspec.ValidationError:
        raise _no_vectors(value) from None
    if not as_base64:
        return value
    packed = array.array("f", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()


def _first(value: bytes | Raw | UnsetType) -> bytes:
    """The first character of a JSON text; b"" for none."""
    return b"" if value is UNSET else bytes(memoryview(value)[:4096]).lstrip()[:1]
