"""In the place of bitarray: eth-account makes keys from mnemonics (BIP 39) with it."""

from __future__ import annotations

from typing import NoReturn


def bitarray(*_arguments: object) -> NoReturn:
    """An array of bits."""
    raise NotImplementedError("The executable makes no keys from mnemonics.")
