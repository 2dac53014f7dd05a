"""For eth-account's mnemonics, see the package."""

from __future__ import annotations

from bitarray import bitarray

ba2int = int2ba = bitarray
