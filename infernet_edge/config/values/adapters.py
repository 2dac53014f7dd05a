"""Check the settings of `containers[].protocol`: path, headers, query, result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from infernet_edge.config.errors import Problem
from infernet_edge.config.model import Container
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.texts import printable

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_PATH: Final = re.compile(r"/[!$%&'()*+,\-./0-9:;=@A-Z_a-z~]*")  # RFC 3986, 3.3
_POINTER: Final = re.compile(r"(/([^/~]|~[01])*)*")  # RFC 6901, 3
_INDEX: Final = re.compile(r"[0-9]{4,}")
_MAX_POINTER: Final = 1000  # characters; an answer is decoded once for each of its parts
# The connection's (RFC 9110, 7.6.1), those of the body, and what the node could not decode.
_NOT_SET: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te"}
    | {"trailer", "expect", "proxy-connection", "content-encoding", "accept-encoding"}
)
_WITH_HTTP: Final = ("path", "method", "headers", "query", "result")
_DEFAULTS: Final = Container(id="")


def check_adapter(container: Container, path: str) -> Iterator[Problem]:
    """The errors in these settings of a container, whose place is `path`."""
    if container.protocol == "infernet":
        for key in _WITH_HTTP:
            if getattr(container, key) != getattr(_DEFAULTS, key):
                expected = (
                    'nothing with the protocol "infernet"; set protocol to "http" or "openai"'
                )
                yield Problem(f"{path}.{key}", "a value", expected)
        return
    if container.path and not _PATH.fullmatch(container.path):
        expected = "a path such as /predict, percent-encoded; parameters belong into query"
        yield Problem(f"{path}.path", f'"{printable(container.path)}"', expected)
    yield from _check_headers(container, f"{path}.headers")
    for name in container.query:
        if not name:
            yield Problem(f"{path}.query", "an empty name", "names of parameters")
    yield from _check_result(container.result, f"{path}.result")
    if container.protocol == "openai" and container.generates_proofs:
        expected = 'false: servers with the protocol "openai" make no proofs'
        yield Problem(f"{path}.generates_proofs", "true", expected)


def _check_headers(container: Container, path: str) -> Iterator[Problem]:
    seen = {"authorization"} if container.bearer else set[str]()
    for name, value in container.headers.items():
        text = value.reveal() if isinstance(value, Secret) else value
        lower = name.lower()
        if not _TOKEN.fullmatch(name):
            expected = "a name of a header: letters, digits, - and _"
            yield Problem(path, f'"{printable(name)}"', expected)
        elif lower in _NOT_SET:
            yield Problem(f"{path}.{name}", "a header that the node sets", "other headers")
        elif lower in seen:
            also = "bearer is set too" if lower == "authorization" else "it is there twice"
            yield Problem(f"{path}.{name}", f"a second value ({also})", "one of them")
        elif not text.isprintable() or text != text.strip():
            expected = "text of one line, without spaces around it, for a header"
            yield Problem(f"{path}.{name}", "text that cannot be a header", expected)
        seen.add(lower)


def _check_result(pointer: str, path: str) -> Iterator[Problem]:
    expected = 'a JSON pointer (RFC 6901) such as /choices/0/text, with "~1" for / and "~0" for ~'
    if not _POINTER.fullmatch(pointer) or len(pointer) > _MAX_POINTER:
        yield Problem(path, f'"{printable(pointer[:_MAX_POINTER])}"', expected)
    elif any(_INDEX.fullmatch(part) for part in pointer.split("/")):
        yield Problem(path, f'"{printable(pointer)}"', "an item of a list up to 999")
