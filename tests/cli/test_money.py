from __future__ import annotations

import argparse

import pytest

from infernet_edge.cli.money import coins, parse_address, parse_amount, parse_amount_or_all

ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # an example of EIP-55


@pytest.mark.parametrize(
    ("text", "wei"),
    [
        ("0", 0),
        ("1500000", 1_500_000),
        ("7wei", 7),
        ("20gwei", 20 * 10**9),
        ("0.000000001gwei", 1),
        ("0.5eth", 5 * 10**17),
        ("0.50 Ether", 5 * 10**17),
        ("1ETH", 10**18),
        ("0.000000000000000001eth", 1),
        ("123456789.123456789123456789eth", 123456789123456789123456789),
        ("1.0000000000000000000000eth", 10**18),
        (str(2**256 - 1), 2**256 - 1),
    ],
)
def test_amounts(text: str, wei: int) -> None:
    assert parse_amount(text).value == wei
    assert parse_amount_or_all(text) == parse_amount(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.5", "must be a whole number"),
        ("1.0", "must be a whole number"),
        ("1.0wei", "must be a whole number"),
        ("0.0000000000000000001eth", "eth have 18 decimals"),
        ("1.0000000001gwei", "gwei have 9 decimals"),
        ("1finney", 'the unit "finney" is not known'),
        ("1e18", "it is not an amount"),
        ("-1", "it is not an amount"),
        ("1_000", "it is not an amount"),
        ("1,5eth", "it is not an amount"),
        (".5eth", "it is not an amount"),
        ("0x10", "it is not an amount"),
        ("٣", "it is not an amount"),
        ("", "it is not an amount"),
        ("all", "it is not an amount"),
        ("9" * 5000, "it is not an amount"),
        (str(2**256), "larger than a contract can store"),
        (f"{2**200}eth", "larger than a contract can store"),
    ],
)
def test_what_is_no_amount(text: str, reason: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as problem:
        parse_amount(text)
    output = str(problem.value)
    assert f'"{text[:100]}' in output
    assert reason in output
    assert "0.5eth" in output
    assert len(output) < 500


def test_all() -> None:
    assert parse_amount_or_all(" ALL ") is None


@pytest.mark.parametrize("wei", [0, 1, 10**17, 10**18, 25 * 10**17, 2**256 - 1])
def test_coins_lose_no_digit(wei: int) -> None:
    assert parse_amount(f"{coins(wei)}eth").value == wei


@pytest.mark.parametrize("text", [ADDRESS, ADDRESS[2:], ADDRESS.lower(), ADDRESS.upper()])
def test_addresses(text: str) -> None:
    assert parse_address(text) == ADDRESS


def test_a_mistyped_address() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="mistyped"):
        parse_address(ADDRESS.replace("5aA", "5aB"))
    with pytest.raises(argparse.ArgumentTypeError, match="40 hex digits"):
        parse_address(ADDRESS[:-1])
