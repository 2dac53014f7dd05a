"""GET and DELETE /api/jobs/{id}: one job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.admission import Caller
from infernet_edge.api.endpoints.cancelling import Cancellation
from infernet_edge.api.endpoints.waiting import requested_wait, wait_for_jobs, waive_charge
from infernet_edge.api.json_io import Answer, StoredAnswer, answer_of, query
from infernet_edge.errors import NotFound
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.jobs.retrieval import Result
from infernet_edge.jobs.store import JobStore
from infernet_edge.schema import encoder

MAX_PARAMETERS: Final = 20
_TRUE: Final = ("true", "1")


class JobEndpoint:
    """One job of the client, of any client for operators; an external job of any client."""

    methods = ("GET", "HEAD", "DELETE")

    def __init__(
        self, store: JobStore, orchestrator: Orchestrator, cancellation: Cancellation
    ) -> None:
        self._store = store
        self._orchestrator = orchestrator
        self._cancellation = cancellation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        identifier: str = scope["path_params"]["id"]
        with self._store.kept([identifier]):
            act = self._cancel if scope["method"] == "DELETE" else self._get
            answer = await act(identifier, scope, receive)
            await answer(scope, receive, send)

    async def _get(self, identifier: str, scope: Scope, receive: Receive) -> Answer | StoredAnswer:
        parameters = query(scope, MAX_PARAMETERS)
        wait = requested_wait(scope, parameters)
        await wait_for_jobs(self._store, [identifier], wait, scope, receive)
        result = await self._find(scope["caller"], identifier, parameters)
        waive_charge(scope, wait, [result])
        answer = answer_of(list(result.json()), self._store.read)
        answer.headers += wait.headers
        return answer

    async def _cancel(
        self, identifier: str, scope: Scope, receive: Receive
    ) -> Answer | StoredAnswer:
        """The job as a list of one, as from DELETE /api/jobs."""
        caller: Caller = scope["caller"]
        await self._cancellation.cancel(caller, [identifier])
        result = await self._find(caller, identifier, query(scope, MAX_PARAMETERS))
        return answer_of([b"[", *result.json(), b"]"], self._store.read)

    async def _find(
        self, caller: Caller, identifier: str, parameters: Mapping[str, Sequence[str]]
    ) -> Result:
        """The result, with the details where they are requested; raises NotFound."""
        intermediate = flag(parameters, "intermediate")
        found = await self._store.detailed(caller.jobs_of, identifier, intermediate=intermediate)
        if found is None:
            raise NotFound("No such job, or it belongs to another client", {"id": identifier})
        result, course = found
        if not flag(parameters, "detail"):
            return result
        job = self._store.unfinished_job(identifier) if course.is_running else None
        progress = None if job is None else self._orchestrator.progress_of([job.key]).get(job.key)
        detail = encoder.encode(course.detail(progress))
        return msgspec.structs.replace(result, detail=detail)


def flag(parameters: Mapping[str, Sequence[str]], name: str) -> bool:
    """Whether a parameter of the query is true."""
    return parameters.get(name, [""])[-1].lower() in _TRUE
