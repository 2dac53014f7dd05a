from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.events import Events


@pytest.fixture
def events() -> Iterator[Events]:
    logger = logging.getLogger("infernet_edge.containers")
    handler, level = Events(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
