"""Pulls of images that an operator asked for, while their containers run on."""

from __future__ import annotations

import logging

from infernet_edge.containers.connection import Connection
from infernet_edge.containers.images.provider import Images
from infernet_edge.containers.podman import Engine
from infernet_edge.containers.service import Service
from infernet_edge.containers.supervision.hints import hint
from infernet_edge.errors import EngineError
from infernet_edge.logs import log_event, log_exception
from infernet_edge.tasks import TaskSet

logger = logging.getLogger(__name__)


class RequestedPulls:
    """Runs them in the background, at most one for each container."""

    def __init__(self, connection: Connection, images: Images) -> None:
        self._connection = connection
        self._images = images
        self._tasks = TaskSet(lambda error: log_exception(logger, "container.pull_crashed", error))
        self._running: set[str] = set()
        self._failures: dict[str, str] = {}

    def start(self, service: Service, engine: Engine) -> None:
        """Pull the image of a container; does nothing while that is done already."""
        image = service.container.image
        if service.id in self._running or image in self._images.pulling:
            return
        self._running.add(service.id)
        self._failures.pop(service.id, None)
        self._tasks.start(self._pull(service, image, engine))

    def is_running(self, container: str) -> bool:
        """Whether one was requested and has not ended; it may wait for others."""
        return container in self._running

    def failure(self, container: str) -> str:
        """Why the last pull of a container failed; "" when it did not."""
        return self._failures.get(container, "")

    def forget(self, container: str) -> None:
        """The container is no longer configured, or has another image."""
        self._failures.pop(container, None)

    async def stop(self) -> None:
        """Cancel those that run."""
        await self._tasks.stop()

    async def _pull(self, service: Service, image: str, engine: Engine) -> None:
        container = service.id
        service.publish("pulling", pull={"bytes": 0, "of": 0})
        try:
            pulled = await self._images.pull(engine, image, _Report(service, self._images))
            service.publish("pulled", digest=pulled.digest)
        except EngineError as error:
            reason = self._failures[container] = f"{error}{hint(str(error))}"
            service.publish("pull_failed", reason)
            log_event(
                logger,
                "container.pull_failed",
                logging.WARNING,
                container=container,
                image=image,
                reason=reason,
            )
        finally:
            self._running.discard(container)


class _Report:
    """Reports what happens to an image; the state of its container does not change."""

    def __init__(self, service: Service, images: Images) -> None:
        self._service = service
        self._images = images

    def report_state(self, reason: str) -> None:
        """The container runs on, or says itself what it waits for."""

    def log_container(self, verb: str, level: int = logging.INFO, **fields: object) -> None:
        """Log an event of the container."""
        if (progress := self._images.pulling.get(self._service.container.image)) is not None:
            pull = {"bytes": progress.bytes, "of": progress.of}
            self._service.publish("pulling", pull=pull)
        log_event(logger, f"container.{verb}", level, container=self._service.id, **fields)
