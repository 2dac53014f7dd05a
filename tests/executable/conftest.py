from __future__ import annotations

import pytest

from tests.support.executable import BareRoot, Executable, built, built_by_debian


@pytest.fixture(scope="session")
def executable() -> Executable:
    return built()


@pytest.fixture(scope="session")
def debian_executable() -> Executable:
    return built_by_debian()


@pytest.fixture(scope="session")
def bare_root(executable: Executable, tmp_path_factory: pytest.TempPathFactory) -> BareRoot:
    return BareRoot(tmp_path_factory.mktemp("root"), executable)
