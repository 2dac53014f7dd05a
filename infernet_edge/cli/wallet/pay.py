"""`infernet-edge wallet pay`: the payment wallet of the node."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from msgspec import Struct

from infernet_edge.chain.contracts.abi import COIN, CREATE_WALLET, WALLET_APPROVE, WALLET_WITHDRAW
from infernet_edge.chain.contracts.registry import Deployment
from infernet_edge.chain.rpc.client import RpcClient
from infernet_edge.chain.txm.one_off import NotMined, Receipt
from infernet_edge.chain.wallet.keystore import load_account
from infernet_edge.chain.wallet.payment_wallet import (
    Holding,
    PaymentWallet,
    ask_wallet,
    created_wallet,
    is_valid_wallet,
)
from infernet_edge.cli.configuration import load_or_explain
from infernet_edge.cli.money import coins
from infernet_edge.cli.output import print_progress
from infernet_edge.cli.wallet.chain import connected, send, transaction
from infernet_edge.config.model import Config
from infernet_edge.config.rendering import to_json, toml_value
from infernet_edge.config.sections.chain import Chain
from infernet_edge.errors import InfernetEdgeError

_CREATE = "infernet-edge wallet pay create"
_VARIABLE = "INFERNET_EDGE_CHAIN__WALLET__PAYMENT_ADDRESS"
_CHECKS = 10
_CHECK_PERIOD = 1.0  # seconds


class View(Struct, frozen=True):
    """A wallet, with the `account` of the node."""

    wallet: PaymentWallet
    account: str
    factory: str
    chain_id: int

    @property
    def is_own(self) -> bool:
        """Whether the node's account may approve and withdraw."""
        return self.wallet.owner == self.account


def pay(arguments: argparse.Namespace, answer: dict[str, Any]) -> int:
    """Run the action; returns the exit code. `answer` is what --json prints.

    Raises InfernetEdgeError.
    """
    action = arguments.pay_action
    token = _token(arguments) if action in ("approve", "withdraw") else COIN
    if action == "withdraw" and arguments.amount and arguments.amount.value == 0:
        arguments.refuse("0 cannot be withdrawn: expected a larger amount")
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    config = loaded.config
    account = _account(config)
    if action == "show":
        answer |= _show(config, account.address, arguments.token, as_json=arguments.json)
        return 0
    if action == "create":
        answer |= _create(config.chain, account, another=arguments.another)
        return 0
    amount = arguments.amount and arguments.amount.value
    if action == "approve":
        spender = arguments.spender or account.address
        answer |= asyncio.run(_approve(config.chain, account, spender, token, amount))
        return 0
    done = _withdraw(config.chain, account, token, amount, ask=not arguments.yes)
    if done is None:
        return 1
    answer |= done
    return 0


def _token(arguments: argparse.Namespace) -> str:
    """The token of the amount; the command exits when the unit does not fit the token."""
    token: str = arguments.token or COIN
    if arguments.amount and arguments.amount.unit and token != COIN:
        arguments.refuse(
            f"{arguments.amount.unit} is a unit of the coin; give the amount of a token in its"
            " smallest unit, as a whole number"
        )
    return token


def _account(config: Config) -> LocalAccount:
    if not config.chain.registry_address:
        raise InfernetEdgeError(
            "chain.registry_address is not set. The registry names the factory of payment wallets,"
            " which only deployments of SDK 1.x have."
        )
    return load_account(config.chain.wallet)


def _address(chain: Chain) -> str:
    if not chain.wallet.payment_address:
        raise InfernetEdgeError(
            f"chain.wallet.payment_address is not set. Make a wallet with: {_CREATE}"
        )
    return str(to_checksum_address(chain.wallet.payment_address))


# create


def _create(chain: Chain, account: LocalAccount, *, another: bool) -> dict[str, Any]:
    present = chain.wallet.payment_address
    if present and not another:
        raise InfernetEdgeError(
            f"chain.wallet.payment_address already names a wallet, {present}. Show it with:"
            " infernet-edge wallet pay show. To make another one: infernet-edge wallet pay create"
            " --another"
        )
    wallet, receipt = asyncio.run(_make(chain, account))
    print(f"Owner        {account.address} (this node's account)")
    print(
        "For the node to be paid there, put this into the configuration, to the other settings of"
    )
    print("chain.wallet, and restart the node:\n")
    print(f"[chain.wallet]\npayment_address = {toml_value(wallet)}\n")
    print("or, when the configuration is JSON:\n")
    print(to_json({"chain": {"wallet": {"payment_address": wallet}}}), end="")
    if present:
        print(f"\nThe money in the wallet {present} stays there. It can be withdrawn while the")
        print(f"configuration names that wallet, or with {_VARIABLE}={present}")
    return {
        "wallet": wallet,
        "owner": account.address,
        "previous": present or None,
        "transaction": transaction(receipt),
        "configuration": {"chain": {"wallet": {"payment_address": wallet}}},
    }


