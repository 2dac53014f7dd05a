"""Why a contract reverted, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from infernet_edge.chain.contracts.subscription import Subscription, SubscriptionV0

_MAX_TEXT: Final = 1024  # bytes of a contract's own text that are kept
_MAX_DATA: Final = 68  # bytes of an unknown error that are shown: its selector and two words

# The errors of the Infernet contracts, of Solady (which they are built on), and of tokens.
_PROTOCOL: Final = {
    "InvalidWallet()": "a wallet was not made by the coordinator's wallet factory",
    "IntervalMismatch()": "this interval is over, or has not begun",
    "IntervalCompleted()": "as many nodes as asked have answered this interval",
    "UnauthorizedVerifier()": "only the subscription's verifier may judge its proofs",
    "NodeRespondedAlready()": "this node has answered this interval",
    "SubscriptionNotFound()": "the coordinator has no such subscription",
    "ProofRequestNotFound()": "no proof of this node waits for a verdict",
    "NotSubscriptionOwner()": "only its owner may change a subscription",
    "SubscriptionCompleted()": "the subscription's last interval is over",
    "SubscriptionNotActive()": "the subscription has not begun, or is cancelled",
    "UnsupportedVerifierToken()": "the verifier takes no fees in the payment's token",
    "SignerMismatch()": "the owner's contract names another signer",
    "SignatureExpired()": "the signature's time is over",
    "InvalidSignature()": "the signature belongs to no key",
    "TransferFailed()": "a token could not be transferred",
    "ETHTransferFailed()": "coins could not be transferred",
    "InsufficientFunds()": "a wallet holds less than it has to pay or to lock",
    "InsufficientAllowance()": "a wallet's owner has approved less than has to be paid",
    "InsufficientBalance()": "an account holds fewer tokens than it has to pay",
    "NodeNotAllowed()": "the consumer's contract does not allow this node",
    "NodeNotActive()": "this node is not active there: `infernet-edge wallet register`,"
    " and an hour later `infernet-edge wallet activate`",
    "GasPriceExceeded()": "gas costs more than the subscription's max_gas_price",
    "GasLimitExceeded()": "the delivery takes more gas than the subscription's max_gas_limit",
    "NodeNotRegisterable(address,uint8)": "the node is registered already",
    "NodeNotActivateable(uint8)": "the node is not registered, or is active already",
    "CooldownActive(uint32)": "the node was registered less than an hour ago",
    "Unauthorized()": "only the contract's owner may do that",
    "Reentrancy()": "a contract called back into the one that called it",
}

# https://docs.soliditylang.org/en/latest/control-structures.html#panic-via-assert-and-error-via-require
_PANICS: Final = {
    0x01: "a failed assertion",
    0x11: "an arithmetic overflow",
    0x12: "a division by zero",
    0x21: "a value that its enumeration does not have",
    0x22: "badly encoded storage",
    0x31: "a pop from an empty array",
    0x32: "an index out of bounds",
    0x41: "too much memory",
    0x51: "a call of no function",
}


class Revert(NamedTuple):
    """Why a call reverted.

    `name` is the name of the contract's error: one of the protocol's, "Error" or "Panic" of the
    language, "" for errors of others and for none. `text` is the reason; that of "Error" is the
    contract's own. `protocol` is whether the Infernet contracts (or a token) refused it, which
    no other output would change.
    """

    name: str
    text: str
    protocol: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.protocol else self.text

    def is_allowed(self, allowed: Iterable[str]) -> bool:
        """Whether `allowed_sim_errors` allows it: any of them is part of its own text.

        Its own text is the contract's text, the name of a protocol's error, or an unknown
        error's data in hex. Case does not matter.
        """
        own = (self.name if self.protocol else self.text).lower()
        return any(part.strip().lower() in own for part in allowed if part.strip())


def _selector(signature: str) -> bytes:
    return keccak(signature.encode())[:4]


_BY_SELECTOR: Final = {
    _selector(signature): Revert(signature.partition("(")[0], text, protocol=True)
    for signature, text in _PROTOCOL.items()
}
_ERROR: Final = _selector("Error(string)")
_PANIC: Final = _selector("Panic(uint256)")

ANSWERED: Final = ("NodeRespondedAlready", "IntervalCompleted")
"""Errors of an interval that has its deliveries already, or this node's."""


def with_subject(revert: Revert, subscription: Subscription, node: str, wallet: str) -> str:
    """A protocol's error in words, with the addresses that it is about.

    `node` is the account that delivers, `wallet` the one in which it is paid.
    """
    owner, paid = subscription.owner, ""
    if not isinstance(subscription, SubscriptionV0):
        token, consumer = subscription.payment_token, subscription.wallet
        paid = f"consumer's wallet {consumer}, node's wallet {wallet}, token {token}"
        if subscription.requires_proof:
            paid += f", verifier {subscription.verifier}"
    subjects = {
        "InvalidWallet": paid,
        "InsufficientFunds": paid,
        "InsufficientAllowance": paid,
        "InsufficientBalance": paid,
        "TransferFailed": paid,
        "UnsupportedVerifierToken": paid,
        "UnauthorizedVerifier": paid,
        "NodeNotAllowed": f"contract {owner}, node {node}",
        "NodeNotActive": f"node {node}",
        "NodeRespondedAlready": f"node {node}",
        "SignerMismatch": f"contract {owner}",
    }
    subject = subjects.get(revert.name, f"subscription of {owner}")
    return f"{revert} ({subject})" if revert.protocol and subject else str(revert)


def revert_reason(data: bytes) -> Revert:
    """The reason in the data of a revert; b"" when there was none."""
    selector, arguments = data[:4], data[4:]
    if known := _BY_SELECTOR.get(selector):
        return known
    if not data:
        return Revert("", "the contract gave no reason")
    try:
        if selector == _ERROR:
            # As bytes, which are encoded alike: the text may be no UTF-8.
            (text,) = decode(["bytes"], arguments, strict=False)
            return Revert("Error", text[:_MAX_TEXT].decode("utf-8", "replace"))
        if selector == _PANIC:
            (code,) = decode(["uint256"], arguments)
            return Revert("Panic", f"{_PANICS.get(code, 'a panic')} (code 0x{code:02x})")
    except (DecodingError, OverflowError):
        pass  # another error with the selector of the language's own
    return Revert("", f"an error that the node does not know, 0x{data[:_MAX_DATA].hex()}")
