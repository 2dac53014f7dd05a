"""Jobs of a node, from its history."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from infernet_edge.cli.remote.client import NodeClient, decode
from infernet_edge.cli.remote.failures import NodeRefused
from infernet_edge.cli.remote.results import JobState
from infernet_edge.schema import HistoryItem, JobHistory

_PATH: Final = "/api/history"
_PAGE: Final = 500  # jobs, the most that a node gives at once
_MAX_PAGES: Final = 20  # that are read for one list; a node reads 5000 jobs for each
_MAX_SHOWN: Final = 64 * 2**10  # bytes of a result; longer ones are not in the description

Jobs = list[dict[str, Any]]


def list_jobs(
    node: NodeClient, filters: Mapping[str, str], limit: int
) -> tuple[Jobs, int | None, str]:
    """The newest jobs that match, at most `limit`, as the API describes them.

    Where not all jobs were searched and fewer were found: since when they were (milliseconds since
    1970), and the cursor to continue with. Raises NodeError.
    """
    found: list[HistoryItem] = []
    before = filters.get("before", "")
    for _ in range(_MAX_PAGES):
        query = {**filters, "limit": str(min(_PAGE, limit - len(found)))}
        if before:
            query["before"] = before
        page: JobHistory = decode(node.address, node.fetch("GET", _PATH, query), JobHistory)
        found += page.items
        if page.next is None or len(found) >= limit:
            return msgspec.to_builtins(found[:limit]), None, ""
        before = page.next
    return msgspec.to_builtins(found), page.searched_to, before


def describe_job(node: NodeClient, identifier: str) -> dict[str, Any] | None:
    """A job as `infernet-edge jobs ID` shows it; None when there is none. Raises NodeError."""
    path = f"/api/jobs/{quote(identifier, safe='')}"
    try:
        body = node.fetch("GET", path)
    except NodeRefused as error:
        if error.status != http.client.NOT_FOUND:
            raise
        return None
    state: JobState = decode(node.address, body, JobState)
    jobs, _, _ = list_jobs(node, {"find": state.id}, 1)
    known = jobs[0] if jobs and jobs[0]["id"] == state.id else _EXTERNAL
    described = {**known, "id": state.id, "status": state.status, "error": None, "result": None}
    described["result_size"] = None
    if state.result is not None and state.result.error is not None:
        described["error"] = state.result.error
    elif state.result is not None:
        size = described["result_size"] = len(memoryview(state.result.output))
        if size <= _MAX_SHOWN:
            described["result"] = msgspec.json.encode(state.result).decode()
    return described


# What a history does not have are external jobs.
_EXTERNAL: Final[dict[str, Any]] = {
    "kind": "external",
    "client": "unknown",
    "containers": [],
    "cancelled": False,
    "created_at": None,
    "started_at": None,
    "finished_at": None,
}
