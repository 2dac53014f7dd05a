"""A job in memory, from its acceptance to its end."""

from __future__ import annotations

import time
from typing import Final, Literal

import msgspec
from msgspec import Struct

from infernet_edge.clock import milliseconds
from infernet_edge.containers.answers.failures import Refusal
from infernet_edge.jobs.identifiers import to_text
from infernet_edge.schema import JobStatus, encoder

RUNNING: Final = 0
SUCCESS: Final = 1
FAILED: Final = 2

CANCELLED: Final = "Cancelled by the client"
"""The error of a cancelled job: its status is failed."""

STATUS_NAMES: tuple[JobStatus, JobStatus, JobStatus] = ("running", "success", "failed")
"""The names of the stored numbers."""

DIRECT: Final = 0
STREAM: Final = 1


DEADLINE_PASSED: Final = "Deadline passed"


class RunOptions(Struct, frozen=True, omit_defaults=True):
    """How a job is run: `deadline` is in milliseconds of the node's own time (elapsed.py).

    `timeout` limits each call of a container, in seconds. `attended`: it is of use only to the
    request that waits for it, so that no other run of the node resumes it.
    """

    priority: int = 0
    deadline: int | None = None
    timeout: float | None = None
    attended: bool = False


NO_OPTIONS: Final = RunOptions()
_options = msgspec.json.Decoder(RunOptions)
_refusals = msgspec.json.Decoder(Refusal)


def options_text(options: RunOptions) -> str | None:
    """The options as they are stored; None for those of most jobs."""
    return None if options is NO_OPTIONS else encoder.encode(options).decode()


def options_of(text: str | None) -> RunOptions:
    """Stored options. Damaged ones are dropped: the job itself may be intact."""
    if text is None:
        return NO_OPTIONS
    try:
        return _options.decode(text)
    except msgspec.DecodeError:
        return NO_OPTIONS


def refusal_text(refusal: Refusal | None) -> str | None:
    """A refusal as it is stored, a JSON list; None for the ends of most jobs.

    Its text is an answer of a container (4,096 bytes at most), of which only an object is of use.
    """
    if refusal is None:
        return None
    text = refusal.text if refusal.text.startswith("{") else ""
    return encoder.encode(refusal._replace(text=text)).decode()


def refusal_of(text: str | None) -> Refusal | None:
    """A stored refusal. A damaged one is dropped: the job itself may be intact."""
    try:
        return None if text is None else _refusals.decode(text)
    except msgspec.DecodeError:
        return None


class Job:
    """An accepted job.

    `data` is the JSON text of its input, or None where it has to be read from the store;
    `attempts` counts how often its first container was called, `started_at` is when that was last
    (milliseconds since 1970). `in_pieces`: some of its contents are too long for its row, or may
    be. `created_at` is when it was accepted (milliseconds since 1970), None until that is on the
    disk: before, no client knows it. `cancel_requested`: its client wants it to end;
    `is_cancelled`: that is how it ended.
    `status` and, of a failed job, `failure` (a ContainerError as JSON) say how its end was decided;
    `refusal` is what HTTP says of its container's failure, None for nothing.
    `took` is the time from its last start to that, in seconds, None when it did not start.
    """

    __slots__ = (
        "_began",
        "attempts",
        "cancel_requested",
        "client",
        "containers",
        "created_at",
        "data",
        "failure",
        "in_pieces",
        "input_size",
        "is_cancelled",
        "key",
        "kind",
        "options",
        "refusal",
        "requires_proof",
        "started_at",
        "status",
        "took",
    )

    def __init__(
        self,
        key: bytes,
        client: str,
        containers: tuple[str, ...],
        data: bytes | memoryview | None,
        *,
        requires_proof: bool = False,
        kind: Literal[0, 1] = DIRECT,
        attempts: int = 0,
        started_at: int | None = None,
        options: RunOptions = NO_OPTIONS,
        in_pieces: bool = False,
    ) -> None:
        self.key = key
        self.client = client
        self.containers = containers
        self.data = data
        self.requires_proof = requires_proof
        self.kind = kind
        self.attempts = attempts
        self.in_pieces = in_pieces
        self.started_at = started_at
        self.options = options
        self.created_at: int | None = None
        self.cancel_requested = False
        self.is_cancelled = False
        self.status = RUNNING
        self.input_size: int | None = None  # bytes; None for a job of an earlier run
        self.failure = b""
        self.refusal: Refusal | None = None
        self.took: float | None = None
        self._began: float | None = None  # by the monotonic clock

    def note_start(self) -> None:
        """Count a start."""
        self.attempts += 1
        self.started_at = milliseconds()
        self._began = time.monotonic()

    def note_end(self, status: int, failure: bytes = b"") -> None:
        """Note how it ended; again when that cannot be stored and it ends in another way."""
        self.status, self.failure = status, failure
        if self._began is not None and self.took is None:
            self.took = time.monotonic() - self._began

    def keeps_input(self, rule: str) -> bool:
        """Whether its input is kept at its end, by jobs.keep_inputs, if it is short enough."""
        return rule == "all" or (rule == "failed" and self.status == FAILED)

    @property
    def why_it_ends_with_the_node(self) -> str:
        """Why it fails when the node stops before its end; "" when the next run resumes it."""
        if self.kind == STREAM:
            return "The node stopped while the job was streaming"
        return "The node stopped before the job ended" if self.options.attended else ""

    @property
    def id(self) -> str:
        """The id as clients see it."""
        return to_text(self.key)
