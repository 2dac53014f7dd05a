"""Results of jobs as JSON text: short ones as bytes, long ones as references to stored contents."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import Struct

from infernet_edge.jobs import contents
from infernet_edge.jobs.contents import INTERMEDIATE_COLUMN, PIECE, RESULT_COLUMN, Content
from infernet_edge.jobs.identifiers import to_text
from infernet_edge.jobs.job import STATUS_NAMES, Job
from infernet_edge.schema import JobStatus, encoder
from infernet_edge.storage.checksums import Damaged, check

_AT_ONCE = PIECE  # bytes of results that one query reads into memory; others are read when sent
_CHUNK = 500  # ids per query
_FIND = (
    "SELECT id, status, CASE WHEN length(result) <= ? THEN result END, length(result),"
    " result_sum, CASE WHEN ? AND length(intermediate) <= ? THEN intermediate END,"
    " length(intermediate), intermediate_sum FROM jobs WHERE"
)
_OF_CLIENT = "client = ? AND"

_DAMAGED = b'{"container":"","error":"The result was damaged on the disk"}'

Part = bytes | Content


class Result(Struct, frozen=True):
    """A job's state, and its result when it has one.

    `intermediate` are the results of the containers before the last: a JSON list, or its items;
    None when they were not requested. `detail` is the JSON text of the details, likewise.
    """

    id: str
    status: JobStatus
    result: Part | None = None
    intermediate: Part | Sequence[Part] | None = None
    detail: bytes | None = None

    def json(self) -> Iterator[Part]:
        """The JobResult of the REST API reference, in parts to be sent one after the other."""
        yield b'{"id":%b,"status":"%b","result":' % (encoder.encode(self.id), self.status.encode())
        yield b"null" if self.result is None else self.result
        if self.intermediate is not None:
            yield b',"intermediate_results":'
            if isinstance(self.intermediate, bytes | Content):
                yield self.intermediate
            else:
                yield b"["
                for number, item in enumerate(self.intermediate):
                    if number:
                        yield b","
                    yield item
                yield b"]"
        yield b"}" if self.detail is None else b',"detail":%b}' % self.detail


def running(job: Job, *, intermediate: bool) -> Result:
    """The state of a job that has not ended; it has no results yet."""
    return Result(job.id, "running", intermediate=b"[]" if intermediate else None)


def find(
    connection: sqlite3.Connection, client: str | None, keys: Sequence[bytes], intermediate: bool
) -> dict[bytes, Result]:
    """The client's jobs with the given keys, all read in one snapshot; a key may repeat.

    None for jobs of any client.
    """
    connection.execute("BEGIN")
    try:
        return find_in_snapshot(connection, client, keys, intermediate)
    finally:
        connection.execute("COMMIT")


def find_in_snapshot(
    connection: sqlite3.Connection, client: str | None, keys: Sequence[bytes], intermediate: bool
) -> dict[bytes, Result]:
    """The same, within a transaction of the caller."""
    found: dict[bytes, Result] = {}
    none = b"[]" if intermediate else None
    times = Counter(keys)  # a job that is requested twice is answered twice
    unique = list(times)
    size = 0
    for start in range(0, len(unique), _CHUNK):
        chunk = unique[start : start + _CHUNK]
        marks = ",".join("?" * len(chunk))
        of_client, owner = ("", ()) if client is None else (_OF_CLIENT, (client,))
        query = f"{_FIND} {of_client} id IN ({marks})"
        for row in connection.execute(query, (PIECE, intermediate, PIECE, *owner, *chunk)):
            key, status, result, result_size, result_sum, between, between_size, between_sum = row
            try:
                if result is not None:
                    check(result_sum, result, status, what="The result")
                if between is not None:
                    check(between_sum, between, what="The intermediate results")
            except Damaged:
                found[key] = Result(to_text(key), "failed", _DAMAGED, none)
                continue
            size += times[key] * (len(result or b"") + len(between or b""))
            if size > _AT_ONCE:
                result = between = None
            stored: dict[int, int] = {}
            if result_size == 0 or between_size == 0:
                stored = contents.sizes(connection, key)
            damaged = result_size == 0 and contents.RESULT not in stored
            if damaged or (between_size == 0 and intermediate and _has_gap(stored)):
                found[key] = Result(to_text(key), "failed", _DAMAGED, none)
                continue
            found[key] = Result(
                to_text(key),
                STATUS_NAMES[status],
                _result(key, result, result_size, stored),
                _between(key, between, between_size, stored) if intermediate else None,
            )
    return found


def _has_gap(stored: dict[int, int]) -> bool:
    """Whether an output is missing among those that are stored."""
    outputs = sorted(part for part in stored if part >= contents.OUTPUT)
    return outputs != list(range(contents.OUTPUT, contents.OUTPUT + max(1, len(outputs))))


def _result(
    key: bytes, loaded: bytes | None, size: int | None, stored: dict[int, int]
) -> Part | None:
    if size is None:
        return None
    if size == 0:
        return Content(key, contents.RESULT, stored[contents.RESULT])
    return Content(key, RESULT_COLUMN, size) if loaded is None else loaded


def _between(
    key: bytes, loaded: bytes | None, size: int | None, stored: dict[int, int]
) -> Part | Sequence[Part]:
    if size is None:
        return b"[]"
    if size == 0:
        outputs = sorted(part for part in stored if part >= contents.OUTPUT)
        return [Content(key, part, stored[part]) for part in outputs]
    return Content(key, INTERMEDIATE_COLUMN, size) if loaded is None else loaded
