"""Collects what the overview shows, from the memory of all parts: no scan of the database."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from infernet_edge.api.access.admission import Caller
from infernet_edge.api.info import VERSION
from infernet_edge.api.overview import conditions
from infernet_edge.api.overview.attention import AttentionList, for_others
from infernet_edge.api.overview.certificate import Certificate, read_certificate
from infernet_edge.api.overview.conditions import Facts, FoundCondition
from infernet_edge.api.overview.forms import (
    Attention,
    CallerIdentity,
    Intake,
    JobCounts,
    LeftOut,
    MachineUsage,
    NodeIdentity,
    Overview,
)
from infernet_edge.api.overview.kept import Kept
from infernet_edge.clock import milliseconds
from infernet_edge.containers.operating import listing
from infernet_edge.errors import StorageError
from infernet_edge.hardware.reading import Reading
from infernet_edge.hardware.usage import MachineState, read_usage
from infernet_edge.schema import ChainSummary, encoder

if TYPE_CHECKING:
    from infernet_edge.api.parts import Parts

MAX_BYTES: Final = 8192
"""Bytes of an overview; what does not fit is counted in `left_out`."""

MAX_FAILURES: Final = 5
"""Failures in it; /api/history has all."""

_USAGE_KEPT: Final = 10.0  # for which what is used of the machine is kept
_SLOW_KEPT: Final = 60.0  # the same for addresses, the certificate, damaged files
_READ_TIMEOUT: Final = 2.0  # seconds of one read of the machine; the last value is shown then
_CHAIN_KEPT: Final = 2.0
_CHAIN_PATIENCE: Final = 0.5  # seconds to wait for the chain; the last state is shown then

_WELL: Final = ("ready", "asleep", "elsewhere")  # states of containers
_MAX_REASON = 200  # characters of a container's reason

Salvages = Sequence[tuple[Path, int, int | None]]


class OverviewSource:
    """Makes overviews. Nothing in it runs, and no file is read, unless a caller wants one."""

    def __init__(self, parts: Parts, refused: Callable[[], Sequence[str]]) -> None:
        """`refused` gives the newest host names that were refused."""
        self._parts = parts
        self._refused = refused
        self.started_at = milliseconds()
        self._facts = Facts()
        self._attention = AttentionList(self._collect)
        no_certificate: Certificate | None = None
        folder = parts.config.storage_path
        self._usage = Reading(
            "usage",
            partial(read_usage, Path("/"), folder),
            MachineState(),
            keep=_USAGE_KEPT,
            timeout=_READ_TIMEOUT,
        )
        self._certificate = Reading(
            "certificate",
            self._read_certificate,
            no_certificate,
            keep=_SLOW_KEPT,
            timeout=_READ_TIMEOUT,
        )
        urls: list[str] = []
        self._urls = Kept("addresses", parts.urls, urls, seconds=_SLOW_KEPT)
        salvages: Salvages = []
        self._salvages = Kept("salvages", self._read_salvages, salvages, seconds=_SLOW_KEPT)

        no_chain: ChainSummary | None = None
        self._chain = Kept(
            "chain", self._read_chain, no_chain, seconds=_CHAIN_KEPT, patience=_CHAIN_PATIENCE
        )

    async def close(self) -> None:
        """Stop reads that are in progress."""
        await self._urls.close()
        await self._salvages.close()
        await self._chain.close()

    def _read_certificate(self) -> Certificate | None:
        tls = self._parts.reloader.config.server.tls
        return read_certificate(Path(tls.cert if tls else ""))

    async def certificate(self) -> Certificate | None:
        """The certificate of server.tls; None when there is none that can be read."""
        return await self._certificate.get() if self._parts.reloader.config.server.tls else None

    async def attention(self) -> list[Attention]:
        """What needs a person, for an operator: problems first."""
        await self._refresh()
        return self._attention.items()

    def note(self) -> list[Attention]:
        """The same as of the last read; to be called regularly, so that `since` is right."""
        return self._attention.items()

    @property
    def has_pending(self) -> bool:
        """Whether jobs are pending now."""
        return bool(self._parts.store.pending)

    @property
    def calls(self) -> int:
        """A number that changes with each call of a container."""
        return sum(service.calls for service in self._parts.services.values())

    async def usage(self) -> MachineUsage:
        """What is used of the machine, as of some seconds ago."""
        await self._refresh()
        usage = self._facts.usage
        return MachineUsage(
            disk_free=usage.disk_free,
            disk_size=usage.disk_size,
            disk_days_left=self._facts.days_left,
            memory_used=usage.memory_used,
            memory_size=usage.memory_size,
            temperature_c=usage.temperature_c,
            throttled=usage.throttled,
        )

    async def uses(self) -> list[dict[str, Any]]:
        """CPU and memory of the containers that run here; takes seconds at most."""
        found = await self._parts.manager.operations.uses()
        return [{"id": name} | use._asdict() for name, use in found.items()]

    async def make(self, caller: Caller) -> bytes:
        """The overview for a caller, as JSON of at most MAX_BYTES."""
        parts, is_operator = self._parts, caller.is_operator
        machine = await self.usage()
        items = self._attention.items()
        recent = parts.store.recent
        running = parts.orchestrator.computing.working
        known = parts.manager.operations.known_items(parts.orchestrator.load)
        containers = [
            structs.replace(
                each,
                reason=each.reason[:_MAX_REASON],
                input_schema=None,
            )
            for each in (known if is_operator else map(listing.for_others, known))
        ]
        return _encoded(
            Overview(
                now=milliseconds(),
                boot=parts.events.boot,
                started_at=self.started_at,
                node=NodeIdentity(socket.gethostname(), VERSION, await self._urls.get()),
                me=self._identity(caller),
                intake=self.intake(),
                attention=items if is_operator else for_others(items),
                jobs=JobCounts(
                    running=running,
                    waiting=max(0, len(parts.store.pending) - running),
                    hour=recent.hour.summary(),
                ),
                history=recent.hour.minutes(),
                machine=machine,
                containers=containers,
                failures=recent.failures(MAX_FAILURES, caller.owns),
                chain=await self._chain.get(),
                left_out=LeftOut(),
            )
        )

    def _identity(self, caller: Caller) -> CallerIdentity:
        grant = caller.grant
        expires_at = None if grant is None else grant.expires_at
        return CallerIdentity(caller.client, caller.scope, expires_at, self._parts.tokens.is_open)

    def intake(self) -> Intake:
        """Whether new jobs are accepted now."""
        store = self._parts.store
        reason = store.closed or store.refusal
        if not reason and not self._parts.database.writable:
            reason = "The database cannot be written"
        if not reason and not store.room:
            reason = "Too many pending jobs (jobs.max_pending)"
        return Intake(not reason, reason)

    async def _refresh(self) -> None:
        """Read what takes a moment; waits for seconds at most."""
        usage, certificate, salvages = await asyncio.gather(
            self._usage.get(), self.certificate(), self._salvages.get()
        )
        days_left = self._parts.pace.days_left()
        self._facts = Facts(usage, days_left, certificate, salvages)

    async def _read_salvages(self) -> Salvages:
        with contextlib.suppress(StorageError):  # which is a condition of its own
            return await self._parts.database.salvages()
        return self._salvages.value

    async def _read_chain(self) -> ChainSummary | None:
        return None if self._parts.chain is None else await self._parts.chain.summary()

    def _collect(self) -> Iterator[FoundCondition]:
        parts, facts = self._parts, self._facts
        config = parts.reloader.config
        server, storage = config.server, config.storage_path
        writable = parts.database.writable
        problem = parts.manager.engine_problem
        yield from conditions.of_storage(
            parts.store.refusal,
            storage,
            writable=writable,
            problem=parts.database.problem,
        )
        yield from conditions.of_engine(problem)
        for service in parts.services.values():
            yield from conditions.of_service(service, problem)
        yield from conditions.of_tasks(parts.background.problems)
        yield from conditions.of_clock(parts.elapsed.latest_wall)
        yield from conditions.of_certificate(facts.certificate)
        if parts.chain is not None:
            yield from conditions.of_chain(parts.chain.conditions())
        if parts.backups is not None:
            yield from conditions.of_backups(parts.backups.problem)
        yield from conditions.of_machine(facts.usage, facts.days_left)
        yield from conditions.of_salvages(facts.salvages)
        yield from conditions.of_hosts(self._refused())
        yield from conditions.of_tokens(parts.tokens)
        in_network = server.host not in ("127.0.0.1", "::1", "localhost")
        yield from conditions.of_access(open_to_network=in_network and parts.tokens.is_open)


def _encoded(overview: Overview) -> bytes:
    """As JSON; drops items from the ends of the lists, the longest list first, until it fits.

    Containers that do well are dropped first.
    """
    left_out = {"attention": 0, "containers": 0, "failures": 0}
    text = encoder.encode(overview)
    while len(text) > MAX_BYTES:
        lists = {name: getattr(overview, name) for name in left_out}
        longest = max(lists, key=lambda name: len(encoder.encode(lists[name])))
        if not lists[longest]:
            break
        left_out[longest] += 1
        last = len(lists[longest]) - 1
        if longest == "containers":
            well = [at for at, each in enumerate(lists[longest]) if each.state in _WELL]
            last = well[-1] if well else last
        shorter = {longest: [*lists[longest][:last], *lists[longest][last + 1 :]]}
        overview = structs.replace(overview, left_out=LeftOut(**left_out), **shorter)
        text = encoder.encode(overview)
    return text
