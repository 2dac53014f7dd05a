"""A copy of the running node's database, for `infernet-edge backup`.

The answer is lines of JSON while it is being copied, `{"copied": BYTES, "total": BYTES}`; then
`{"size": BYTES, "tables": …}` and the bytes, or `{"error": TEXT}`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from starlette.types import Receive, Scope, Send

from infernet_edge.errors import StorageError
from infernet_edge.storage.copying import name_of_copy
from infernet_edge.storage.database import Database
from infernet_edge.tasks import cancel

_AT_ONCE = 256 * 2**10  # bytes
_PERIOD = 1.0  # seconds between two lines
_SEND_TIME = 60.0  # seconds for one part to be taken


class DatabaseCopy:
    """Answers with a copy of the database; one at a time. The copy is beside the database."""

    def __init__(self, database: Database, keep_free: Callable[[], int]) -> None:
        """`keep_free`: the bytes that stay free on its disk; a reload may change them."""
        self._database = database
        self._keep_free = keep_free

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        answering = asyncio.create_task(self._answer(send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait([answering, gone], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                return
            try:
                answering.result()
            except StorageError as error:
                await _send_line(send, {"error": str(error)})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await cancel(answering, gone)

    async def _answer(self, send: Send) -> None:
        target = name_of_copy(self._database.path)
        progress = [0, 0]

        def note(copied: int, total: int) -> None:
            progress[:] = copied, total

        copying = asyncio.create_task(
            self._database.copy(target, keep_free=self._keep_free(), on_progress=note)
        )
        try:
            while not copying.done():
                await _send_line(send, {"copied": progress[0], "total": progress[1]})
                await asyncio.wait([copying], timeout=_PERIOD)
            copying.result()
        finally:
            await cancel(copying)
        file, head = await asyncio.to_thread(_open, target)
        try:
            await _send_line(send, head)
            while part := await asyncio.to_thread(file.read, _AT_ONCE):
                await _send(send, part)
        finally:
            await asyncio.to_thread(file.close)


def _open(path: Path) -> tuple[BinaryIO, dict[str, Any]]:
    """A copy that vanishes when it is closed, also by a kill; and what is said of it."""
    from infernet_edge.backup.database import tables_of  # only when a backup is made

    try:
        tables = tables_of(path)
        file = path.open("rb")
        return file, {"size": path.stat().st_size, "tables": tables}
    finally:
        path.unlink()


async def _send_line(send: Send, line: dict[str, Any]) -> None:
    await _send(send, msgspec.json.encode(line) + b"\n")


async def _send(send: Send, content: bytes) -> None:
    try:
        async with asyncio.timeout(_SEND_TIME):
            await send({"type": "http.response.body", "body": content, "more_body": True})
    except TimeoutError:
        raise StorageError("The backup was not taken in time") from None


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
