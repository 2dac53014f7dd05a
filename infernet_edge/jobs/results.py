"""ContainerResults as JSON text, put together from what the containers said."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from infernet_edge.schema import ContainerError, encoder

_MOST_TEXT = 4096  # characters of an error that are kept


def container_output(container: str, output: bytes) -> bytes:
    """A ContainerOutput; `output` is JSON text, the container's id needs no escaping."""
    return b'{"container":"%b","output":%b}' % (container.encode(), output)


def container_error(container: str, error: str) -> bytes:
    """A ContainerError, its text shortened to 4 KiB.

    Headers of a container may hold bytes that are no text; JSON has no place for those.
    """
    error = error.encode("utf-8", "replace").decode()
    if len(error) > _MOST_TEXT:
        error = error[: _MOST_TEXT - 1] + "…"
    return encoder.encode(ContainerError(container, error))


def streamed_output(container: str, content: bytes, *, truncated: bool) -> bytes:
    """The ContainerOutput of a stream: its text, or base64 of what is not UTF-8.

    `truncated` says that there was more than the node keeps.
    """
    output: dict[str, str | bool] = {}
    try:
        output["output"] = content.decode()
    except UnicodeDecodeError:
        output["output_base64"] = base64.b64encode(content).decode()
    if truncated:
        output["truncated"] = True
    return container_output(container, encoder.encode(output))


def json_list(items: Sequence[bytes]) -> bytes | None:
    """A JSON list of JSON texts; None when it is empty."""
    return b"[%b]" % b",".join(items) if items else None
