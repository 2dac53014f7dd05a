"""ContainerResults as JSON text, built from the answers of the containers."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from infernet_edge.schema import ContainerError, encoder

_MAX_TEXT = 4096  # characters of an error that are kept
_utf8 = codecs.getincrementaldecoder("utf-8")


def container_output(container: str, output: bytes | bytearray) -> bytes | bytearray:
    """A ContainerOutput; `output` is JSON text, the container's id needs no escaping.

    A bytearray, used for long outputs, is changed in place, so that there is only one copy.
    """
    before, after = around_output(container)
    if isinstance(output, bytes):
        return b"%b%b%b" % (before, output, after)
    output[:0] = before
    output += after
    return output


def around_output(container: str) -> tuple[bytes, bytes]:
    """The JSON text before and after the output in a ContainerOutput."""
    return b'{"container":"%b","output":' % container.encode(), b"}"


def container_error(container: str, error: str) -> bytes:
    """A ContainerError, its text shortened to 4 KiB.

    Headers of a container may hold bytes that are not text, which JSON cannot contain.
    """
    error = error.encode("utf-8", "replace").decode()
    if len(error) > _MAX_TEXT:
        error = error[: _MAX_TEXT - 1] + "…"
    return encoder.encode(ContainerError(container, error))


def streamed_output(
    container: str, texts: Callable[[], Iterable[bytes]], *, truncated: bool, complete: bool
) -> Iterator[bytes]:
    """The ContainerOutput of a stream, in parts: its text, or base64 of what is not UTF-8.

    `texts` returns the bytes of the stream, each time that it is called. `truncated`: the stream
    was longer than the node keeps. One that is not `complete` may end within a character.
    """
    before, after = around_output(container)
    yield before
    if _is_text(texts(), complete=complete):
        yield b'{"output":"'
        decoder = _utf8()
        for text in texts():
            yield encoder.encode(decoder.decode(text))[1:-1]  # without the quotes
    else:
        yield b'{"output_base64":"'
        rest = b""
        for text in texts():
            rest += text
            whole = len(rest) - len(rest) % 3  # bytes that become whole groups of four characters
            yield base64.b64encode(rest[:whole])
            rest = rest[whole:]
        yield base64.b64encode(rest)
    yield b'","truncated":true}' if truncated else b'"}'
    yield after


def _is_text(texts: Iterable[bytes], *, complete: bool) -> bool:
    decoder = _utf8()
    try:
        for text in texts:
            decoder.decode(text)
        decoder.decode(b"", final=complete)
    except UnicodeDecodeError:
        return False
    return True


def json_list(items: Sequence[bytes | bytearray]) -> bytes | None:
    """A JSON list of JSON texts; None when it is empty."""
    return b"[%b]" % b",".join(items) if items else None


class Streamed(Struct, frozen=True):
    """How a stream ended: `error` when it failed, `truncated` when there was more than is kept.

    `rest` follows the pieces that were stored; `stored` is their number, None for all.
    """

    rest: bytes = b""
    truncated: bool = False
    error: str | None = None
    stored: int | None = None

    def output(self, container: str, texts: Callable[[], Iterable[bytes]]) -> Iterator[bytes]:
        """The ContainerOutput, in parts; see `streamed_output`."""
        complete = self.error is None and not self.truncated
        return streamed_output(container, texts, truncated=self.truncated, complete=complete)
