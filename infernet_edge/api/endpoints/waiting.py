"""How long a request waits for jobs: `wait=N` in the query, or the header `Prefer: wait=N`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from infernet_edge.api.access.rate_limits import Charge
from infernet_edge.api.json_io import disconnected
from infernet_edge.errors import BadRequest
from infernet_edge.jobs.retrieval import Result
from infernet_edge.jobs.store import JobStore
from infernet_edge.tasks import cancel

MAX_WAIT_SECONDS: Final = 60

_DIGITS = re.compile("[0-9]{1,9}")
# One without an end is matched too: otherwise the rest would be searched from each of its quotes.
_QUOTED = re.compile(r'"((?:[^"\\]++|\\.?)*+)("?)')
_PREFERRED = re.compile(r"\s*wait\s*=\s*([0-9]{1,9})\s*(?:;.*)?", re.IGNORECASE)


class Wait(NamedTuple):
    """Seconds to wait, 0 for none; `applied` is the value of Preference-Applied, "" for none."""

    seconds: int = 0
    applied: str = ""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the answer."""
        return [(b"preference-applied", self.applied.encode())] if self.applied else []


NO_WAIT: Final = Wait()


def requested_wait(scope: Scope, parameters: Mapping[str, Sequence[str]]) -> Wait:
    """The wait that a request asks for; the query has precedence over the header.

    Raises BadRequest for a query that is not 0 to MAX_WAIT_SECONDS. The header is only a
    preference (RFC 7240): larger values are lowered, and what is not understood is ignored.
    """
    if "wait" in parameters:
        text = parameters["wait"][-1]
        if not _DIGITS.fullmatch(text) or int(text) > MAX_WAIT_SECONDS:
            raise BadRequest(
                f"wait: expected whole seconds from 0 to {MAX_WAIT_SECONDS}", {"field": "wait"}
            )
        return Wait(int(text))
    for name, value in scope["headers"]:
        if name == b"prefer" and (seconds := _preferred(value.decode("latin-1"))) is not None:
            return Wait(seconds, f"wait={seconds}")
    return NO_WAIT


def _preferred(field: str) -> int | None:
    """The wait of a Prefer field in seconds; None when it has none."""
    unquoted = _QUOTED.sub(
        lambda found: found[1] if found[2] and found[1].isdigit() else "_", field
    )
    for preference in unquoted.split(","):
        if match := _PREFERRED.fullmatch(preference):
            return min(int(match[1]), MAX_WAIT_SECONDS)
    return None


async def wait_until(
    ended: asyncio.Future[None], seconds: float, scope: Scope, receive: Receive
) -> None:
    """Wait until `ended` is done, at most `seconds`; raises ClientDisconnect if the client leaves.

    `scope` and `receive` are those of a request whose body was read.
    """
    if ended.done():
        return
    scope["is_abandoned_at_eof"] = True
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait((ended, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if gone.done() and not ended.done():
            raise ClientDisconnect
    finally:
        await cancel(gone)
        scope["is_abandoned_at_eof"] = False


def waive_charge(scope: Scope, wait: Wait, results: Sequence[Result]) -> None:
    """Do not count a request against the rate limit that has waited, or looked, in vain.

    One that has waited may find finished jobs, too: the others kept it waiting.
    """
    charge: Charge | None = scope["charge"]
    running = [result.status == "running" for result in results]
    if charge is None or not any(running):
        return
    if wait.seconds:
        charge.waive_wait()
    elif all(running):
        charge.waive_poll()


async def wait_for_jobs(
    store: JobStore, identifiers: Sequence[str], wait: Wait, scope: Scope, receive: Receive
) -> None:
    """Wait until all these jobs that the caller may see have ended, at most as long as requested.

    Raises Unavailable when too many requests wait, ClientDisconnect when the client leaves.
    """
    if not wait.seconds:
        return
    if names := store.unfinished(scope["caller"].jobs_of, identifiers):
        with store.waiters.admitted() as waiter:
            store.waiters.wait(waiter, names)
            await wait_until(waiter.ended, wait.seconds, scope, receive)
