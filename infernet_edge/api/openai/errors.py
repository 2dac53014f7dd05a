"""Errors in OpenAI's form: {"error": {"message", "type", "param", "code"}}.

https://platform.openai.com/docs/guides/error-codes; its libraries choose the class of an exception
by the status, and repeat requests that are answered with 408, 409, 429 and 500 or more, unless the
header `x-should-retry` is "false".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from infernet_edge.api.json_io import Answer
from infernet_edge.containers.answers.failures import ContainerFailure, Refusal
from infernet_edge.containers.protocols.openai import error_text
from infernet_edge.errors import (
    ApiError,
    BadRequest,
    ContainerFailed,
    NotFound,
    Refused,
)
from infernet_edge.jobs.job import CANCELLED, DEADLINE_PASSED
from infernet_edge.schema import encoder

JOB_HEADER: Final = "x-infernet-job-id"

_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"
_TYPES: Final = {
    401: (_INVALID, "invalid_api_key"),
    403: ("permission_error", None),
    413: (_INVALID, "request_too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: (_SERVER, "service_unavailable"),
}
_PASSED_ON: Final = frozenset({400, 404, 409, 413, 422, 429, 503})
"""Statuses of containers that a client gets, too. 401 and 403 are about the node's own key."""

_RETRY_AFTER: Final = 5.0  # seconds, where the container does not say when
_DATA: Final = "data."  # where a request is in the job


class _Details(Struct):
    """What a server with OpenAI's API answers, as far as it has the usual types."""

    type: Any = None
    param: Any = None
    code: Any = None


class _Description(Struct):
    """What Werkzeug and the containers of Infernet's examples answer, besides the usual keys."""

    description: str


class _ErrorBody(Struct):
    error: _Details


_descriptions = msgspec.json.Decoder(_Description)
_bodies = msgspec.json.Decoder(_ErrorBody)


class OpenAIError(ApiError):
    """An error whose `object` is already in OpenAI's form; its status differs by instance."""

    def __init__(
        self,
        status: int,
        found: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(str(found["message"]), {}, headers)
        self.http_status = status
        self.object = dict(found)


class NoSuchModel(NotFound):
    """No container has the model that a request names."""


def error_object(error: ApiError) -> dict[str, Any]:
    """The object for any error of the API."""
    if isinstance(error, OpenAIError):
        return error.object
    kind, code = _TYPES.get(status_of(error), (_INVALID if _is_of_client(error) else _SERVER, None))
    param = error.params.get("field") if isinstance(error, BadRequest) else None
    if isinstance(error, NoSuchModel):
        param, code = "model", "model_not_found"
    message = error.message
    if isinstance(param, str) and param.startswith(_DATA):
        param = param.removeprefix(_DATA)
        message = message.removeprefix(_DATA)
    return {"message": message, "type": kind, "param": param, "code": code}


def status_of(error: ApiError) -> int:
    """The HTTP status: that of the API, but for those that OpenAI's clients do not know."""
    if isinstance(error, OpenAIError):
        return error.http_status
    if isinstance(error, Refused):
        return 403
    return 500 if isinstance(error, ContainerFailed) else error.status


def _is_of_client(error: ApiError) -> bool:
    return status_of(error) < 500


def openai_answer(error: ApiError) -> Answer:
    """The answer to a request that failed."""
    return Answer({"error": error_object(error)}, status_of(error), error.headers)


def error_event(error: ApiError) -> bytes:
    """The server-sent event for a failure in the middle of a stream."""
    return b"data: %b\n\n" % encoder.encode({"error": error_object(error)})


def failure_of_job(text: str, refusal: Refusal | None, identifier: str) -> OpenAIError:
    """The error for a job that failed with this text.

    What a container answered keeps its status and its code, if it is about the request.
    """
    headers = {JOB_HEADER: identifier}
    status = refusal.status if refusal is not None and refusal.status in _PASSED_ON else 500
    text = _message(text)
    if text == DEADLINE_PASSED:
        text, status = "No slot of the container was free in time: it has too many jobs", 503
    kind, code = _TYPES.get(status, (_INVALID if status < 500 else _SERVER, None))
    found: dict[str, Any] = {"message": text, "type": kind, "param": None, "code": code}
    if text == CANCELLED:
        found["code"] = "job_cancelled"
    if refusal is not None and status < 500:
        found |= _details(refusal.text)
    if status == 500:
        headers["x-should-retry"] = (
            "false"  # the node repeats calls itself, see containers[].retries
        )
    elif status in (429, 503):
        asked = 0.0 if refusal is None else refusal.retry_after
        headers["retry-after"] = f"{asked or _RETRY_AFTER:.0f}"
    return OpenAIError(status, found, headers)


def failure_of_stream(failure: ContainerFailure | None, identifier: str) -> OpenAIError:
    """The same for a stream."""
    if failure is None:
        return failure_of_job("The stream failed", None, identifier)
    return failure_of_job(str(failure), failure.refusal, identifier)


def _message(text: str) -> str:
    """The message of a container's error; the text itself where it is no object with one."""
    if not text.startswith("{"):
        return text
    try:
        return _descriptions.decode(text).description or text
    except (msgspec.DecodeError, RecursionError):
        return error_text(text)


def _details(text: str) -> dict[str, Any]:
    """Type, parameter and code of a container's error; nothing where it has other forms."""
    try:
        found = _bodies.decode(text).error
    except (msgspec.DecodeError, RecursionError):
        return {}
    kinds = {"type": (found.type, str), "param": (found.param, str), "code": (found.code, str)}
    return {key: value for key, (value, kind) in kinds.items() if isinstance(value, kind)}
