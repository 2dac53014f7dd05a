"""Tests use nothing of the node that their user has, and leave nothing in the user's folders."""

from __future__ import annotations

import os
from pathlib import Path

from infernet_edge.config.loading import load


def test_a_node_without_a_configuration_keeps_its_data_in_the_folder_of_the_tests() -> None:
    config = load(None, os.environ).config
    assert not config.storage_path.is_relative_to(Path.home() / ".local")
    assert config.storage_path.is_relative_to(os.environ["XDG_DATA_HOME"])


def test_no_variable_of_the_user_configures_a_node() -> None:
    assert not [name for name in os.environ if name.startswith(("INFERNET_", "SUDO_"))]
