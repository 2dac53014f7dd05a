"""`infernet-edge wallet show`, `register` and `activate`: the account on the chain."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
from eth_account.signers.local import LocalAccount

from infernet_edge.chain.contracts.abi import (
    ACTIVATE_NODE,
    COOLDOWN,
    NODE_INFO,
    REGISTER_NODE,
    UnexpectedReply,
    eth_call,
)
from infernet_edge.chain.contracts.registry import to_bytes
from infernet_edge.chain.rpc.client import RpcClient, RpcError
from infernet_edge.chain.txm.fees import Conditions, ask_conditions
from infernet_edge.chain.txm.one_off import NotDone, Receipt, send_and_wait
from infernet_edge.chain.wallet.keystore import load_account
from infernet_edge.cli.configuration import load_or_explain
from infernet_edge.cli.money import coins
from infernet_edge.cli.output import print_progress
from infernet_edge.config.model import Chain
from infernet_edge.errors import InfernetEdgeError

_INACTIVE, _REGISTERED, _ACTIVE = range(3)
_USUAL_COOLDOWN = 3600  # seconds; that of the deployed coordinators of SDK 0.1
_MAX_WAIT = 300.0  # seconds until a transaction must be mined


class Registration(NamedTuple):
    """The state of the node at a coordinator of SDK 0.1."""

    status: int
    wait: int  # seconds until the node may be activated

    def __str__(self) -> str:
        if self.status == _ACTIVE:
            return "active"
        if self.status == _INACTIVE:
            return "not registered: infernet-edge wallet register"
        if self.wait > 0:
            return f"registered, can be activated in {_minutes(self.wait)}"
        return "registered, can be activated now: infernet-edge wallet activate"


def run_action(arguments: argparse.Namespace) -> int:
    """Run the action; returns the exit code. Raises InfernetEdgeError."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    chain = loaded.config.chain
    account = load_account(chain.wallet)
    if arguments.action == "show":
        print(f"Address      {account.address}")
    return asyncio.run(_run(arguments.action, chain, account))


@asynccontextmanager
async def connected(chain: Chain) -> AsyncIterator[RpcClient]:
    """A client of the configured servers. Raises InfernetEdgeError when there are none."""
    urls = [chain.rpc_url] if isinstance(chain.rpc_url, str) else chain.rpc_url
    if not any(urls):
        raise InfernetEdgeError("chain.rpc_url is not set, so the chain cannot be read.")
    async with aiohttp.ClientSession() as session:
        rpc = RpcClient(session, urls)
        try:
            yield rpc
        finally:
            await rpc.close()


async def send(rpc: RpcClient, account: LocalAccount, to: str, data: bytes) -> Receipt:
    """Call a contract in a transaction, wait until it is mined, and print its progress.

    Raises NotDone when it was reverted, NotMined, RpcUnavailable.
    """
    receipt = await send_and_wait(rpc, account, to, data, timeout=_MAX_WAIT, on_sent=_print_sent)
    print(f"Mined        in block {receipt.block}, gas {receipt.gas_used}")
    if not receipt.succeeded:
        raise NotDone(
            f"The contract {to} reverted the transaction: its state had changed meanwhile."
            " Retry to see the reason."
        )
    return receipt


def _print_sent(hash_: str) -> None:
    print_progress(f"Transaction  {hash_}, waiting until it is mined ...")


async def _run(action: str, chain: Chain, account: LocalAccount) -> int:
    async with connected(chain) as rpc:
        conditions = await ask_conditions(rpc, account.address)
        if action == "show":
            return await _show(rpc, chain, account.address, conditions)
        if not chain.coordinator_address:
            raise InfernetEdgeError(
                "chain.coordinator_address is not set. Only coordinators of SDK 0.1 need the"
                " registration of nodes; those of SDK 1.x accept every node."
            )
        registration = await _ask_registration(rpc, chain, account.address, conditions)
        if action == "register":
            return await _register(rpc, chain, account, registration)
        return await _activate(rpc, chain, account, registration)


async def _show(rpc: RpcClient, chain: Chain, address: str, conditions: Conditions) -> int:
    print(f"Chain        {rpc.chain_id}, block {conditions.block.number}")
    print(f"Balance      {coins(conditions.balance)} ({conditions.balance} wei)")
    print(f"Transactions {conditions.mined_nonce} mined, {_pending(conditions)} pending")
    print(
        f"Paid to      {chain.wallet.payment_address or 'no wallet (payment_address is not set)'}"
    )
    if chain.coordinator_address:
        registration = await _ask_registration(rpc, chain, address, conditions)
        print(f"SDK 0.1      {registration}")
    if conditions.balance == 0:
        print("The account has no coins: it cannot pay for any delivery.", file=sys.stderr)
    return 0


def _pending(conditions: Conditions) -> int:
    return conditions.next_nonce - conditions.mined_nonce


async def _ask_registration(
    rpc: RpcClient, chain: Chain, address: str, conditions: Conditions
) -> Registration:
    to = chain.coordinator_address
    info, cooldown_answer = await rpc.batch(
        [eth_call(to, NODE_INFO.encode(address)), eth_call(to, COOLDOWN.encode())]
    )
    try:
        status, began = NODE_INFO.decode(to_bytes(info))
    except UnexpectedReply as error:
        reason = info if isinstance(info, RpcError) else error
        raise InfernetEdgeError(
            f"chain.coordinator_address {to} is not a coordinator of SDK 0.1 on chain"
            f" {rpc.chain_id}: {reason}"
        ) from None
    try:
        cooldown = int(COOLDOWN.decode(to_bytes(cooldown_answer)))
    except UnexpectedReply:
        cooldown = _USUAL_COOLDOWN
    return Registration(status, max(0, began + cooldown - conditions.block.timestamp))


async def _register(
    rpc: RpcClient, chain: Chain, account: LocalAccount, registration: Registration
) -> int:
    if registration.status != _INACTIVE:
        print(f"{account.address} is {registration}.")
        return 0
    await send(rpc, account, chain.coordinator_address, REGISTER_NODE.encode(account.address))
    print(
        f"{account.address} is registered. It may deliver when it is activated, which is possible"
        " an hour from now: infernet-edge wallet activate"
    )
    return 0


async def _activate(
    rpc: RpcClient, chain: Chain, account: LocalAccount, registration: Registration
) -> int:
    if registration.status == _ACTIVE:
        print(f"{account.address} is already active.")
        return 0
    if registration.status == _INACTIVE or registration.wait > 0:
        print(f"{account.address} is {registration}.", file=sys.stderr)
        return 1
    await send(rpc, account, chain.coordinator_address, ACTIVATE_NODE.encode())
    print(f"{account.address} is active: it may deliver.")
    return 0


def _minutes(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 60 else f"{-(-seconds // 60)} minutes"
