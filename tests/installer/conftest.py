"""The fixture `machine`: a machine with systemd, and the executable on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.executable import built
from tests.support.machine import Machine, booted


@pytest.fixture(scope="module")
def booted_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    with booted(built().file, folder) as machine:
        yield machine


@pytest.fixture
def machine(booted_machine: Machine) -> Machine:
    return booted_machine
