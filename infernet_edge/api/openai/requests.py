"""Requests of OpenAI's clients, and the jobs that they become.

Only the keys that matter here are decoded: all others are for the container.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from infernet_edge.api.jobs import batch_items
from infernet_edge.api.json_io import decode
from infernet_edge.api.openai.paths import CHAT, COMPLETIONS, EMBEDDINGS
from infernet_edge.errors import BadRequest
from infernet_edge.jobs.contents import Buffer
from infernet_edge.schema import encoder

_MAX_CHECKED: Final = 20_000  # objects in the messages of a chat that are checked one by one
_MAX_KEYS: Final = 10_000  # of a request whose model is replaced
_BRACE: Final = ord("}")
_HEAD: Final = 64  # bytes of a value that show what it is
_MORE: Final = re.compile(r"trailing characters \(byte (\d+)\)")  # counted from 1
_SPACE: Final = re.compile(rb"[ \t\n\r]*")

_INPUT: Final = {CHAT: "messages", COMPLETIONS: "prompt", EMBEDDINGS: "input"}
"""The key of each endpoint that holds what the model works on."""

_OTHERS: Final = {COMPLETIONS: ("messages",), EMBEDDINGS: ("messages", "prompt")}
"""Keys that mean another endpoint: a container's protocol chooses the endpoint by the key."""


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _RequestKeys(Struct):
    """The keys of all endpoints."""

    model: str
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: str | None = None
    messages: Raw | UnsetType = UNSET
    prompt: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET


class _Message(Struct):
    role: str


_requests = msgspec.json.Decoder(_RequestKeys)
_messages = msgspec.json.Decoder(list[_Message])
_values = msgspec.json.Decoder(Raw)
_keys = msgspec.json.Decoder(str)


class Asked(NamedTuple):
    """What a request asks for.

    `choices`: how many; `inputs`: the number of texts of which embeddings are wanted, 0 when there
    are more than are counted; `with_usage`: a stream ends with what it used.
    """

    path: str
    model: str
    streams: bool = False
    with_usage: bool = False
    choices: int = 1
    inputs: int = 1
    base64: bool = False


def read_request(path: str, body: bytes | bytearray) -> Asked:
    """Check a request to one of the endpoints; raises BadRequest that names the field."""
    found = decode(body, _requests)
    name = _INPUT[path]
    for other in _OTHERS.get(path, ()):
        if _head(getattr(found, other)) not in (b"", b"null"):
            right = next(each for each, key in _INPUT.items() if key == other)
            raise BadRequest(f"{other}: expected none, it belongs to {right}", {"field": other})
    value = getattr(found, name)
    if path == CHAT:
        _check_messages(value, body.count(b"{"))
    elif _head(value)[:1] not in (b'"', b"[") or _is_empty(value):
        raise _wrong(name, "a text, or a list that is not empty", value)
    if not found.model:
        raise BadRequest("model: expected the name of a model, found none", {"field": "model"})
    options = found.stream_options or _StreamOptions()
    return Asked(
        path,
        found.model,
        bool(found.stream) and path != EMBEDDINGS,
        bool(options.include_usage),
        found.n or 1,
        _number_of(value) if path == EMBEDDINGS else 1,
        found.encoding_format == "base64",
    )


def job_of(container: str, body: bytes | bytearray, deadline: float | None) -> bytes | bytearray:
    """The JobRequest with a request as its data; a bytearray is changed in place."""
    options = "" if deadline is None else f'"options":{{"deadline":{deadline:g}}},'
    before = f'{{"containers":["{container}"],{options}"data":'.encode()
    if isinstance(body, bytes):
        return b"%b%b}" % (before, body)
    body[:0] = before
    body += b"}"
    return body


def with_model(body: bytes | bytearray, model: str) -> bytearray:
    """The request with another value of `model`; all else stays as the client wrote it.

    A bytearray is changed in place, unless it has the key several times.
    """
    places, value = _places(body, "model"), encoder.encode(model)
    if len(places) == 1:
        changed = body if isinstance(body, bytearray) else bytearray(body)
        changed[slice(*places[0])] = value
        return changed
    changed, view, behind = bytearray(), memoryview(body), 0
    for start, end in places:  # each part is moved once, however many there are
        changed += view[behind:start]
        changed += value
        behind = end
    changed += view[behind:]
    return changed


def _places(body: Buffer, name: str) -> list[tuple[int, int]]:
    """Where the values of a key of an object are. The text has to be valid, and an object."""
    view = memoryview(body)
    places: list[tuple[int, int]] = []
    position = _after_space(view, 0)
    for _ in range(_MAX_KEYS):
        position = _after_space(view, position + 1)  # after the brace, or the comma
        if view[position] == _BRACE:
            return places
        end = _end_of(view, position)
        key = _keys.decode(view[position:end])
        position = _after_space(view, _after_space(view, end) + 1)
        end = _end_of(view, position)
        if key == name:
            places.append((position, end))
        position = _after_space(view, end)
        if view[position] == _BRACE:
            return places
    raise BadRequest(f"Expected at most {_MAX_KEYS} keys in a request")


def _end_of(view: memoryview, start: int) -> int:
    """Where the value that begins at `start` ends: the decoder says where the text after it is."""
    try:
        _values.decode(view[start:])
    except msgspec.DecodeError as error:
        if more := _MORE.search(str(error)):
            return start + int(more[1]) - 1
    raise BadRequest("Malformed JSON: expected the end of an object")


def _after_space(view: memoryview, start: int) -> int:
    found = _SPACE.match(view, start)
    return found.end() if found else start


def _check_messages(value: Raw | UnsetType, objects: int) -> None:
    if value is UNSET or _head(value)[:1] != b"[" or _is_empty(value):
        raise _wrong("messages", "a list of objects that is not empty", value)
    if objects > _MAX_CHECKED:
        return  # the container checks them
    try:
        decode(value, _messages)
    except BadRequest as error:
        field = f"messages{error.params.get('field', '')}"
        text = error.message.removeprefix("body: ")
        raise BadRequest(f"messages{text}", {"field": field}) from None


def _wrong(name: str, expected: str, value: Raw | UnsetType) -> BadRequest:
    kinds = {b"": "nothing", b'"': "text", b"{": "an object", b"[": "an empty list"}
    kinds |= {b"n": "null", b"t": "true", b"f": "false"}
    found = kinds.get(_head(value)[:1], "a number")
    return BadRequest(f"{name}: expected {expected}, found {found}", {"field": name})


def _head(raw: Raw | UnsetType) -> bytes:
    """The first bytes of a value; b"" for none. It may be long."""
    return b"" if raw is UNSET else bytes(memoryview(raw)[:_HEAD])


def _is_empty(value: Raw | UnsetType) -> bool:
    head = _head(value)
    return head[:1] == b"[" and head[1:].lstrip()[:1] == b"]"


def _number_of(value: Raw) -> int:
    """How many texts a list of inputs has: texts, or lists of the numbers of tokens."""
    head = _head(value)
    if head[:1] != b"[" or head[1:].lstrip()[:1] not in (b'"', b"["):
        return 1
    try:
        return len(batch_items(bytes(value)))
    except BadRequest:  # more than are counted
        return 0
