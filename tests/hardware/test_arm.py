from __future__ import annotations

import pytest

from infernet_edge.hardware.arm import CORES, IMPLEMENTERS, core_name, implementer_name


@pytest.mark.parametrize(
    ("implementer", "part", "vendor", "core"),
    [
        ("0x41", "0xd0b", "ARM", "Cortex-A76"),
        ("0x41", "0xd42", "ARM", "Cortex-A78AE"),
        ("0x4e", "0x004", "NVIDIA", "Carmel"),
        ("0x4e", "0xfff", "NVIDIA", ""),
        ("0xff", "0xd0b", "", ""),
        ("", "", "", ""),
        ("ARM", "A76", "", ""),
    ],
)
def test_names(implementer: str, part: str, vendor: str, core: str) -> None:
    assert implementer_name(implementer) == vendor
    assert core_name(implementer, part) == core


def test_every_core_has_an_implementer() -> None:
    assert {implementer for implementer, _ in CORES} <= set(IMPLEMENTERS)
