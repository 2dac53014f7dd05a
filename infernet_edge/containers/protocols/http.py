"""Any HTTP service that takes JSON: the input is the body, the output is the answer or a part.

An answer of type text/* other than HTML is a text, unless it is a JSON object or list: some servers
send JSON as text/plain. For a subscription of a contract see onchain.py.
"""

from __future__ import annotations

from typing import Final

import msgspec

from infernet_edge.config.model import Container
from infernet_edge.containers.answers.checking import is_json, json_output
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.protocols import onchain
from infernet_edge.containers.protocols.call import ON_CHAIN, Call, ContainerInput, RequestBody
from infernet_edge.containers.protocols.parts import part_of

HEALTH_PATH: Final = "/"
LOADS_MODELS: Final = True
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
    if not container.result and _is_text(answer, content_type):
        output: bytes | bytearray = _quoted(answer)
    else:
        output = json_output(answer, content_type, keep_numbers=False)
        if container.result:
            output = part_of(output, container.result)
    return onchain.payload(output) if given.destination == ON_CHAIN else output


def error_text(text: str) -> str:
    """All of it."""
    return text


def _is_text(answer: bytes | bytearray, content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if not kind.startswith("text/") or kind == "text/html":
        return False
    return not (answer.lstrip()[:1] in (b"{", b"[") and is_json(answer))


def _quoted(answer: bytes | bytearray) -> bytes:
    try:
        return msgspec.json.encode(answer.decode())
    except UnicodeDecodeError:
        raise ContainerFailure("Container's answer is text that is not UTF-8") from None
