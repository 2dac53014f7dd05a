"""Every failure that the node reports to users or clients, under one root.

An ApiError holds the answer of the REST API: a status, a message for the user and parameters
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
    """The request does not have the form that the endpoint expects."""

    status = 400


class Unauthenticated(ApiError):
    """The node has tokens and the request has none of them."""

    status = 401


class Forbidden(ApiError):
    """The caller has no permission to use this endpoint from its address."""

    status = 403


class NotFound(ApiError):
    """No such endpoint."""

    status = 404


class Refused(ApiError):
    """A guard rule refuses the request: 405 as from the reference node, which clients expect."""

    status = 405


class MethodNotAllowed(ApiError):
    """The endpoint exists, the method does not."""

    status = 405


class RequestTimeout(ApiError):
    """The client took too long to send its request."""

    status = 408


class Conflict(ApiError):
    """The request contradicts the node's own state."""

    status = 409


class TooLarge(ApiError):
    """The body is larger than `server.max_body_bytes`."""

    status = 413


class UnsupportedMediaType(ApiError):
    """A body that is not declared as JSON, from a browser."""

    status = 415


class RangeNotSatisfiable(ApiError):
    """A part of a text that lies behind its end."""

    status = 416


class Unprocessable(ApiError):
    """A key that identifies a request was used for another one."""

    status = 422


class TooManyRequests(ApiError):
    """The client is over its rate limit."""

    status = 429


class ContainerFailed(ApiError):
    """A container could not be reached, or failed; `message` is its error."""

    status = 502


class Unavailable(ApiError):
    """The node cannot take the request now; `retry_after` (seconds) says when to retry."""

    status = 503

    def __init__(
        self, message: str, params: Mapping[str, Any] | None = None, retry_after: int = 10
    ) -> None:
        super().__init__(message, params, {"retry-after": str(retry_after)})


CANNOT_STORE = "The node cannot store jobs now; see its log for the reason"


class StorageError(InfernetEdgeError):
    """The SQLite file cannot be opened, read or written."""


class TooLargeToStore(InfernetEdgeError):
    """SQLite cannot store a value of this length, regardless of the free space."""


class EngineError(InfernetEdgeError):
    """Podman cannot be reached, or refused a request."""


class StartupError(InfernetEdgeError):
    """The node cannot start; the text says why and what to do."""