async def _make(chain: Chain, account: LocalAccount) -> tuple[str, Receipt]:
    """Make a wallet with the factory; prints its address, and returns it."""
    async with connected(chain) as rpc:
        factory = await Deployment(chain, rpc).wallet_factory()
        if await is_valid_wallet(rpc, factory, COIN) is None:
            raise InfernetEdgeError(
                f"{factory}, which chain.registry_address {chain.registry_address} names, is not"
                f" a wallet factory on chain {rpc.chain_id}."
            )
        try:
            receipt = await send(rpc, account, factory, CREATE_WALLET.encode(account.address))
        except NotMined as problem:
            raise NotMined(
                f"{problem} Do not make another one: when it is mined, the event WalletCreated in"
                " its receipt holds the wallet's address."
            ) from None
        wallet = created_wallet(receipt.logs, factory)
        if wallet is None:
            raise InfernetEdgeError(
                f"The transaction {receipt.hash} made no wallet. Check chain.registry_address."
            )
        print_progress(f"Wallet       {wallet}")
        if not await _is_listed(rpc, factory, wallet):
            raise InfernetEdgeError(
                f"The factory {factory} does not list the wallet {wallet} that it made. Check it"
                " later with: infernet-edge wallet pay show"
            )
        return wallet, receipt


async def _is_listed(rpc: RpcClient, factory: str, wallet: str) -> bool:
    """Whether the factory lists a new wallet; a server may be some blocks behind."""
    for _ in range(_CHECKS):
        if await is_valid_wallet(rpc, factory, wallet):
            return True
        await asyncio.sleep(_CHECK_PERIOD)
    return False


# show


def _show(config: Config, account: str, requested: list[str], *, as_json: bool) -> dict[str, Any]:
    view = None
    if config.chain.wallet.payment_address:
        view = asyncio.run(_view(config.chain, account, _tokens(config, requested)))
    warnings = list(_warnings(view))
    answer = _document(view, account) | {"warnings": warnings}
    if as_json:
        return answer
    for line in _lines(view) if view else ("Wallet       none", f"Node         {account}"):
        print(line)
    for warning in warnings:
        print(warning, file=sys.stderr)
    return answer


def _tokens(config: Config, requested: Iterable[str]) -> list[str]:
    """The coin, what the containers accept, and the requested ones; without duplicates."""
    accepted = [token for container in config.containers for token in container.accepted_payments]
    return list(dict.fromkeys([COIN, *map(to_checksum_address, accepted), *requested]))


async def _view(chain: Chain, account: str, tokens: Iterable[str]) -> View:
    async with connected(chain) as rpc:
        return await _ask(rpc, chain, account, account, tokens)


async def _ask(
    rpc: RpcClient, chain: Chain, account: str, spender: str, tokens: Iterable[str]
) -> View:
    factory = await Deployment(chain, rpc).wallet_factory()
    wallet = await ask_wallet(rpc, factory, _address(chain), spender, tokens)
    return View(wallet, account, factory, int(rpc.chain_id or 0))


def _warnings(view: View | None) -> Iterator[str]:
    if view is None:
        yield (
            "chain.wallet.payment_address is not set, so this node serves no paid subscriptions."
            f" Make a wallet with: {_CREATE}"
        )
        return
    wallet = view.wallet
    if wallet.owner is None:
        yield _no_wallet(view)
        return
    if not wallet.valid:
        yield _not_valid(view)
    if not view.is_own:
        yield (
            f"The wallet belongs to {wallet.owner}: only that account can withdraw, and it has to"
            f" approve {view.account} there for what the proofs of this node lock."
        )
    for holding in wallet.holdings:
        if holding.balance is None:
            yield _no_token(view, holding.token)


def _no_wallet(view: View) -> str:
    return (
        f"There is no wallet at {view.wallet.address} on chain {view.chain_id}. Correct"
        f" chain.wallet.payment_address, or make a wallet with: {_CREATE} --another"
    )


def _not_valid(view: View) -> str:
    return (
        f"InvalidWallet: the wallet {view.wallet.address} was not made by the wallet factory"
        f" {view.factory} of this registry, so the coordinator does not pay into it. Make one with:"
        f" {_CREATE} --another"
    )


def _no_token(view: View, token: str) -> str:
    return f"{token} is not an ERC-20 token on chain {view.chain_id}."


def _lines(view: View) -> Iterator[str]:
    wallet = view.wallet
    yield f"Wallet       {wallet.address}"
    yield f"Chain        {view.chain_id}"
    yield f"Factory      {view.factory} {'made it' if wallet.valid else 'did not make it'}"
    whose = "this node's account" if view.is_own else f"not this node's account {view.account}"
    yield f"Owner        {wallet.owner} ({whose})" if wallet.owner else "Owner        none"
    for holding in wallet.holdings:
        yield "Coin" if holding.token == COIN else f"Token        {holding.token}"
        yield f"  balance    {_amount(holding.balance, holding.token)}"
        yield f"  locked     {_amount(holding.locked, holding.token)}, for proofs"
        yield f"  allowance  {_amount(holding.allowance, holding.token)}, for this node's proofs"


