"""Payments and proofs of SDK 1.x, for coins and for tokens."""

from __future__ import annotations

import pytest

from tests.support.abi import Reverted, refusal
from tests.support.evm import (
    ALICE,
    COIN,
    FEE_RECIPIENT,
    NOBODY,
    NODE,
    Anvil,
    Contract,
    deliveries,
    deploy,
    deploy_v1,
)

PRICE = 10_000
FEE = 500  # hundredths of a percent: 5 %
TO_PROTOCOL = 1_000  # twice the fee


class Market:
    """A consumer that pays and a node that is paid, each with a wallet."""

    def __init__(self, anvil: Anvil, *, with_token: bool) -> None:
        self.anvil = anvil
        self.v1 = deploy_v1(anvil, fee=FEE)
        self.token_contract = deploy(anvil, "Token")
        self.token = self.token_contract.address if with_token else COIN
        self.consumer = self.v1.deploy("CallbackConsumer")
        self.payer = self.wallet(PRICE)
        self.payer.send("approve", self.consumer.address, self.token, PRICE, sender=ALICE)
        self.payee = self.wallet(0)

    def wallet(self, amount: int) -> Contract:
        if self.token == COIN:
            return self.v1.wallet(ALICE, coins=amount)
        return self.v1.wallet(ALICE, token=self.token_contract, tokens=amount)

    def balance(self, address: str) -> int:
        if self.token == COIN:
            return self.anvil.balance(address)
        return int(self.token_contract.call("balanceOf", address))

    def ask(self, *, wallet: str | None = None, verifier: str = NOBODY) -> None:
        wallet = self.payer.address if wallet is None else wallet
        self.consumer.send("requestCompute", "echo", b"", 1, self.token, PRICE, wallet, verifier)

    def deliver(self, wallet: str | None = None) -> None:
        wallet = self.payee.address if wallet is None else wallet
        self.v1.coordinator.send("deliverCompute", 1, 1, b"", b"", b"", wallet, sender=NODE)

    def stake(self) -> None:
        """Put the price into the node's wallet and let the node's account escrow it."""
        if self.token == COIN:
            self.anvil.set_balance(self.payee.address, PRICE)
        else:
            self.token_contract.send("mint", self.payee.address, PRICE)
        self.payee.send("approve", NODE.address, self.token, PRICE, sender=ALICE)

    def verifier(self, name: str, *arguments: bool, fee: int = 200) -> Contract:
        made = self.v1.deploy(name, *arguments)
        made.send("support", self.token, True, fee)
        return made


@pytest.fixture(params=[False, True], ids=["coin", "token"])
def market(anvil: Anvil, request: pytest.FixtureRequest) -> Market:
    return Market(anvil, with_token=request.param)


def test_a_delivery_is_paid_less_the_fee(market: Market) -> None:
    market.ask()
    market.deliver()
    assert market.balance(market.payee.address) == PRICE - TO_PROTOCOL
    assert market.balance(FEE_RECIPIENT.address) == TO_PROTOCOL
    assert market.balance(market.payer.address) == 0
    assert market.payer.call("allowance", market.consumer.address, market.token) == 0


def test_both_wallets_come_from_the_factory(market: Market) -> None:
    assert market.v1.wallet_factory.call("isValidWallet", market.payee.address)
    assert market.payee.call("owner") == ALICE.address
    market.ask()
    with refusal("InvalidWallet"):
        market.deliver(NODE.address)
    market.ask(wallet=NODE.address)
    with refusal("InvalidWallet"):
        market.v1.coordinator.send(
            "deliverCompute", 2, 1, b"", b"", b"", market.payee.address, sender=NODE
        )


def test_the_payer_must_have_approved_the_owner(market: Market) -> None:
    market.payer.send("approve", market.consumer.address, market.token, PRICE - 1, sender=ALICE)
    market.ask()
    with refusal("InsufficientAllowance"):
        market.deliver()


def test_the_payer_must_have_the_money(market: Market) -> None:
    market.payer.send("withdraw", market.token, 1, sender=ALICE)
    market.ask()
    with refusal("TransferFailed" if market.token == COIN else "InsufficientBalance"):
        market.deliver()


