"""The words for reverts."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode

from infernet_edge.chain.contracts.reverts import ANSWERED, revert_reason, with_subject
from tests.support.subscriptions import OWNER, TOKEN, VERIFIER, subscription_v1

NODE, WALLET, PAYER = ("0x" + 40 * digit for digit in "789")

# As the deployed contracts have them.
SELECTORS = {
    "InvalidWallet": "23455ba1",
    "IntervalMismatch": "4db310c3",
    "IntervalCompleted": "2f4ca85b",
    "UnauthorizedVerifier": "b9857aa1",
    "NodeRespondedAlready": "88a21e4f",
    "SubscriptionNotFound": "1a00354f",
    "ProofRequestNotFound": "1d68b37c",
    "NotSubscriptionOwner": "a7fba711",
    "SubscriptionCompleted": "ae6704a7",
    "SubscriptionNotActive": "efb74efe",
    "UnsupportedVerifierToken": "e2372799",
    "SignerMismatch": "10c74b03",
    "SignatureExpired": "0819bdcd",
    "InvalidSignature": "8baa579f",
    "TransferFailed": "90b8ec18",
    "InsufficientFunds": "356680b7",
    "InsufficientAllowance": "13be252b",
    "NodeNotAllowed": "42764946",
    "InsufficientBalance": "f4d678b8",
    "NodeNotActive": "8741cbb8",
    "GasPriceExceeded": "682bad5a",
    "GasLimitExceeded": "be9179a6",
    "ETHTransferFailed": "b12d13eb",
    "NodeNotRegisterable": "5acfd518",
    "CooldownActive": "c84b5bdd",
    "NodeNotActivateable": "33daa7f9",
}


@pytest.mark.parametrize(("name", "selector"), SELECTORS.items())
def test_errors_of_the_protocol(name: str, selector: str) -> None:
    reason = revert_reason(bytes.fromhex(selector))
    assert (reason.name, reason.protocol) == (name, True)
    assert str(reason) == f"{name}: {reason.text}"
    assert revert_reason(bytes.fromhex(selector) + bytes(32)) == reason


@pytest.mark.parametrize("name", ANSWERED)
def test_errors_that_say_that_it_is_done_exist(name: str) -> None:
    assert name in SELECTORS


def error(text: bytes) -> bytes:
    return bytes.fromhex("08c379a0") + encode(["bytes"], [text])


def test_a_contracts_own_words() -> None:
    reason = revert_reason(error("zu wenig Geld: 5 €".encode()))
    assert (reason.name, reason.text, reason.protocol) == ("Error", "zu wenig Geld: 5 €", False)
    assert str(reason) == "zu wenig Geld: 5 €"


def test_words_that_are_no_utf8_or_endless() -> None:
    assert revert_reason(error(b"\xff!")).text == "�!"
    assert len(revert_reason(error(b"x" * 100_000)).text) == 1024


@pytest.mark.parametrize(
    ("code", "words"), [(0x11, "an arithmetic overflow"), (0x99, "a panic"), (2**255, "a panic")]
)
def test_panics(code: int, words: str) -> None:
    reason = revert_reason(bytes.fromhex("4e487b71") + encode(["uint256"], [code]))
    assert (reason.name, reason.text) == ("Panic", f"{words} (code 0x{code:02x})")


def test_no_reason() -> None:
    assert revert_reason(b"").text == "the contract gave no reason"
    assert revert_reason(b"").name == ""


@pytest.mark.parametrize(
    ("name", "subjects"),
    [
        ("NodeNotAllowed", (OWNER, NODE)),
        ("InsufficientAllowance", (PAYER, WALLET, TOKEN)),
        ("UnsupportedVerifierToken", (VERIFIER, TOKEN)),
        ("IntervalCompleted", (OWNER,)),
    ],
)
def test_an_error_names_what_it_is_about(name: str, subjects: tuple[str, ...]) -> None:
    subscription = subscription_v1(
        "echo", payment_amount=5, payment_token=TOKEN, wallet=PAYER, verifier=VERIFIER
    )
    revert = revert_reason(bytes.fromhex(SELECTORS[name]))
    text = with_subject(revert, subscription, NODE, WALLET)
    assert text.startswith(f"{revert} (")
    assert all(address in text for address in subjects)


def test_a_text_of_a_contract_gets_no_subject() -> None:
    revert = revert_reason(error(b"Out of stock"))
    assert with_subject(revert, subscription_v1("echo"), NODE, WALLET) == "Out of stock"


@pytest.mark.parametrize(
    "data",
    [
        b"\x01",
        b"\x12\x34\x56\x78",
        b"\x12\x34\x56\x78" + bytes(100_000),
        bytes.fromhex("08c379a0"),
        bytes.fromhex("08c379a0") + b"\xff" * 64,
        bytes.fromhex("4e487b71") + b"\x01",
    ],
)
def test_unknown_data_is_shown_in_hex(data: bytes) -> None:
    reason = revert_reason(data)
    assert (reason.name, reason.protocol) == ("", False)
    assert reason.text.endswith("0x" + data[:68].hex())


@pytest.mark.parametrize(
    ("data", "allowed", "expected"),
    [
        (error(b"Out of stock today"), ["OUT OF"], True),
        (error(b"Out of stock today"), ["sold", "stock"], True),
        (error(b"Out of stock today"), ["sold"], False),
        (error(b"Out of stock today"), ["", " "], False),
        (error(b"Out of stock today"), [], False),
        (bytes.fromhex("42764946"), ["nodenotallowed"], True),
        (bytes.fromhex("42764946"), ["contract"], False),  # a word of ours, not of the error
        (bytes.fromhex("12345678"), ["0x12345678"], True),
    ],
)
def test_what_allowed_sim_errors_let_pass(data: bytes, allowed: list[str], expected: bool) -> None:
    assert revert_reason(data).is_allowed(allowed) is expected
