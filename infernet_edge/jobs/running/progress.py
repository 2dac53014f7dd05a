"""Where unfinished jobs are: in which container, or at which position of its queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from infernet_edge.jobs.runs import Progress, Run, ServiceQueue
from infernet_edge.jobs.streams import JobStream


def progress_of(
    in_work: Mapping[bytes, Run | JobStream],
    queues: Mapping[str, ServiceQueue],
    keys: Iterable[bytes],
) -> dict[bytes, Progress]:
    """Where those of these jobs are that are in work; each queue is counted once."""
    work = {key: in_work[key] for key in keys if key in in_work}
    entries: dict[str, list[Run | asyncio.Future[None]]] = {}
    for each in work.values():
        if (entry := _entry(each)) is not None:
            entries.setdefault(each.container, []).append(entry)
    positions = {
        container: queues[container].slots.positions(waiting)
        for container, waiting in entries.items()
    }
    found = {}
    for key, each in work.items():
        entry = _entry(each)
        position = None if entry is None else positions[each.container].get(entry)
        found[key] = Progress(each.container, position)
    return found


def _entry(work: Run | JobStream) -> Run | asyncio.Future[None] | None:
    """What may wait in the queue."""
    return work if isinstance(work, Run) else work.slot
