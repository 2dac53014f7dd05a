"""Parse and print amounts of money and addresses, without loss of digits."""

from __future__ import annotations

import argparse
import re
from typing import Final, NamedTuple

AMOUNT_HELP: Final = (
    "a whole number, which is wei of the coin or the smallest unit of a token (an ERC-20 of 6"
    " decimals: 1500000 for 1.5); for the coin also with a unit: 0.5eth, 20gwei, 7wei"
)

_DECIMALS: Final = {"": 0, "wei": 0, "gwei": 9, "eth": 18, "ether": 18}
_COIN: Final = 10**18  # wei
_MAX_AMOUNT: Final = 2**256 - 1  # of a uint256
_MAX_CHARACTERS: Final = 100  # characters
_AMOUNT = re.compile(r"(\d+)(?:\.(\d+))? ?([a-z]*)", re.ASCII | re.IGNORECASE)
_ADDRESS = re.compile(r"(?:0x)?([0-9a-f]{40})", re.ASCII | re.IGNORECASE)


class Amount(NamedTuple):
    """`value` is in the smallest unit; `unit` is the one that was written, "" for none."""

    value: int
    unit: str


def parse_amount(text: str) -> Amount:
    """Read an amount (see AMOUNT_HELP). Raises ArgumentTypeError."""
    match = _AMOUNT.fullmatch(text.strip()) if len(text) <= _MAX_CHARACTERS else None
    if match is None:
        raise _not_accepted(text, "it is not an amount")
    whole, fraction, unit = match[1], match[2], match[3].lower()
    if unit not in _DECIMALS:
        raise _not_accepted(text, f'the unit "{match[3]}" is not known')
    decimals = _DECIMALS[unit]
    if fraction is not None and not decimals:
        raise _not_accepted(text, "without a larger unit it must be a whole number")
    digits = (fraction or "").rstrip("0")
    if len(digits) > decimals:
        raise _not_accepted(text, f"{unit} have {decimals} decimals")
    value = int(whole + digits.ljust(decimals, "0"))
    if value > _MAX_AMOUNT:
        raise _not_accepted(text, "it is larger than a contract can store")
    return Amount(value, unit)


def parse_amount_or_all(text: str) -> Amount | None:
    """The same; None for "all". Raises ArgumentTypeError."""
    return None if text.strip().lower() == "all" else parse_amount(text)


def parse_address(text: str) -> str:
    """Read an address and return it checksummed. Raises ArgumentTypeError.

    Upper and lower case together are a checksum (EIP-55), which must be valid.
    """
    from eth_utils.address import to_checksum_address

    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(
            f'"{text}" is not an address: expected 0x and 40 hex digits'
        )
    digits = match[1]
    address = str(to_checksum_address(f"0x{digits.lower()}"))
    if digits not in (digits.lower(), digits.upper(), address[2:]):
        raise argparse.ArgumentTypeError(
            f'"{text}" is mistyped: its upper and lower case do not fit its digits (EIP-55)'
        )
    return address


def coins(wei: int) -> str:
    """An amount in whole coins, with all its digits."""
    whole, rest = divmod(wei, _COIN)
    return f"{whole}.{rest:018}".rstrip("0").rstrip(".")


def _not_accepted(text: str, reason: str) -> argparse.ArgumentTypeError:
    shown = text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
    return argparse.ArgumentTypeError(f'"{shown}": {reason}. Expected: {AMOUNT_HELP}.')
