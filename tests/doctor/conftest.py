from tests.containers.conftest import podman, session_podman
from tests.support.evm import anvil_fixture, v1_fixture

__all__ = ["anvil_fixture", "podman", "session_podman", "v1_fixture"]
