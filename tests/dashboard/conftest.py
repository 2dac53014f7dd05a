"""One browser and one node for the tests of a module; services for all modules.

The loop of Playwright would be in the way of asynchronous tests of other modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import Chromium, Watched
from tests.support.echo import EchoService
from tests.support.node import NodeProcess


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with Chromium() as chromium:
        yield chromium


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoService]:
    with EchoService(tmp_path_factory.mktemp("echo")) as echo:
        yield echo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def node(echo: EchoService, folder: Path) -> Iterator[NodeProcess]:
    """A node that is open to its network, with services that do well and services that do not."""
    containers = [
        {"id": "echo", "url": echo.url},
        {"id": "slow", "url": f"{echo.url}/slow"},
        {"id": "broken", "url": f"{echo.url}/error500"},
    ]
    with NodeProcess({"containers": containers, "jobs": {"keep_inputs": "all"}}, folder) as node:
        yield node


@pytest.fixture
def page(chromium: Chromium, node: NodeProcess) -> Iterator[Watched]:
    """A page of the node."""
    with chromium.page(node.url) as page:
        yield page
