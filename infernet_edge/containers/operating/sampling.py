"""CPU and memory that containers use, sampled only when they are asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from infernet_edge.containers.connection import Connection
from infernet_edge.containers.podman import EngineUsage
from infernet_edge.containers.supervision.usage import (
    ContainerUsage,
    RunningContainer,
    usage_of,
)
from infernet_edge.errors import EngineError

_KEPT: Final = 2.0  # seconds for which a round is answered again
_RECENT: Final = 30.0  # seconds after that, for which it is better than nothing
_OLDEST: Final = 60.0  # seconds between two samples of which the difference is taken
_INTERVAL: Final = 0.25  # seconds between two samples where there is no earlier one
_ENGINE_TIMEOUT: Final = 5.0  # seconds for Podman, for what the kernel does not show here
_ENGINE_PAUSE: Final = 60.0  # seconds without asking Podman again after it could not answer


class Use(NamedTuple):
    """CPU in percent of one core, and bytes of memory; None where it is not known."""

    cpu_percent: float | None
    memory: int | None


class _Sample(NamedTuple):
    at: float  # monotonic
    cpu: float


class Sampler:
    """Samples the containers that run; requests at the same time share one round."""

    def __init__(
        self, connection: Connection, running: Callable[[], Mapping[str, RunningContainer]]
    ) -> None:
        """`running`: the containers that run, by their configured ids."""
        self._connection = connection
        self._running = running
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._uses: dict[str, Use] = {}
        self._samples: dict[str, _Sample] = {}  # by Podman's ids
        self._engine_after = 0.0
        self._paused: set[str] = set()  # Podman's ids

    @property
    def recent(self) -> Mapping[str, Use]:
        """What the last round found; nothing when it is long ago."""
        return self._uses if time.monotonic() < self._until + _RECENT else {}

    async def uses(self) -> Mapping[str, Use]:
        """What each running container uses, by its configured id. Takes seconds at most."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._uses = await self._round()
                self._until = time.monotonic() + _KEPT
            return self._uses

    async def _round(self) -> dict[str, Use]:
        running = dict(self._running())
        before = {
            each.id: sample
            for each in running.values()
            if (sample := self._samples.get(each.id)) and time.monotonic() - sample.at <= _OLDEST
        }
        usages, now = await self._read(running)
        if now.keys() - before.keys():
            before = {**now, **before}
            await asyncio.sleep(_INTERVAL)
            usages, now = await self._read(running)
        self._samples = now
        return {
            name: Use(_percent(before.get(each.id), now.get(each.id)), usages[name].memory)
            for name, each in running.items()
        }

    async def _read(
        self, running: Mapping[str, RunningContainer]
    ) -> tuple[dict[str, ContainerUsage], dict[str, _Sample]]:
        def read() -> dict[str, ContainerUsage]:
            return {name: usage_of(each) for name, each in running.items()}

        usages = await asyncio.to_thread(read)
        self._note_paused({running[name].id for name, each in usages.items() if each.paused})
        unknown = [name for name, each in usages.items() if each.memory is None or each.cpu is None]
        if unknown:
            found = await self._of_engine([running[name].id for name in unknown])
            for name in unknown:
                if (more := found.get(running[name].id)) is not None:
                    known = usages[name]
                    usages[name] = known._replace(
                        memory=more.memory if known.memory is None else known.memory,
                        cpu=more.cpu if known.cpu is None else known.cpu,
                    )
        at = time.monotonic()
        samples = {
            running[name].id: _Sample(at, each.cpu)
            for name, each in usages.items()
            if each.cpu is not None
        }
        return usages, samples

    def _note_paused(self, paused: set[str]) -> None:
        """Request a check of Podman when one was paused: it seems to be ready, and is replaced."""
        if paused - self._paused:
            self._connection.request_check()
        self._paused = paused

    async def _of_engine(self, containers: list[str]) -> Mapping[str, EngineUsage]:
        engine = self._connection.engine
        if engine is None or self._connection.problem or time.monotonic() < self._engine_after:
            return {}
        try:
            return await self._connection.run(
                _ENGINE_TIMEOUT, engine.usages, containers, _ENGINE_TIMEOUT
            )
        except EngineError:  # rootless Podman cannot, with cgroups of version 1
            self._engine_after = time.monotonic() + _ENGINE_PAUSE
            return {}


def _percent(before: _Sample | None, now: _Sample | None) -> float | None:
    if before is None or now is None or now.at <= before.at:
        return None
    return round(max(0.0, now.cpu - before.cpu) / (now.at - before.at) * 100, 1)
