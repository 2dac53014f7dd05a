"""Results of jobs: wait for them, print them."""

from __future__ import annotations

import http.client
import math
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from infernet_edge.backoff import Backoff
from infernet_edge.cli.remote.arguments import print_error
from infernet_edge.cli.remote.client import NodeClient, decode
from infernet_edge.cli.remote.failures import NodeRefused, NodeUnreachable
from infernet_edge.cli.remote.output import NodeOutput

_WAIT_SECONDS: Final = 60  # of one request, which is the most that a node allows
_ABSENCE_SECONDS: Final = 120.0  # for which a node may be away, such as for a restart
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts to reach it
_CANCELLED: Final = "Cancelled by the client"


class ContainerResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the last container said; `output` is its JSON text as it is."""

    container: str = ""
    output: msgspec.Raw = msgspec.Raw(b"")
    error: str | None = None


class JobState(msgspec.Struct, frozen=True):
    """A JobResult of the REST API."""

    id: str
    status: str
    result: ContainerResult | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it does not change any more."""
        return self.status != "running"

    @property
    def was_cancelled(self) -> bool:
        """Whether its client has cancelled it."""
        return self.result is not None and self.result.error == _CANCELLED


def wait_for(
    node: NodeClient, identifier: str, deadline: float, *, known: bool = False
) -> tuple[JobState, bytearray]:
    """The state of a job, with the JSON text of its JobResult: ended, or as it is at the deadline.

    A node that is away for a while, such as for a restart, is asked again; `known` says that it
    answered before. Raises NodeError.
    """
    path = f"/api/jobs/{quote(identifier, safe='')}"
    backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
    away_since: float | None = None
    while True:
        left = math.ceil(deadline - time.monotonic())
        wait = max(0, min(_WAIT_SECONDS, left))
        try:
            body = node.fetch("GET", path, {"wait": str(wait)}, wait=wait)
        except (NodeUnreachable, NodeRefused) as error:
            if isinstance(error, NodeRefused) and error.status != http.client.SERVICE_UNAVAILABLE:
                raise
            now = time.monotonic()
            if away_since is None:
                away_since = now
                if known:
                    print_error(f"{error}. Waiting for the node")
            if not known or now - away_since > _ABSENCE_SECONDS or now >= deadline:
                raise
            time.sleep(min(backoff.next(), max(0.0, deadline - now)))
            continue
        known, away_since = True, None
        backoff.reset()
        state = decode(node.address, body, JobState)
        if state.has_ended or left <= 0:
            return state, body


def states_in(node: NodeClient, body: bytearray) -> list[JobState]:
    """The JobResults of an answer. Raises NodeError."""
    found: list[JobState] = decode(node.address, body, list[JobState])
    return found


def print_result(state: JobState, *, output: NodeOutput, prefix: str = "") -> None:
    """Print the output of a job that has succeeded; of another one, why, on stderr."""
    if state.status == "success":
        document = memoryview(state.result.output) if state.result else memoryview(b"null")
        if prefix:
            output.write(prefix.encode())
            output.write(document)
            output.write(b"\n")
        else:
            output.write_json(document or memoryview(b"null"))
    elif state.has_ended:
        print_error(f"Job {state.id} failed{_why(state)}")
    else:
        print_error(
            f"Job {state.id} has not ended yet. Wait for it with: infernet-edge wait {state.id}"
        )


def _why(state: JobState) -> str:
    if state.result is None or state.result.error is None:
        return ""
    place = f" in {state.result.container}" if state.result.container else ""
    return f"{place}: {state.result.error}"


def compact(document: Any) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(document) + b"\n"


def id_parameters(identifiers: Sequence[str]) -> list[tuple[str, str]]:
    """The parameters of a request about these jobs."""
    return [("id", identifier) for identifier in identifiers]
