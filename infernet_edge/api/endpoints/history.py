"""GET /api/history: the jobs of the past, with filters."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.admission import Caller
from infernet_edge.api.endpoints.paging import Parameters, limit_of, next_link
from infernet_edge.api.json_io import Answer, query
from infernet_edge.errors import BadRequest
from infernet_edge.jobs.identifiers import to_text
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.jobs.reading.history import (
    MAX_PAGE,
    STATES,
    Filter,
    History,
    Page,
    cursor,
    key_range,
)
from infernet_edge.jobs.store import JobStore
from infernet_edge.schema import HistoryItem, JobHistory

MAX_PARAMETERS: Final = 20
_USUAL_PAGE: Final = 50
_NOTHING: Final = Page([], None)
_NOW: Final = ("waiting", "computing")  # the states that only memory knows


class HistoryEndpoint:
    """The jobs of the caller; for operators, those of all clients."""

    methods = ("GET", "HEAD")

    def __init__(self, history: History, store: JobStore, orchestrator: Orchestrator) -> None:
        self._history = history
        self._store = store
        self._orchestrator = orchestrator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope["caller"]
        parameters = query(scope, MAX_PARAMETERS)
        limit = limit_of(parameters, _USUAL_PAGE, MAX_PAGE)
        wanted = _filter(parameters, caller)
        if wanted is not None and wanted.state in _NOW:
            wanted = msgspec.structs.replace(wanted, among=self._in_state(wanted.state))
        page = _NOTHING if wanted is None else await self._history.page(wanted, limit)
        items = self._with_progress(page.items)
        following = None if page.next is None else to_text(page.next)
        answer = Answer(JobHistory(items, following, page.searched_to))
        if following is not None:
            answer.headers.append(next_link(scope["path"], parameters, following))
        await answer(scope, receive, send)

    def _in_state(self, state: str) -> frozenset[bytes]:
        """The unfinished jobs that wait for a container, or which one computes now."""
        pending = list(self._store.pending)
        progress = self._orchestrator.progress_of(pending)
        computing = frozenset(key for key, now in progress.items() if now.position is None)
        return computing if state == "computing" else frozenset(pending) - computing

    def _with_progress(self, items: list[HistoryItem]) -> list[HistoryItem]:
        """Add what is in memory of the unfinished ones."""
        jobs = {
            item.id: job
            for item in items
            if item.status == "running" and (job := self._store.unfinished_job(item.id)) is not None
        }
        progress = self._orchestrator.progress_of([job.key for job in jobs.values()])
        found = []
        for item in items:
            if (job := jobs.get(item.id)) is not None:
                now = progress.get(job.key)
                item = msgspec.structs.replace(
                    item,
                    attempts=job.attempts,
                    started_at=job.started_at,
                    container=None if now is None else now.container,
                    position=None if now is None else now.position,
                )
            found.append(item)
        return found


def _filter(parameters: Parameters, caller: Caller) -> Filter | None:
    """The filter of a request; None when it can find nothing. Raises BadRequest."""

    def text(name: str) -> str:
        return parameters.get(name, [""])[-1]

    state = text("state")
    if state and state not in STATES:
        raise BadRequest(f"state: expected one of {', '.join(STATES)}", {"field": "state"})
    end = cursor(text("before"))
    keys = key_range(text("find"))
    client = text("client") or caller.jobs_of
    if keys is None or (client is not None and not caller.owns(client)):
        return None
    return Filter(client, state, text("container"), keys[0], min(end, keys[1]))