def test_only_the_owner_uses_a_wallet(market: Market) -> None:
    for function in ("approve", "withdraw"):
        arguments = (NODE.address,) if function == "approve" else ()
        with refusal("Unauthorized"):
            market.payer.send(function, *arguments, market.token, 1, sender=NODE)
    with refusal("NotCoordinator"):
        market.payer.send("cLock", ALICE.address, market.token, 1, sender=ALICE)
    with refusal("InsufficientFunds"):
        market.payer.send("withdraw", market.token, PRICE + 1, sender=ALICE)


def test_a_valid_proof_is_paid(market: Market) -> None:
    verifier = market.verifier("AtomicVerifier", True)
    market.stake()
    market.ask(verifier=verifier.address)
    market.deliver()
    assert market.balance(market.payee.address) == PRICE + PRICE - TO_PROTOCOL - 200
    assert market.balance(verifier.address) == 190  # its fee less the protocol's 5 %
    assert market.balance(FEE_RECIPIENT.address) == TO_PROTOCOL + 10
    assert len(deliveries(market.consumer)) == 1


def test_a_wrong_proof_is_slashed(market: Market) -> None:
    verifier = market.verifier("AtomicVerifier", False)
    market.stake()
    market.ask(verifier=verifier.address)
    market.deliver()
    assert market.balance(market.payee.address) == 0
    assert market.balance(market.payer.address) == PRICE - TO_PROTOCOL - 200 + PRICE
    assert market.payee.call("allowance", NODE.address, market.token) == 0


def test_the_node_must_have_approved_and_must_have_the_stake(market: Market) -> None:
    verifier = market.verifier("AtomicVerifier", True)
    market.ask(verifier=verifier.address)
    with refusal("InsufficientFunds"):
        market.deliver()
    market.stake()
    market.payee.send("approve", NODE.address, market.token, PRICE - 1, sender=ALICE)
    with refusal("InsufficientAllowance"):
        market.deliver()


def test_a_verifier_names_its_tokens(market: Market) -> None:
    verifier = market.verifier("AtomicVerifier", True)
    verifier.send("support", market.token, False, 0)
    market.stake()
    market.ask(verifier=verifier.address)
    with refusal("UnsupportedVerifierToken"):
        market.deliver()


@pytest.mark.parametrize("valid", [True, False])
def test_a_verdict_may_come_later(market: Market, valid: bool) -> None:
    verifier = market.verifier("LazyVerifier")
    market.stake()
    market.ask(verifier=verifier.address)
    with refusal("ProofRequestNotFound"):
        verifier.send("finalize", 1, 1, NODE.address, valid)
    market.deliver()
    (event,) = verifier.events("ProofReceived")
    assert (event["subscriptionId"], event["node"]) == (1, NODE.address)
    with refusal("InsufficientFunds"):
        market.payee.send("withdraw", market.token, 1, sender=ALICE)
    with refusal("UnauthorizedVerifier"):
        market.v1.coordinator.send("finalizeProofVerification", 1, 1, NODE.address, valid)
    verifier.send("finalize", 1, 1, NODE.address, valid)
    expected = PRICE + PRICE - TO_PROTOCOL - 200 if valid else 0
    assert market.balance(market.payee.address) == expected
    with refusal("ProofRequestNotFound"):
        verifier.send("finalize", 1, 1, NODE.address, valid)


def test_without_a_verdict_for_a_week_the_node_is_paid(market: Market) -> None:
    market.stake()
    market.ask(verifier=market.verifier("LazyVerifier").address)
    market.deliver()
    market.anvil.increase_time(7 * 24 * 3600)
    market.v1.coordinator.send("finalizeProofVerification", 1, 1, NODE.address, False)
    assert market.balance(market.payee.address) == PRICE + PRICE - TO_PROTOCOL - 200


def test_a_failed_delivery_moves_nothing(market: Market) -> None:
    market.ask()
    with pytest.raises(Reverted):
        market.deliver(NOBODY)
    assert market.balance(market.payer.address) == PRICE
