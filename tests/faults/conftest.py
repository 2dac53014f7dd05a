from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.echo import EchoService


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoService]:
    """One service for all tests; as containers they use variants of its url."""
    with EchoService(tmp_path_factory.mktemp("echo")) as service:
        yield service
