"""Every failure that the node tells somebody about, under one root.

An ApiError carries what the REST API answers: a status, a message for the user and parameters
(the ErrorResponse of the REST API reference).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class InfernetEdgeError(Exception):
    """Root of all errors that this package raises on purpose; its text is meant for users."""


class ApiError(InfernetEdgeError):
    """A request that is answered with an ErrorResponse.

    `params` holds the additional parameters of the ErrorResponse, `headers` extra response headers.
    """

    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.params = dict(params or {})
        self.headers = dict(headers or {})


class BadRequest(ApiError):
    """The request is not of the form that the endpoint takes."""

    status = 400


class Unauthenticated(ApiError):
    """The node has tokens and the request carries none of them."""

    status = 401


class Forbidden(ApiError):
    """The caller may not use this endpoint from where it is."""

    status = 403


class NotFound(ApiError):
    """No such endpoint."""

    status = 404


class Refused(ApiError):
    """A guard rule says no. 405 is what the reference node answers and clients depend on."""

    status = 405


class MethodNotAllowed(ApiError):
    """The endpoint exists, the method does not."""

    status = 405


class RequestTimeout(ApiError):
    """The client took too long to send its request."""

    status = 408


class Conflict(ApiError):
    """The request contradicts what the node itself knows."""

    status = 409


class TooLarge(ApiError):
    """The body is larger than `server.max_body_bytes`."""

    status = 413


class UnsupportedMediaType(ApiError):
    """A body that is not declared as JSON, from a browser."""

    status = 415


class TooManyRequests(ApiError):
    """The client is over its rate limit."""

    status = 429


class ContainerFailed(ApiError):
    """A container could not be reached, or failed; `message` is what it said."""

    status = 502


class Unavailable(ApiError):
    """The node cannot take the request now; `retry_after` (seconds) says when to try again."""

    status = 503

    def __init__(
        self, message: str, params: Mapping[str, Any] | None = None, retry_after: int = 10
    ) -> None:
        super().__init__(message, params, {"retry-after": str(retry_after)})


CANNOT_STORE = "The node cannot store jobs now; its log says why"


class StorageError(InfernetEdgeError):
    """The SQLite file cannot be opened, read or written."""


class TooLargeToStore(InfernetEdgeError):
    """SQLite stores no text of this length, however much space there is."""


class EngineError(InfernetEdgeError):
    """Podman cannot be reached, or refused what was asked of it."""


class StartupError(InfernetEdgeError):
    """The node cannot start; the text says why and what to do."""
