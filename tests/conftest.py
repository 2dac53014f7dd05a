"""The groups of tests, by what they need; `tests/run` says which of them it runs.

A test is in the group of the fixtures that it uses, or of its own marker:

    podman      containers in a real Podman
    executable  the built executable
    machine     a booted machine with systemd, and the executable on it
    models      a real language model (those with a container are in the group podman too)
    nightly     small runs of the benchmarks, and the dashboard in Firefox

All others are the fast tests. A module of these groups is run by one worker, in one piece, since
its tests share a Podman or a machine; each worker has a Podman of its own. All tests of the
executable are one piece: they share its root. Those that take longest begin first.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.podman import IsolatedPodman, need
from tests.support.process import ROOT

if TYPE_CHECKING:  # half a second, for tests with a chain alone
    from tests.support.chains import Chain, Chains
    from tests.support.evm import V0, V1, Anvil

_FIXTURES = {
    "booted_machine": "machine",
    "executable": "executable",
    "debian_executable": "executable",
    "bare_root": "executable",
    "podman": "podman",
    "session_podman": "podman",
}
_IN_ONE_PIECE = ("machine", "podman", "executable")  # in the order in which they begin


def pytest_configure() -> None:
    """A shell starts what runs in its background with SIGINT ignored, and commands inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        group = _group_of(item)
        if group in _IN_ONE_PIECE:
            item.add_marker(group)
            module = "" if group == "executable" else f" {item.path.relative_to(ROOT)}"
            item.add_marker(pytest.mark.xdist_group(f"{group}{module}"))
    items.sort(key=_place)


def _group_of(item: pytest.Item) -> str:
    if isinstance(item, pytest.Function):
        for fixture, group in _FIXTURES.items():
            if fixture in item.fixturenames:
                return group
    return next((group for group in _IN_ONE_PIECE if item.get_closest_marker(group)), "")


def _place(item: pytest.Item) -> int:
    """Sorting is stable: otherwise the order stays that of the files.

    What one worker runs in one piece comes before single tests, which fill the workers at the end.
    """
    names = [name for name in _IN_ONE_PIECE if item.get_closest_marker(name)]
    if names:
        return _IN_ONE_PIECE.index(names[0])
    return len(_IN_ONE_PIECE) + (item.get_closest_marker("xdist_group") is None)


# Of a node that the user has: where it keeps its data, and what it is configured with.
_OF_THE_USER = re.compile(
    r"INFERNET_(EDGE_.*|CONFIG_PATH)|SUDO_.*|STATE_DIRECTORY|CREDENTIALS_DIRECTORY"
)


@pytest.fixture(scope="session", autouse=True)
def nothing_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test finds the node of who runs the tests, or leaves something in its folder."""
    for name in filter(_OF_THE_USER.fullmatch, list(os.environ)):
        del os.environ[name]
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("share"))


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
    session_podman.remove_containers()


@pytest.fixture(scope="session")
def chains() -> Iterator[Chains]:
    from tests.support.chains import Chains

    with Chains() as chains:
        yield chains


@pytest.fixture
def chain_with_contracts(request: pytest.FixtureRequest, chains: Chains) -> Chain:
    """A chain with the contracts whose fixtures the test uses."""
    return chains.fresh(*{"v1", "v0"}.intersection(request.fixturenames))


@pytest.fixture
def anvil(chain_with_contracts: Chain) -> Anvil:
    """A chain that mines each transaction at once."""
    return chain_with_contracts.anvil


@pytest.fixture
def v1(chain_with_contracts: Chain) -> V1:
    """The contracts of SDK 1.x."""
    return chain_with_contracts.v1


@pytest.fixture
def v0(chain_with_contracts: Chain) -> V0:
    """The coordinator of SDK 0.1."""
    return chain_with_contracts.v0
