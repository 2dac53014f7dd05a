"""The node's account on the chain: its coins, its registration (SDK 0.1), where it is paid."""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import Struct

from infernet_edge.chain.contracts.abi import (
    COOLDOWN,
    NODE_INFO,
    UnexpectedReply,
    eth_call,
)
from infernet_edge.chain.contracts.registry import Deployment, WrongContract, check_code, to_bytes
from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.chain.rpc.head_tracker import LATEST_BLOCK, parse_block
from infernet_edge.chain.wallet.payment_wallet import is_valid_wallet
from infernet_edge.config.sections.chain import Chain

INACTIVE: Final = 0
REGISTERED: Final = 1
ACTIVE: Final = 2
_USUAL_COOLDOWN = 3600  # seconds; that of the deployed coordinators of SDK 0.1


class Registration(NamedTuple):
    """The state of the node at a coordinator of SDK 0.1."""

    status: int
    wait: int  # seconds until the node may be activated

    def __str__(self) -> str:
        if self.status == ACTIVE:
            return "active"
        if self.status == INACTIVE:
            return "not registered: infernet-edge wallet register"
        if self.wait > 0:
            return f"registered, can be activated in {_minutes(self.wait)}"
        return "registered, can be activated now: infernet-edge wallet activate"


class AccountProblem(NamedTuple):
    """What keeps the account from delivering, or from being paid, and what to do about it."""

    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}"


class AccountState(Struct, frozen=True):
    """`balance` is in wei. `registration` is that at the coordinator of SDK 0.1, if there is one.

    `valid_wallet` is whether the payment wallet is one of the deployment; None when none is
    configured, or when the deployment cannot be read.
    """

    balance: int
    registration: Registration | None
    valid_wallet: bool | None
    problems: list[AccountProblem]


async def ask_account(
    rpc: RpcClient, chain: Chain, deployment: Deployment, address: str
) -> AccountState:
    """Read all of it, in one to three requests. Raises RpcUnavailable."""
    try:
        balance = quantity(await rpc.call("eth_getBalance", [address, "latest"]))
    except (RpcError, ValueError) as error:
        raise RpcUnavailable(f"The balance of {address} cannot be read: {error}") from None
    problems, registration = [], None
    if not balance:
        problems.append(
            AccountProblem(
                f"The account {address} has no coins on chain {rpc.chain_id}, so it cannot pay for"
                " any delivery",
                "send it some",
            )
        )
    if chain.coordinator_address:
        try:
            registration = await ask_registration(rpc, chain.coordinator_address, address)
        except WrongContract as error:
            problems.append(AccountProblem(error.problem, error.remedy))
        if registration is not None and registration.status != ACTIVE:
            problems.append(
                AccountProblem(
                    f"The account {address} is not an active node of the coordinator"
                    f" {chain.coordinator_address} of SDK 0.1, which takes nothing from it",
                    f"it is {registration}",
                )
            )
    valid = None
    if (wallet := chain.wallet.payment_address) and deployment.serves("1.x"):
        try:
            factory = await deployment.wallet_factory()
            valid = await is_valid_wallet(rpc, factory, wallet) is True
        except WrongContract:
            valid = None  # who reads subscriptions reports it
        if valid is False:
            problems.append(
                AccountProblem(
                    f"chain.wallet.payment_address {wallet} was not made by the wallet factory"
                    f" {factory} of chain.registry_address, so subscriptions that pay are skipped",
                    "make one with: infernet-edge wallet pay create",
                )
            )
    return AccountState(balance, registration, valid, problems)


async def ask_registration(rpc: RpcClient, coordinator: str, address: str) -> Registration:
    """The state of an account at a coordinator of SDK 0.1. Raises WrongContract, RpcUnavailable."""
    info, cooldown_answer, block_answer = await rpc.batch(
        [
            eth_call(coordinator, NODE_INFO.encode(address)),
            eth_call(coordinator, COOLDOWN.encode()),
            LATEST_BLOCK,
        ]
    )
    try:
        status, began = NODE_INFO.decode(to_bytes(info))
    except UnexpectedReply as error:
        await check_code(rpc, "chain.coordinator_address", coordinator)
        raise WrongContract(
            f"The contract at chain.coordinator_address {coordinator} on chain {rpc.chain_id} is"
            f" not a coordinator of SDK 0.1 ({info if isinstance(info, RpcError) else error})"
        ) from None
    try:
        cooldown = int(COOLDOWN.decode(to_bytes(cooldown_answer)))
    except UnexpectedReply:
        cooldown = _USUAL_COOLDOWN
    try:
        now = parse_block(block_answer).timestamp
    except ValueError:
        raise RpcUnavailable("The server gives no newest block") from None
    return Registration(status, max(0, began + cooldown - now))


def _minutes(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 60 else f"{-(-seconds // 60)} minutes"
