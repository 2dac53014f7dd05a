"""GET, POST and DELETE /api/jobs, POST /api/jobs/batch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

from starlette.types import Receive, Scope, Send

from infernet_edge.api.endpoints.cancelling import Cancellation
from infernet_edge.api.endpoints.idempotency import idempotency_key
from infernet_edge.api.endpoints.job import MAX_PARAMETERS, flag
from infernet_edge.api.endpoints.paging import Parameters, limit_of, next_link
from infernet_edge.api.endpoints.waiting import (
    requested_wait,
    wait_for_jobs,
    wait_until,
    waive_charge,
)
from infernet_edge.api.jobs import Accepted, JobIntake
from infernet_edge.api.json_io import Answer, BodyReader, StoredAnswer, answer_of, query
from infernet_edge.errors import BadRequest, StorageError, Unavailable
from infernet_edge.jobs.contents import Content
from infernet_edge.jobs.store import MAX_LISTED, JobStore

_MAX_IDS = 1000  # ids in one GET or DELETE
_PENDING: Final = {"true": True, "false": False}  # any other value: all jobs


def _check_number(identifiers: Sequence[str]) -> None:
    if len(identifiers) > _MAX_IDS:
        raise BadRequest(f"id: expected at most {_MAX_IDS} ids", {"field": "id"})


class JobsEndpoint:
    """GET, POST and DELETE /api/jobs."""

    methods = ("GET", "HEAD", "POST", "DELETE")

    def __init__(
        self, intake: JobIntake, store: JobStore, bodies: BodyReader, cancellation: Cancellation
    ) -> None:
        self._intake = intake
        self._store = store
        self._bodies = bodies
        self._cancellation = cancellation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await self._create(scope, receive, send)
            return
        parameters = query(scope, _MAX_IDS + 10)
        with self._store.kept(parameters.get("id", [])):
            if scope["method"] == "DELETE":
                await self._cancel(scope, parameters)
                answer = await self._results(scope, receive, parameters)
            elif "id" in parameters:
                answer = await self._results(scope, receive, parameters)
            else:
                answer = await self._list(scope, parameters)
            await answer(scope, receive, send)

    async def _create(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept a job and answer its id, or its result when the request waits for that."""
        parameters = query(scope, MAX_PARAMETERS) if b"wait" in scope["query_string"] else {}
        wait = requested_wait(scope, parameters)
        if not wait.seconds:
            answer: Answer | StoredAnswer = Answer((await self._accept(scope, receive)).answer)
            if wait.applied:
                answer.headers += wait.headers
            await answer(scope, receive, send)
            return
        client: str = scope["caller"].client
        with self._store.waiters.admitted() as waiter:  # before the job is stored
            accepted = await self._accept(scope, receive)
            names = self._store.unfinished(client, [accepted.job])
            self._store.waiters.wait(waiter, names)
            await wait_until(waiter.ended, wait.seconds, scope, receive)
        answer = Answer(accepted.answer)
        with self._store.kept([accepted.job]):
            if not self._store.unfinished(client, [accepted.job]):
                with contextlib.suppress(StorageError):  # the job is accepted in any case
                    answer = await self._result(client, accepted.job) or answer
            answer.headers += wait.headers
            try:
                await answer(scope, receive, send)
            except Unavailable:  # no memory for a long result, and nothing was sent
                await Answer(accepted.answer)(scope, receive, send)

    async def _accept(self, scope: Scope, receive: Receive) -> Accepted:
        key = idempotency_key(scope)
        body = await self._bodies.read(scope, receive)
        accepted = await self._intake.accept(body, scope["caller"], key)
        del body
        scope["held"].release()
        return accepted

    async def _cancel(self, scope: Scope, parameters: Parameters) -> None:
        identifiers = parameters.get("id")
        if identifiers is None:
            raise BadRequest("id: expected the ids of the jobs to cancel", {"field": "id"})
        _check_number(identifiers)
        await self._cancellation.cancel(scope["caller"], identifiers)

    async def _result(self, client: str, identifier: str) -> Answer | StoredAnswer | None:
        for result in await self._store.results(client, [identifier], intermediate=False):
            return answer_of(list(result.json()), self._store.read)
        return None  # deleted meanwhile, or a delegated subscription

    async def _list(self, scope: Scope, parameters: Parameters) -> Answer:
        """The ids of the caller's jobs."""
        pending = _PENDING.get(parameters.get("pending", [""])[-1].lower())
        limit = limit_of(parameters, MAX_LISTED, MAX_LISTED)
        before = parameters.get("before", [""])[-1]
        client: str = scope["caller"].client
        found = await self._store.identifiers(client, pending=pending, limit=limit, before=before)
        if found and pending and scope["charge"] is not None:
            scope["charge"].waive_poll()
        answer = Answer(found)
        if len(found) == limit:  # there may be older ones
            answer.headers.append(next_link(scope["path"], parameters, found[0]))
        return answer

    async def _results(
        self, scope: Scope, receive: Receive, parameters: Parameters
    ) -> Answer | StoredAnswer:
        """The results of the jobs whose ids are in the query."""
        identifiers = parameters["id"]
        _check_number(identifiers)
        wait = requested_wait(scope, parameters)
        await wait_for_jobs(self._store, identifiers, wait, scope, receive)
        results = await self._store.results(
            scope["caller"].jobs_of, identifiers, intermediate=flag(parameters, "intermediate")
        )
        if scope["method"] != "DELETE":
            waive_charge(scope, wait, results)
        parts: list[bytes | Content] = [b"["]
        for number, result in enumerate(results):
            if number:
                parts.append(b",")
            parts += result.json()
        parts.append(b"]")
        answer = answer_of(parts, self._store.read)
        answer.headers += wait.headers
        return answer


class BatchEndpoint:
    """POST /api/jobs/batch."""

    methods = ("POST",)

    def __init__(self, intake: JobIntake, bodies: BodyReader) -> None:
        self._intake = intake
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = idempotency_key(scope)
        body = await self._bodies.read(scope, receive)
        answer = await self._intake.accept_batch(body, scope["caller"], key)
        del body
        scope["held"].release()
        await Answer(answer, is_due=True)(scope, receive, send)
