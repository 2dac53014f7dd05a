from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.events import Events
from tests.support.podman import IsolatedPodman, need


@pytest.fixture(scope="session")
def session_podman() -> Iterator[IsolatedPodman]:
    need("podman")
    with IsolatedPodman() as podman:
        yield podman


@pytest.fixture
def podman(session_podman: IsolatedPodman) -> Iterator[IsolatedPodman]:
    """A Podman that runs, without any container."""
    session_podman.start_service()
    yield session_podman
    session_podman.run("rm", "--all", "--force", "--time=0")


@pytest.fixture
def events() -> Iterator[Events]:
    logger = logging.getLogger("infernet_edge.containers")
    handler, level = Events(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
