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
from infernet_edge.chain.contracts.registry import Deployment, has_code, to_bytes
from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.chain.rpc.head_tracker import LATEST_BLOCK, parse_block
from infernet_edge.chain.wallet.payment_wallet import is_valid_wallet
from infernet_edge.config.model import Chain
from infernet_edge.errors import InfernetEdgeError

INACTIVE: Final = 0
REGISTERED: Final = 1
ACTIVE: Final = 2
_USUAL_COOLDOWN = 3600  # seconds; that of the deployed coordinators of SDK 0.1


class NoCoordinator(InfernetEdgeError):
    """At the configured address is no coordinator of SDK 0.1."""


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


class AccountState(Struct, frozen=True):
    """`balance` is in wei. `registration` is that at a coordinator of SDK 0.1, where one is
    configured. `problems` says what keeps the account from delivering, or from being paid.
    """

    balance: int
    registration: Registration | None
    problems: list[str]


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
            f"The account {address} has no coins on chain {rpc.chain_id}, so it cannot pay for any"
            " delivery; send it some"
        )
    if chain.coordinator_address:
        try:
            registration = await ask_registration(rpc, chain.coordinator_address, address)
        except NoCoordinator as error:
            problems.append(str(error))
        if registration is not None and registration.status != ACTIVE:
            problems.append(
                f"The account {address} is not an active node of the coordinator"
                f" {chain.coordinator_address} of SDK 0.1, which takes nothing from it;"
                f" it is {registration}"
            )
    if (wallet := chain.wallet.payment_address) and deployment.serves("1.x"):
        problems += await _wallet_problems(rpc, deployment, wallet)
    return AccountState(balance, registration, problems)


async def _wallet_problems(rpc: RpcClient, deployment: Deployment, wallet: str) -> list[str]:
    try:
        factory = await deployment.wallet_factory()
        if await is_valid_wallet(rpc, factory, wallet):
            return []
    except RpcUnavailable:
        if rpc.problem:
            raise
        return []  # the registry is wrong, which the listener reports
    return [
        f"chain.wallet.payment_address {wallet} was not made by the wallet factory {factory} of"
        " chain.registry_address, so subscriptions that pay are skipped; make one with:"
        " infernet-edge wallet pay create"
    ]


async def ask_registration(rpc: RpcClient, coordinator: str, address: str) -> Registration:
    """The state of an account at a coordinator of SDK 0.1. Raises NoCoordinator, RpcUnavailable."""
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
        chain = f"on chain {rpc.chain_id}"
        if not await has_code(rpc, coordinator):
            raise NoCoordinator(
                f"No contract is at chain.coordinator_address {coordinator} {chain}; correct it,"
                " or set chain.rpc_url to a server of its chain"
            ) from None
        raise NoCoordinator(
            f"The contract at chain.coordinator_address {coordinator} {chain} is not a coordinator"
            f" of SDK 0.1: {info if isinstance(info, RpcError) else error}"
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