def _amount(value: int | None, token: str) -> str:
    if value is None:
        return "unknown"
    return f"{coins(value)} ({value} wei)" if token == COIN else str(value)


def _named(value: int | None, token: str) -> str:
    return _amount(value, token) + ("" if token == COIN else f" of token {token}")


def _document(view: View | None, node: str) -> dict[str, Any]:
    if view is None:
        return {"wallet": None, "node": node}
    wallet = view.wallet
    return {
        "wallet": wallet.address,
        "node": node,
        "chain_id": view.chain_id,
        "factory": view.factory,
        "valid": wallet.valid,
        "owner": wallet.owner,
        "own": view.is_own,
        "tokens": [_holding_document(holding) for holding in wallet.holdings],
    }


def _holding_document(holding: Holding) -> dict[str, str | None]:
    """Numbers as text: many JSON parsers lose digits beyond 2^53."""
    amounts = {name: getattr(holding, name) for name in ("balance", "locked", "allowance")}
    return {
        "token": holding.token,
        **{name: None if value is None else str(value) for name, value in amounts.items()},
    }


# approve and withdraw


async def _approve(
    chain: Chain, account: LocalAccount, spender: str, token: str, amount: int
) -> dict[str, Any]:
    async with connected(chain) as rpc:
        view = await _ask(rpc, chain, account.address, spender, [token])
        before = _usable(view).allowance
        if not view.wallet.valid:
            raise InfernetEdgeError(_not_valid(view))
        address = view.wallet.address
        answer = {
            "wallet": address,
            "spender": spender,
            "token": token,
            "allowance": str(amount),
            "previous": None if before is None else str(before),
        }
        if before == amount:
            print(f"{spender} may already spend {_named(amount, token)} of the wallet {address}.")
            return answer | {"transaction": None}
        print(f"Allowance    {_amount(before, token)} until now")
        receipt = await send(rpc, account, address, WALLET_APPROVE.encode(spender, token, amount))
    print(f"{spender} may spend {_named(amount, token)} of the wallet {address} from now on.")
    return answer | {"transaction": transaction(receipt)}


def _withdraw(
    chain: Chain, account: LocalAccount, token: str, wanted: int | None, *, ask: bool
) -> dict[str, Any] | None:
    """Withdraw; returns what --json prints, None when the user did not agree."""
    view = asyncio.run(_view(chain, account.address, [token]))
    address = view.wallet.address
    holding = _usable(view)
    amount = _withdrawn(address, holding, wanted)
    answer = {"wallet": address, "to": account.address, "token": token, "amount": str(amount)}
    if amount == 0:
        print(f"Nothing can be withdrawn: {_contents(address, holding)}.")
        return answer | {"transaction": None}
    transfer = f"{_named(amount, token)} from {address} to {account.address}"
    if ask and sys.stdin.isatty() and not _agreed(f"Withdraw {transfer}? (yes/no)"):
        print("Nothing was done.", file=sys.stderr)
        return None
    receipt = asyncio.run(_send(chain, account, address, WALLET_WITHDRAW.encode(token, amount)))
    print(f"Withdrew {transfer}.")
    return answer | {"transaction": transaction(receipt)}


async def _send(chain: Chain, account: LocalAccount, to: str, data: bytes) -> Receipt:
    async with connected(chain) as rpc:
        return await send(rpc, account, to, data)


def _usable(view: View) -> Holding:
    """The holding of the one requested token.

    Raises InfernetEdgeError when the node's account cannot use it.
    """
    wallet = view.wallet
    [holding] = wallet.holdings
    if wallet.owner is None:
        raise InfernetEdgeError(_no_wallet(view))
    if not view.is_own:
        raise InfernetEdgeError(
            f"Unauthorized: the wallet {wallet.address} belongs to {wallet.owner}, and only that"
            f" account may approve and withdraw; this node's account is {view.account}."
        )
    if holding.balance is None:
        raise InfernetEdgeError(_no_token(view, holding.token))
    return holding


def _withdrawn(address: str, holding: Holding, wanted: int | None) -> int:
    """The amount to withdraw; raises InfernetEdgeError when the wallet has less.

    Where the locked amount is unknown, the estimate of gas returns the error of the contract.
    """
    free = holding.balance if holding.free is None else holding.free
    if wanted is None:
        return free or 0
    if free is not None and wanted > free:
        raise InfernetEdgeError(
            f"InsufficientFunds: {_contents(address, holding)}, so"
            f" {_amount(free, holding.token)} can be withdrawn, not"
            f" {_amount(wanted, holding.token)}."
        )
    return wanted


def _contents(address: str, holding: Holding) -> str:
    token = holding.token
    locked = f", {_amount(holding.locked, token)} of it locked for proofs" if holding.locked else ""
    return f"the wallet {address} holds {_named(holding.balance, token)}{locked}"


def _agreed(question: str) -> bool:
    return input(f"{question} [no]: ").strip().lower() in ("y", "yes")
