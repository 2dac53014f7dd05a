"""Prepare a container: get its image, check that it can run here, and specify the container."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from infernet_edge.config.model import Container
from infernet_edge.containers import specification
from infernet_edge.containers.images import init_process
from infernet_edge.containers.images.damage import is_damage, output_shows_damage
from infernet_edge.containers.images.platforms import obstacle
from infernet_edge.containers.images.provider import Reporter
from infernet_edge.containers.podman import CALL_TIMEOUT, Engine, LocalImage
from infernet_edge.containers.supervision.context import SupervisorContext
from infernet_edge.containers.supervision.hints import hint
from infernet_edge.errors import EngineError


class Preparation:
    """Specifies the container of one service, and remembers what did not work."""

    def __init__(
        self, container: Container, context: SupervisorContext, reporter: Reporter
    ) -> None:
        self.image = LocalImage("")  # of the last container
        self.env_file_digest = ""  # of the last container; "" for none
        self._container = container
        self._context = context
        self._reporter = reporter
        self.is_running = False
        """Whether a specification is being made, for which an image may be pulled for hours."""
        self._init = container.init
        self._warned: set[str] = set()

    async def specify(self, engine: Engine) -> dict[str, Any]:
        """The specification of the container (see specification.py).

        Raises EngineError when its image cannot be pulled, or cannot run on this machine.
        """
        self.is_running = True
        try:
            return await self._specify(engine)
        finally:
            self.is_running = False

    async def _specify(self, engine: Engine) -> dict[str, Any]:
        container, info = self._container, self._context.connection.info
        # Podman on another machine has other devices, and may run other programs.
        is_here = engine.url.startswith("unix:")
        image = self.image = await self._context.images.obtain(engine, container, self._reporter)
        if is_here:
            architectures = (image.architecture, image.system, info.architecture)
            if problem := obstacle(container.image, *architectures):
                raise EngineError(problem)
        self._reporter.report_state("its container is being started")
        groups: list[int] = []
        if (container.devices or container.gpu) and is_here:
            groups = await self._context.threads.run(
                CALL_TIMEOUT, specification.device_groups, container
            )
        if groups and info.rootless and info.runtime != "crun" and self._is_first("groups"):
            self._reporter.log_container(
                "groups_dropped",
                logging.WARNING,
                runtime=info.runtime,
                reason="with this runtime rootless Podman cannot pass the groups of devices to the"
                " container; install the package crun",
            )
        node, stop_timeout = self._context.node, self._context.timing.stop

        def make() -> dict[str, Any]:
            if container.env_file:
                self.env_file_digest = specification.env_file_digest(container)
            return specification.make_specification(
                *(container, node, image.id, info.limits, stop_timeout, groups),
                rootless=info.rootless,
                node_labels=self._context.node_labels,
                init=self._init and not init_process.brings_own(image, container.command),
            )

        if container.env_file:  # which is read
            return await self._context.threads.run(CALL_TIMEOUT, make)
        return make()

    def warn_about_limits(self) -> None:
        """Log the configured limits that Podman cannot apply, once."""
        limits = self._context.connection.info.limits
        missing = specification.missing_limits(self._container, limits)
        if missing and self._is_first("limits"):
            self._reporter.log_container(
                "limits_ignored",
                logging.WARNING,
                limits=", ".join(missing),
                reason="this kernel, or rootless Podman, cannot apply them; on a Raspberry Pi add"
                " cgroup_enable=memory to the kernel's command line",
            )

    def drops_missing_init(self, problem: str) -> bool:
        """Whether an error of Podman means that it has no init program; then it is not used."""
        if not self._init or not init_process.is_missing(problem):
            return False
        self._init = False
        self._reporter.log_container(
            "init_dropped",
            logging.WARNING,
            reason="Podman has no init program for containers, so many of them stop only after"
            " their stop time-out; install the package catatonit",
        )
        return True

    def drops_init_after(self, reason: str) -> bool:
        """Whether a container that stopped before it was ready gets no init process any more.

        Its own program may have to be the first process, or the cause is clear only without it.
        """
        if not self._init:
            return False
        if init_process.has_to_be_first(reason):
            why = "its program has to be the first process"
        elif init_process.hides_cause(reason):
            why = "without it the reason of the stop is clear"
        else:
            return False
        self._init = False
        self._reporter.log_container("init_dropped", reason=why)
        return True

    async def reason_for_failure(self, engine: Engine, error: EngineError) -> str:
        """Why it cannot be started, with the remedy; "" when the cause was removed."""
        problem = str(error)
        if self.drops_missing_init(problem):
            return ""
        if not is_damage(problem):
            return f"{problem}{hint(problem)}"
        try:
            return await self.repair(engine, problem)
        except EngineError as another:
            return f"{another}{hint(str(another))}"

    async def after_crash(self, reason: str, remove: Callable[[], Awaitable[None]]) -> str:
        """Remove the cause of a stop before it was ready, where that is known.

        Returns the reason with the remedy. `remove` removes the container.
        """
        engine = self._context.connection.engine
        if engine is None or self.drops_init_after(reason) or not output_shows_damage(reason):
            return reason
        await remove()  # Podman removes no image that a container uses
        try:
            return await self.repair(engine, reason) or reason
        except EngineError as error:
            return f"{reason}; its image is damaged: {error}"

    async def remove_replaced_images(self) -> None:
        """Remove the images that the one of the container, which is ready, has replaced."""
        engine = self._context.connection.engine
        if engine is not None:
            await self._context.images.remove_replaced(
                engine, self._container.image, self._reporter
            )

    async def repair(self, engine: Engine, problem: str) -> str:
        """Replace the damaged image; "" when that was done, else what the operator can do.

        Raises EngineError when it was removed, and cannot be pulled again now.
        """
        images = self._context.images
        return await images.repair(engine, self._container, problem, self._reporter)

    def _is_first(self, warning: str) -> bool:
        """Whether it is the first warning of this kind, so that it is logged once."""
        known = warning in self._warned
        self._warned.add(warning)
        return not known
