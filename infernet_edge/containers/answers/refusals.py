"""What a container answers with an error status."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NoReturn

from infernet_edge.containers.answers.charsets import in_utf8
from infernet_edge.containers.answers.failures import ContainerFailure, Refusal
from infernet_edge.containers.answers.pages import is_page, page_text
from infernet_edge.containers.service import Service
from infernet_edge.http_client.response import HttpResponse

_MAX_ERROR_BYTES = 4096  # bytes of a container's error text that are kept
UNAVAILABLE: Final = 503


class Loading(ContainerFailure):
    """The server has not loaded its model yet: it did nothing with the request."""


async def refuse(service: Service, response: HttpResponse) -> NoReturn:
    """Raise the failure of a call that was answered with a status of 300 or more; closes it.

    It is Loading where the container's protocol may say so: servers of models do, with status 503
    and that word.
    """
    try:
        status, protocol = response.status, service.protocol
        if status < 500:
            service.clear_suspicion()
        if status < 400:
            raise ContainerFailure(f"Container answered with a redirect ({status}), not followed")
        text = "" if response.is_compressed else await _beginning(response)
    finally:
        response.close()  # the rest of a long error page is not waited for
    if status == UNAVAILABLE and protocol.LOADS_MODELS and "loading" in text.lower():
        reason = f"Container is not ready: {protocol.error_text(text)}"
        raise Loading(reason, repeatable=True, refusal=Refusal(status, text))
    if status >= 500 and service.container.health_path:
        # Without it the probe would accept the same status.
        service.set_suspect(f"a call was answered with status {status}")
    pause = _retry_after(response)
    raise ContainerFailure(
        _error_text(response, text, protocol.error_text),
        repeatable=status >= 500 or status == 429,
        retry_after=pause,
        unexplained=status >= 500 and not text.startswith(("{", "[")),
        refusal=Refusal(status, text, pause),
    )


def _error_text(response: HttpResponse, text: str, error_text: Callable[[str], str]) -> str:
    """What a container answered with an error status; a page as one line."""
    status = f"{response.status} {response.reason}".rstrip()
    if text and not is_page(text, response.header("content-type")):
        return error_text(text)
    line = page_text(text)
    if line in status:
        line = status
    elif not line.startswith(str(response.status)):  # otherwise the page shows the status itself
        line = f"{status}: {line}"
    return f"Container answered {line}"


def _retry_after(response: HttpResponse) -> float:
    """The seconds of a Retry-After (RFC 9110, section 10.2.3); 0 for none, and for a date."""
    seconds = response.header("retry-after")
    return float(seconds) if re.fullmatch(r"[0-9]{1,9}", seconds) else 0.0


async def _beginning(response: HttpResponse) -> str:
    """The beginning of an answer, as text."""
    content = b""
    while len(content) < _MAX_ERROR_BYTES:
        part = await response.read(_MAX_ERROR_BYTES - len(content))
        if not part:
            break
        content += part
    content_type = response.header("content-type")
    return in_utf8(content, content_type).decode("utf-8", "replace").strip()
