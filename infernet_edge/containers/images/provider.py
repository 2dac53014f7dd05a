"""Get the images of containers: find them, pull them, update them, replace damaged ones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import defaultdict
from typing import Any, Final, Protocol

from infernet_edge.config.model import Container
from infernet_edge.config.values.image_names import registry_of
from infernet_edge.containers.blocking import EngineUnreachable, Threads
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.images import advice
from infernet_edge.containers.images.progress import PullProgress
from infernet_edge.containers.images.reference import (
    canonical,
    has_digest,
    is_made_here,
)
from infernet_edge.containers.podman import CALL_TIMEOUT, PULL_STALL_TIMEOUT, Engine, LocalImage
from infernet_edge.errors import EngineError
from infernet_edge.tasks import cancel

_PULL_TIMEOUT = 12 * 3600.0  # seconds; a large image over a slow network
_UPDATE_STALL_TIMEOUT = 60.0  # seconds without progress, where there is a local copy
ANSWER_TIMEOUT: Final = 10.0
"""Seconds for a registry to answer, where there is a local copy."""

_PARALLEL_PULLS = 2  # more would only slow down each of them


class RegistrySilent(EngineError):
    """The registry does not answer in time."""


class Reporter(Protocol):
    """Is shown what happens to the image of its container."""

    def report_state(self, reason: str) -> None:
        """Why the container is not ready yet."""

    def log_container(self, verb: str, level: int = logging.INFO, **fields: object) -> None:
        """Log an event of the container."""


class Images:
    """The images of all containers of this node, for one start of the node."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pulls = asyncio.Semaphore(_PARALLEL_PULLS)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._checked: set[str] = set()  # names for which the registry was asked
        self._silent: set[str] = set()  # registries that did not answer
        self._repaired: set[str] = set()
        self._replaced: defaultdict[str, set[str]] = defaultdict(set)  # name -> ids
        self._latest: dict[str, LocalImage] = {}  # by name, as it was last pulled or found
        self._requests: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.pulling: dict[str, PullProgress] = {}
        """The progress of the pulls that run, by the image's name."""

    async def obtain(self, engine: Engine, container: Container, reporter: Reporter) -> LocalImage:
        """The image of a container; pulled, where its `pull` says so.

        A tag that is here is compared with the registry's once in the life of this object: never
        at a restart of a container. The local copy is used when the registry does not answer.
        Raises EngineError with the remedy.
        """
        self._latest[container.image] = image = await self._obtain(engine, container, reporter)
        return image

    async def _obtain(self, engine: Engine, container: Container, reporter: Reporter) -> LocalImage:
        name = container.image
        reporter.report_state("its image waits for other pulls")
        async with self._locks[name]:
            reporter.report_state("its image is being searched")
            local = await self._connection.run(CALL_TIMEOUT, engine.image, name)
            made_here = is_made_here(name, local.tags if local is not None else ())
            if local is None:
                if made_here or container.pull == "never":
                    raise EngineError(advice.missing(name, engine.url, made_here=made_here))
                self._checked.add(name)
                return await self._pull(engine, name, reporter)
            fixed = made_here or has_digest(name) or container.pull != "newer"
            if fixed or name in self._checked:
                return local
            self._checked.add(name)
            return await self._update(engine, local, name, reporter)

    async def pull(self, engine: Engine, name: str, reporter: Reporter) -> LocalImage:
        """Pull an image because an operator asks for it; a container that starts does not wait.

        Raises EngineError with the remedy.
        """
        async with self._requests[name]:
            local = await self._connection.run(CALL_TIMEOUT, engine.image, name)
            self._checked.add(name)
            self._silent.discard(registry_of(name))
            pulled = await self._pull(engine, name, reporter)
            if local is not None and pulled.id != local.id:
                self._replaced[name].add(local.id)
            self._latest[name] = pulled
            return pulled

    def newer(self, name: str, used: LocalImage) -> LocalImage | None:
        """The image of this name that replaces the one that a container uses, if there is one."""
        latest = self._latest.get(name)
        return latest if latest is not None and used.id and latest.id != used.id else None

    async def remove_replaced(self, engine: Engine, name: str, reporter: Reporter) -> None:
        """Remove the images that newer ones of this name replaced, unless they are still used."""
        run = self._connection.run
        for old in list(self._replaced[name]):
            try:
                image = await run(CALL_TIMEOUT, engine.image, old)
                # One with another name belongs to another program: removing it by its id
                # would remove that name.
                if image is not None and not image.tags:
                    await run(CALL_TIMEOUT, engine.remove_image, old)
                    reporter.log_container("image_removed", image=name, podman_id=old[:12])
            except EngineUnreachable:
                return
            except EngineError:  # another container uses it, perhaps of this node: tried again then
                continue
            self._replaced[name].discard(old)

    async def repair(
        self, engine: Engine, container: Container, reason: str, reporter: Reporter
    ) -> str:
        """Remove a damaged image and pull it again, at most once.

        Returns "" when it was replaced, else what the operator can do.
        """
        name = container.image
        async with self._locks[name]:
            if name in self._repaired:
                return advice.damaged(name, engine.url, reason, repaired=True)
            reporter.log_container("image_damaged", logging.WARNING, image=name, reason=reason)
            remedy = advice.damaged(name, engine.url, reason, repaired=False)
            if container.pull == "never" or is_made_here(name):
                return remedy
            try:
                if not await self._remove_damaged(engine, name, reporter):
                    return remedy
            except EngineError as error:
                return f"{remedy}. The node did not replace it: {error}"
            self._repaired.add(name)
            await self._pull(engine, name, reporter)
            return ""

    async def _remove_damaged(self, engine: Engine, name: str, reporter: Reporter) -> bool:
        """Remove an image that the registry has; False if it is not known to be from there."""
        run = self._connection.run
        try:
            local = await run(CALL_TIMEOUT, engine.image, name)
        except EngineUnreachable:
            raise
        except EngineError:
            # Its names cannot be read either: remove it by the only one that a registry has.
            return await run(CALL_TIMEOUT, engine.remove_image, canonical(name))
        if local is None or is_made_here(name, local.tags):
            return False
        # It can still be read, so it may be usable: without an answer of the registry it is kept.
        await self._pull(engine, name, reporter, ANSWER_TIMEOUT)
        return await run(CALL_TIMEOUT, engine.remove_image, canonical(name))

    async def _update(
        self, engine: Engine, local: LocalImage, name: str, reporter: Reporter
    ) -> LocalImage:
        """The registry's image of a name that is here, or else the local one."""
        try:
            pulled = await self._pull(engine, name, reporter, ANSWER_TIMEOUT)
        except EngineError as error:
            reporter.log_container("update_failed", logging.WARNING, image=name, reason=str(error))
            return local
        if pulled.id != local.id:
            self._replaced[name].add(local.id)
        return pulled

    async def _pull(
        self, engine: Engine, name: str, reporter: Reporter, answer_timeout: float | None = None
    ) -> LocalImage:
        """Pull an image. With `answer_timeout` (there is a local copy): raises RegistrySilent."""
        reporter.report_state("its image waits for other pulls")
        async with self._pulls:
            registry = registry_of(name)
            if answer_timeout is not None and registry in self._silent:
                raise RegistrySilent(f"{registry} did not answer before")
            reporter.report_state("its image is being pulled")
            reporter.log_container("pull_started", image=name)
            begin = time.monotonic()
            pulled = await self._run_pull(engine, name, reporter, answer_timeout)
            seconds = round(time.monotonic() - begin, 1)
            reporter.log_container("pulled", image=name, podman_id=pulled.id[:12], seconds=seconds)
            return pulled

    async def _run_pull(
        self, engine: Engine, name: str, reporter: Reporter, answer_timeout: float | None
    ) -> LocalImage:
        loop = asyncio.get_running_loop()
        answered, cancelled = asyncio.Event(), threading.Event()

        def on_progress(report: PullProgress) -> None:
            answered.set()
            if cancelled.is_set():
                return
            self.pulling[name] = report
            if report.text:
                reporter.log_container("pull_progressed", image=name, progress=report.text)
                reporter.report_state(f"its image is being pulled: {report.text}")

        def progress(report: PullProgress) -> None:
            loop.call_soon_threadsafe(on_progress, report)

        # Separate threads, for which the shutdown does not wait: a pull may hang, and a cancelled
        # one leaves nothing that has to be removed.
        threads = Threads()
        stall = PULL_STALL_TIMEOUT if answer_timeout is None else _UPDATE_STALL_TIMEOUT
        self.pulling[name] = PullProgress()
        async with self._connection.in_use():
            pull = asyncio.ensure_future(
                threads.run(_PULL_TIMEOUT, engine.pull, name, progress, cancelled, stall)
            )
            answer = asyncio.ensure_future(answered.wait())
            try:
                either: set[asyncio.Future[Any]] = {pull, answer}
                await asyncio.wait(
                    either, timeout=answer_timeout, return_when=asyncio.FIRST_COMPLETED
                )
                if not pull.done() and not answered.is_set():
                    registry = registry_of(name)
                    self._silent.add(registry)
                    raise RegistrySilent(
                        f"{registry} does not answer within {answer_timeout:g} seconds"
                    )
                return await pull
            finally:
                cancelled.set()
                self.pulling.pop(name, None)
                with contextlib.suppress(EngineError):
                    await cancel(pull, answer)
