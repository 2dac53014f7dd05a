"""Whether an answer will be paid, checked before anything is computed.

The factory is called first, to check the wallets; they and the token are contracts of others.
"""

from __future__ import annotations

from typing import Any

from infernet_edge.chain.contracts.abi import (
    IS_VALID_WALLET,
    QUESTION_GAS,
    VERIFIER_SUPPORTS,
    WALLET_ALLOWANCE,
    WALLET_OWNER,
    Function,
    UnexpectedReply,
    amount_text,
    balance_question,
    eth_call,
)
from infernet_edge.chain.contracts.registry import Deployment, to_bytes
from infernet_edge.chain.contracts.subscription import ZERO_ADDRESS, SubscriptionV1
from infernet_edge.chain.delivery.errors import NotPaid, PaymentMissing, TransientFailure
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable, quantity


class PaymentCheck:
    """Checks the wallets of both sides. `wallet` is the one in which `node` is paid."""

    def __init__(self, rpc: RpcClient, deployment: Deployment, wallet: str, node: str) -> None:
        self._rpc = rpc
        self._deployment = deployment
        self._wallet = wallet
        self._node = node

    async def check(self, subscription: SubscriptionV1) -> None:
        """Raise NotPaid or PaymentMissing when an answer to this subscription would not be paid.

        The names in the texts are those of the contracts' errors. Raises TransientFailure and
        RpcUnavailable when the server does not say.
        """
        factory = await self._deployment.wallet_factory()
        amount, token = subscription.payment
        wallet, consumer = self._wallet, subscription.wallet
        own, theirs = await self._rpc.batch(
            [eth_call(factory, IS_VALID_WALLET.encode(each)) for each in (wallet, consumer)]
        )
        if not _says(IS_VALID_WALLET, _answer(own)):
            raise NotPaid(
                f"InvalidWallet: chain.wallet.payment_address {wallet} was not made by the wallet"
                " factory of this registry; make one with: infernet-edge wallet pay create"
            )
        if not _says(IS_VALID_WALLET, _answer(theirs)):
            raise NotPaid(
                f"InvalidWallet: the consumer's wallet {consumer} was not made by the wallet"
                " factory of this registry"
            )
        answers = await self._rpc.batch(self._questions(subscription))
        said = [_answer(each) for each in answers]
        if subscription.requires_proof and not _says(VERIFIER_SUPPORTS, said.pop()):
            raise NotPaid(
                f"UnsupportedVerifierToken: the verifier {subscription.verifier} does not say that"
                f" it supports the payment's token {token}"
            )
        _check_consumer(subscription, *said[:2])
        if subscription.requires_proof:
            self._check_own(amount, token, *said[2:])

    def _questions(self, subscription: SubscriptionV1) -> list[Call]:
        wallet, consumer, token = self._wallet, subscription.wallet, subscription.payment_token
        questions = [
            balance_question(token, consumer),
            _question(consumer, WALLET_ALLOWANCE.encode(subscription.owner, token)),
        ]
        if subscription.requires_proof:
            questions += [
                balance_question(token, wallet),
                _question(wallet, WALLET_ALLOWANCE.encode(self._node, token)),
                _question(wallet, WALLET_OWNER.encode()),
                _question(subscription.verifier, VERIFIER_SUPPORTS.encode(token)),
            ]
        return questions

    def _check_own(self, amount: int, token: str, balance: str, allowance: str, owner: str) -> None:
        """The coordinator locks as much in the node's wallet as it is paid, until the verdict."""
        held = _number(balance)
        if held < amount:
            raise PaymentMissing(
                f"InsufficientFunds: the node's wallet {self._wallet} holds"
                f" {amount_text(held, token)}, and {amount} have to be locked in it for the proof;"
                " send it some"
            )
        approved = _number(allowance)
        owned_by = _owner(owner)
        if approved < amount and owned_by.lower() != self._node.lower():
            raise PaymentMissing(
                f"InsufficientAllowance: the node may have {amount_text(approved, token)} locked in"
                f" the wallet {self._wallet}, and the proof takes {amount}; the wallet's owner"
                f" {owned_by} has to approve {self._node} there"
            )


def _question(to: str, data: bytes) -> Call:
    return eth_call(to, data, gas=QUESTION_GAS)


def _check_consumer(subscription: SubscriptionV1, balance: str, allowance: str) -> None:
    amount, token = subscription.payment
    if balance == "0x":
        raise PaymentMissing(f"The payment's token {token} is not a token: no balanceOf() answers")
    held = _number(balance)
    if held < amount:
        raise PaymentMissing(
            f"InsufficientFunds: the consumer's wallet {subscription.wallet} holds"
            f" {amount_text(held, token)}, and an answer is to be paid with {amount}"
        )
    approved = _number(allowance)
    if approved < amount:
        raise PaymentMissing(
            f"InsufficientAllowance: the owner of the consumer's wallet {subscription.wallet} has"
            f" approved {amount_text(approved, token)} for {subscription.owner}, and an answer is"
            f" to be paid with {amount}"
        )


def _answer(answer: Any) -> str:
    """What a contract returned, in hex. One of another kind reverts, or returns nothing."""
    if isinstance(answer, RpcError):
        if answer.is_revert:
            return "0x"
        if answer.is_transient:
            raise RpcUnavailable(f"The wallets cannot be read now: {answer}")
        raise TransientFailure(f"The wallets cannot be read: {answer}")
    if not isinstance(answer, str):
        raise RpcUnavailable("The server gives no balance of the wallets")
    return answer


def _number(answer: str) -> int:
    try:
        return quantity(answer)
    except ValueError:
        return 0


def _says(yes: Function, answer: str) -> bool:
    try:
        return bool(yes.decode(to_bytes(answer)))
    except UnexpectedReply:
        return False


def _owner(answer: str) -> str:
    try:
        return str(WALLET_OWNER.decode(to_bytes(answer)))
    except UnexpectedReply:
        return ZERO_ADDRESS
