"""Infernet's container interface: POST /service_output with the input and where it comes from."""

from __future__ import annotations

from typing import Final

from infernet_edge.config.model import Container
from infernet_edge.containers.answers.checking import json_output
from infernet_edge.containers.protocols.call import Call, ContainerInput, RequestBody

HEALTH_PATH: Final = "/"
LOADS_MODELS: Final = False
PASSES_JSON: Final = True
NAMES_MODELS: Final = False

_PATH: Final = "/service_output"


def needs_whole(given: ContainerInput) -> bool:
    """Never: the input is sent unchanged."""
    return False


def request(container: Container, given: ContainerInput, model: str) -> Call:
    """The input within the object that containers expect."""
    data, source, destination, requires_proof = given
    before = b'{"source":%d,"destination":%d,"data":' % (source, destination)
    after = b',"requires_proof":%b}' % (b"true" if requires_proof else b"false")
    if isinstance(data, bytes):
        return Call(_PATH, b"%b%b%b" % (before, data, after))
    return Call(_PATH, RequestBody(before, data, after))


stream_request = request  # the destination says that it is a stream


def result(
    container: Container,
    given: ContainerInput,
    answer: bytes | bytearray,
    content_type: str,
    *,
    keep_numbers: bool,
) -> bytes | bytearray:
    """The answer itself, which is JSON of any content type."""
    return json_output(answer, content_type, keep_numbers=keep_numbers)


def event_watch() -> None:
    """None: its streams may be of any form."""


def error_text(text: str) -> str:
    """All of it."""
    return text
