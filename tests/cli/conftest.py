"""The fixtures `anvil`, `v0` and `v1`."""

from tests.support.evm import anvil_fixture, v0_fixture, v1_fixture

__all__ = ["anvil_fixture", "v0_fixture", "v1_fixture"]
