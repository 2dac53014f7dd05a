from __future__ import annotations

import pytest

from tests.support.executable import Executable, built


@pytest.fixture(scope="session")
def executable() -> Executable:
    return built()
