"""The types of fields, and their annotations."""

from __future__ import annotations

from infernet_edge.config.keys.types import bounds, field_types, item_struct_of, struct_of, unwrap
from infernet_edge.config.model import Config, Container
from infernet_edge.config.sections.chain import SnapshotSync, Wallet
from infernet_edge.config.sections.log import Log


def test_what_is_in_the_annotations() -> None:
    batch_size = field_types(SnapshotSync)["batch_size"]
    assert unwrap(batch_size) == (int, {"clamped": "maximum"})
    assert bounds(batch_size) == (1, 100_000)
    assert bounds(field_types(SnapshotSync)["sync_period"]) == (None, None)  # gt is not inclusive
    assert unwrap(field_types(Wallet)["keystore"]) == (str, {"path": "read"})


def test_structs_and_lists_of_them() -> None:
    types = field_types(Config)
    assert struct_of(types["log"]) is Log
    assert struct_of(types["containers"]) is item_struct_of(types["log"]) is None
    assert item_struct_of(types["containers"]) is Container
    assert item_struct_of(field_types(Container)["volumes"]) is None
