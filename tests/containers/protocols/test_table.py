from __future__ import annotations

from typing import get_args

from infernet_edge.config.keys.types import field_types, unwrap
from infernet_edge.config.model import Container
from infernet_edge.containers.protocols.table import PROTOCOLS


def test_every_protocol_of_the_configuration_is_there() -> None:
    assert set(get_args(unwrap(field_types(Container)["protocol"])[0])) == set(PROTOCOLS)
