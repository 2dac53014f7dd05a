"""The texts of one job, one at a time: its input, its result, the results of its steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct

from infernet_edge.errors import NotFound
from infernet_edge.jobs.contents import Content
from infernet_edge.jobs.identifiers import from_text
from infernet_edge.jobs.retrieval import Part, find_in_snapshot
from infernet_edge.jobs.table import input_of
from infernet_edge.storage.checksums import Damaged
from infernet_edge.storage.database import Database

Kind = Literal["input", "result", "step"]

_NOT_KEPT: Final = (
    "The input of this job was not kept: jobs.keep_inputs says of which jobs it is, up to 64 KiB"
)
_NOT_ENDED: Final = "The job has not ended, so it has no result yet"
_NO_STEP: Final = "The job has no result of this step"
_items = msgspec.json.Decoder(list[Raw])


class _Texts(Struct, frozen=True):
    """What is stored of a job. `steps` are the results before the last one."""

    result: Part | None
    steps: list[Part]


class JobTexts:
    """Reads texts of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, identifier: str, is_owned: Callable[[str], bool], kind: Kind, step: int = 0
    ) -> Part:
        """A JSON text of a job, or where a long one is stored.

        `is_owned` says whether the caller may see the jobs of a client; `step` counts from 1.
        Raises NotFound with the reason, StorageError.
        """
        key = from_text(identifier)
        client = None if key is None else await self._database.read(_client_of, key)
        if key is None or client is None or not is_owned(client):
            raise NotFound("No such job, or it belongs to another client", {"id": identifier})
        if kind == "input":
            found = await self._database.read(_input, key)
            reason = _NOT_KEPT
        else:
            texts = await self._database.read(_texts, client, key)
            if kind == "result":
                found, reason = texts.result, _NOT_ENDED
            else:
                found, reason = _step(texts, step), _NO_STEP
        if found is None:
            raise NotFound(reason, {"id": identifier})
        return found


def _step(texts: _Texts, step: int) -> Part | None:
    """The result of a step: the one after the last intermediate result is the result itself."""
    steps = [*texts.steps, *([] if texts.result is None else [texts.result])]
    return steps[step - 1] if 1 <= step <= len(steps) else None


def _client_of(connection: sqlite3.Connection, key: bytes) -> str | None:
    row = connection.execute("SELECT client FROM jobs WHERE id = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _input(connection: sqlite3.Connection, key: bytes) -> Part | None:
    row = connection.execute("SELECT data IS NULL FROM jobs WHERE id = ?", (key,)).fetchone()
    if row is None or row[0]:
        return None
    try:
        return input_of(connection, key)
    except Damaged as error:
        raise NotFound(str(error)) from None


def _texts(connection: sqlite3.Connection, client: str, key: bytes) -> _Texts:
    connection.execute("BEGIN")
    try:
        found = find_in_snapshot(connection, client, [key], intermediate=True).get(key)
    finally:
        connection.execute("COMMIT")
    if found is None:  # deleted meanwhile
        return _Texts(None, [])
    between = found.intermediate
    if isinstance(between, bytes):
        steps: list[Part] = [bytes(each) for each in _items.decode(between)]
    elif isinstance(between, Content) or between is None:
        steps = []
    else:
        steps = list(between)
    return _Texts(found.result, steps)
