"""An answer: its head, and its body in parts."""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self

from infernet_edge.http_client.errors import IncompleteAnswer
from infernet_edge.http_client.exchange import Exchange

_PLAIN: Final = ("identity", "")


class HttpResponse:
    """An answer whose head has arrived.

    Leaving its context ends the exchange; the connection is closed if the body is not complete.
    """

    __slots__ = ("_exchange", "status")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.status = exchange.status

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def reason(self) -> str:
        """The words after the status, such as Not Found."""
        return self._exchange.reason.decode("utf-8", "replace").strip()

    @property
    def content_length(self) -> int | None:
        """The length of the body in bytes, where the head says it."""
        return self._exchange.content_length

    @property
    def is_compressed(self) -> bool:
        """Whether the body has a coding such as gzip, which no request asks for."""
        return self.header("content-encoding", "identity").lower() not in _PLAIN

    def header(self, name: str, default: str = "") -> str:
        """The value of a header, by its name in lower case; the first one of several."""
        wanted = name.encode()
        for each, value in self._exchange.headers:
            if each.lower() == wanted:
                return value.decode("latin-1").strip()
        return default

    def read(self, most: int | None = None) -> Coroutine[Any, Any, bytes]:
        """What has arrived of the body, but at most `most` bytes; waits for something.

        b"" at its end. Raises HttpError when the connection ended before the body did.
        """
        return self._exchange.body.read(most)

    async def whole(self, max_bytes: int) -> bytes | None:
        """The whole body; None when it has more than `max_bytes` bytes. Raises as `read` does."""
        content = bytearray()
        while part := await self.read():
            content += part
            if len(content) > max_bytes:
                return None
        return bytes(content)

    def read_now(self, most: int | None = None) -> bytes:
        """The same without waiting: b"" when nothing has arrived."""
        return self._exchange.body.read_now(most)

    def close(self) -> None:
        """End the exchange; what has not arrived yet is not waited for."""
        self._exchange.fail(IncompleteAnswer("it is not read any more"))
