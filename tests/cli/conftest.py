"""The fixtures `anvil` and `v0`."""

from tests.support.evm import anvil_fixture, v0_fixture

__all__ = ["anvil_fixture", "v0_fixture"]
