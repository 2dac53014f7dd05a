"""The fixtures `anvil`, `v1` and `v0`."""

from tests.support.evm import anvil_fixture, v0_fixture, v1_fixture

__all__ = ["anvil_fixture", "v0_fixture", "v1_fixture"]
