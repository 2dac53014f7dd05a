"""Runs containers for a caller that stores the outcome itself: the chain."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence

from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.client import ServiceClient
from infernet_edge.containers.protocols.call import OFF_CHAIN, ContainerInput, StoredInput
from infernet_edge.errors import StorageError
from infernet_edge.jobs.contents import Content, Input
from infernet_edge.jobs.runs import ServiceQueue
from infernet_edge.jobs.store import JobStore
from infernet_edge.memory import MemoryBudget, Reservation

_SHORT_INPUT = 1024  # bytes of an input that may wait in memory without a reservation


class Computing:
    """Calls containers in the `queues` of the orchestrator, one chain of containers at a time."""

    def __init__(
        self,
        queues: Mapping[str, ServiceQueue],
        store: JobStore,
        client: ServiceClient,
        memory: MemoryBudget,
        release_slot: Callable[[ServiceQueue], None],
    ) -> None:
        self.queues = queues
        self._store = store
        self._client = client
        self._memory = memory
        self._release_slot = release_slot

    @property
    def working(self) -> int:
        """Jobs in progress, also in containers that a reload has removed."""
        return sum(queue.service.working_on for queue in self.queues.values())

    def reserve(self) -> Reservation:
        """Memory for the answer of `compute`."""
        return self._memory.reserve("outputs")

    async def compute(
        self,
        containers: Sequence[str],
        data: bytes | StoredInput,
        memory: Reservation,
        *,
        source: int,
        destination: int,
        requires_proof: bool,
    ) -> bytes | bytearray:
        """Run containers for a caller that stores the outcome; returns the last answer.

        `source` and `destination` are those of all containers as a whole; between two of them, both
        are off-chain. `memory` is for the answers, one at a time; the caller releases it after the
        last one. Raises ContainerFailure, StorageError.
        """
        last = len(containers) - 1
        answer: bytes | bytearray = b""
        stored: Content | None = None
        try:
            for position, container in enumerate(containers):
                # A call that waits for a slot holds no memory that a call in a slot may wait for:
                # that would be a deadlock.
                passed, before = data if position == 0 else answer, stored
                if not isinstance(passed, StoredInput) and len(passed) > _SHORT_INPUT:
                    stored = await self._store.keep_temporary(passed)
                    next_input: bytes | StoredInput = stored_input(self._store, stored)
                else:
                    stored = None
                    next_input = bytes(passed) if isinstance(passed, bytearray) else passed
                del passed
                answer = b""
                memory.release()
                if before is not None:
                    await self._store.drop_temporary(before)
                answer = await self._compute_in(
                    container,
                    next_input,
                    memory,
                    source=source if position == 0 else OFF_CHAIN,
                    destination=destination if position == last else OFF_CHAIN,
                    requires_proof=requires_proof,
                )
        finally:
            if stored is not None:
                with contextlib.suppress(StorageError):
                    await self._store.drop_temporary(stored)
        return answer

    async def _compute_in(
        self,
        container: str,
        data: bytes | StoredInput,
        memory: Reservation,
        *,
        source: int,
        destination: int,
        requires_proof: bool,
    ) -> bytes | bytearray:
        """Run one container when a slot of it is free."""
        queue = self.queues.get(container)
        if queue is None:
            raise ContainerFailure(f'The container "{container}" is no longer configured')
        slot = queue.slots.acquire()
        try:
            await slot
            await self._memory.until_free()
            given = ContainerInput(data, source, destination, requires_proof)
            while True:
                try:
                    # On chain, nodes must agree to the byte: NaN and Infinity are kept for `str()`.
                    return await self._client.call(queue.service, given, memory, keep_numbers=True)
                except ContainerFailure as error:
                    if not error.interrupted:
                        raise
                    memory.release()  # an operator restarted the container: it is called again
        finally:
            if slot.done() and not slot.cancelled():
                self._release_slot(queue)


def as_input(store: JobStore, data: Input) -> bytes | memoryview | StoredInput:
    """The input of a job as a container is given it."""
    return stored_input(store, data) if isinstance(data, Content) else data


def stored_input(store: JobStore, content: Content) -> StoredInput:
    """A stored content as an input that is read while it is sent."""
    return StoredInput(content.size, functools.partial(store.read, content))
