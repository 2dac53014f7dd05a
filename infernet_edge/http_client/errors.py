"""Why a request has no answer, or no complete one."""

from __future__ import annotations

from infernet_edge.errors import InfernetEdgeError


class HttpError(InfernetEdgeError):
    """The other side did not answer as HTTP demands; no text holds its address."""


class InvalidUrl(HttpError, ValueError):
    """Nothing can be sent to this URL."""


class InvalidHeader(HttpError, ValueError):
    """A header cannot be sent over HTTP, as it is not one line."""


class ConnectFailed(HttpError):
    """There is no connection; `os_error` is the reason, an ssl.SSLError where TLS failed.

    `of_proxy`: none to the proxy.
    """

    def __init__(self, os_error: OSError, *, of_proxy: bool = False) -> None:
        super().__init__("the connection failed")
        self.os_error = os_error
        self.of_proxy = of_proxy


class ProxyRefused(HttpError):
    """The proxy opens no tunnel to the server; `status` is its answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered with status {status}")
        self.status = status


class ConnectionLost(HttpError):
    """The connection ended before the answer began; `os_error` is None for a regular end."""

    def __init__(self, os_error: OSError | None = None) -> None:
        super().__init__("the connection was closed")
        self.os_error = os_error

    @property
    def is_closed(self) -> bool:
        """Whether the other side closed it, in order or with a reset; else the network failed."""
        return self.os_error is None or isinstance(self.os_error, ConnectionError)


class IncompleteAnswer(HttpError):
    """The connection ended in the middle of the answer."""


class NotHttp(HttpError):
    """What arrived is not an answer of HTTP/1.1, or has a head that is too long."""
