"""Any HTTP service that takes JSON: the input is the body, the output is the answer or a part.

An answer of type text/* other than HTML is a text, unless it is a JSON object or list: some servers
send JSON as text/plain. For a subscription of a contract see onchain.py.
"""

from __future__ import annotations

from typing import Final

import msgspec

from infernet_edge.config.model import Container
from infernet_edge.containers.answers.charsets import in_utf8
from infernet_edge.containers.answers.checking import is_json, json_output
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.protocols import onchain
from infernet_edge.containers.protocols.call import ON_CHAIN, Call, ContainerInput, RequestBody
from infernet_edge.containers.protocols.parts import part_of

HEALTH_PATH: Final = "/"
LOADS_MODELS: Final = True
PASSES_JSON: Final = False
NAMES_MODELS: Final = False


def needs_whole(given: ContainerInput) -> bool:
    """Only what a contract gives, which is hex digits."""
    return given.source == ON_CHAIN


def request(container: Container, given: ContainerInput, model: str) -> Call:
    """The input as the body, unchanged."""
    data, path, method = given.data, container.path or "/", container.method
    if not isinstance(data, bytes):
        return Call(path, RequestBody(b"", data, b""), method)
    if given.source == ON_CHAIN:
        text = onchain.input_text(data)
        data = text if is_json(text) else msgspec.json.encode(text.decode())
    return Call(path, data, method)


stream_request = request


def result(
    container: Container,
    given: ContainerInput,
    answer: bytes | bytearray,
    content_type: str,
    *,
    keep_numbers: bool,
) -> bytes | bytearray:
    """The answer, or the part of it at the pointer `result`."""
    if not container.result and _is_text(content_type):
        output = _text_output(answer, in_utf8(answer, content_type))
    else:
        output = json_output(answer, content_type, keep_numbers=False)
        if container.result:
            output = part_of(output, container.result)
    return onchain.payload(output) if given.destination == ON_CHAIN else output


def event_watch() -> None:
    """None: its streams may be of any form."""


def error_text(text: str) -> str:
    """All of it."""
    return text


def _is_text(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") and kind != "text/html"


def _text_output(answer: bytes | bytearray, text: bytes | bytearray) -> bytes | bytearray:
    """The answer as a string, but for objects and lists; `text` is the answer in UTF-8."""
    for content in (answer, text):
        if content.lstrip()[:1] in (b"{", b"[") and is_json(content):
            return content
    try:
        return msgspec.json.encode(text.decode())
    except UnicodeDecodeError:
        raise ContainerFailure("Container's answer is text that is not UTF-8") from None
