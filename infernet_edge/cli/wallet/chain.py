"""`infernet-edge wallet show`, `register` and `activate`: the account on the chain."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from eth_account.signers.local import LocalAccount

from infernet_edge.chain.contracts.abi import (
    ACTIVATE_NODE,
    REGISTER_NODE,
)
from infernet_edge.chain.rpc.client import RpcClient
from infernet_edge.chain.txm.fees import Conditions, ask_conditions
from infernet_edge.chain.txm.one_off import NotDone, Receipt, send_and_wait
from infernet_edge.chain.wallet.account_state import (
    ACTIVE,
    INACTIVE,
    Registration,
    ask_registration,
)
from infernet_edge.chain.wallet.keystore import load_account
from infernet_edge.cli.configuration import load_or_explain
from infernet_edge.cli.money import coins
from infernet_edge.cli.output import print_progress
from infernet_edge.config.sections.chain import Chain
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.http_client.client import HttpClient

_MAX_WAIT = 300.0  # seconds until a transaction must be mined


def run_action(arguments: argparse.Namespace, answer: dict[str, Any]) -> int:
    """Run the action; returns the exit code. `answer` is what --json prints.

    Raises InfernetEdgeError.
    """
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    chain = loaded.config.chain
    account = load_account(chain.wallet)
    if arguments.action == "show" and not arguments.json:
        print(f"Address      {account.address}")
    code, found = asyncio.run(_run(arguments.action, chain, account, as_json=arguments.json))
    if code == 0:
        answer |= {"address": account.address} | found
    return code


@asynccontextmanager
async def connected(chain: Chain) -> AsyncIterator[RpcClient]:
    """A client of the configured servers. Raises InfernetEdgeError when there are none."""
    urls = [chain.rpc_url] if isinstance(chain.rpc_url, str) else chain.rpc_url
    if not any(urls):
        raise InfernetEdgeError("chain.rpc_url is not set, so the chain cannot be read.")
    async with HttpClient() as http:
        rpc = RpcClient(http, urls)
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


def transaction(receipt: Receipt) -> dict[str, Any]:
    """A transaction that was mined, for --json."""
    return {"hash": receipt.hash, "block": receipt.block, "gas_used": receipt.gas_used}


def _print_sent(hash_: str) -> None:
    print_progress(f"Transaction  {hash_}, waiting until it is mined ...")


async def _run(
    action: str, chain: Chain, account: LocalAccount, *, as_json: bool
) -> tuple[int, dict[str, Any]]:
    async with connected(chain) as rpc:
        conditions = await ask_conditions(rpc, account.address)
        if action == "show":
            return 0, await _show(rpc, chain, account.address, conditions, as_json=as_json)
        if not chain.coordinator_address:
            raise InfernetEdgeError(
                "chain.coordinator_address is not set. Only coordinators of SDK 0.1 need the"
                " registration of nodes; those of SDK 1.x accept every node."
            )
        registration = await ask_registration(rpc, chain.coordinator_address, account.address)
        if action == "register":
            return 0, await _register(rpc, chain, account, registration)
        return await _activate(rpc, chain, account, registration)


async def _show(
    rpc: RpcClient, chain: Chain, address: str, conditions: Conditions, *, as_json: bool
) -> dict[str, Any]:
    registration = None
    if chain.coordinator_address:
        registration = str(await ask_registration(rpc, chain.coordinator_address, address))
    paid_to = chain.wallet.payment_address
    if not as_json:
        print(f"Chain        {rpc.chain_id}, block {conditions.block.number}")
        print(f"Balance      {coins(conditions.balance)} ({conditions.balance} wei)")
        print(f"Transactions {conditions.mined_nonce} mined, {_pending(conditions)} pending")
        print(f"Paid to      {paid_to or 'no wallet (payment_address is not set)'}")
        if registration is not None:
            print(f"SDK 0.1      {registration}")
    if conditions.balance == 0:
        print("The account has no coins: it cannot pay for any delivery.", file=sys.stderr)
    return {
        "chain_id": rpc.chain_id,
        "block": conditions.block.number,
        "balance": str(conditions.balance),
        "mined": conditions.mined_nonce,
        "pending": _pending(conditions),
        "payment_address": paid_to or None,
        "registration": registration,
    }


def _pending(conditions: Conditions) -> int:
    return conditions.next_nonce - conditions.mined_nonce


async def _register(
    rpc: RpcClient, chain: Chain, account: LocalAccount, registration: Registration
) -> dict[str, Any]:
    if registration.status != INACTIVE:
        print(f"{account.address} is {registration}.")
        return {"registration": str(registration), "transaction": None}
    receipt = await send(
        rpc, account, chain.coordinator_address, REGISTER_NODE.encode(account.address)
    )
    print(
        f"{account.address} is registered. It may deliver when it is activated, which is possible"
        " an hour from now: infernet-edge wallet activate"
    )
    return {"registration": "registered", "transaction": transaction(receipt)}


async def _activate(
    rpc: RpcClient, chain: Chain, account: LocalAccount, registration: Registration
) -> tuple[int, dict[str, Any]]:
    if registration.status == ACTIVE:
        print(f"{account.address} is already active.")
        return 0, {"registration": str(registration), "transaction": None}
    if registration.status == INACTIVE or registration.wait > 0:
        print(f"{account.address} is {registration}.", file=sys.stderr)
        return 1, {}
    receipt = await send(rpc, account, chain.coordinator_address, ACTIVATE_NODE.encode())
    print(f"{account.address} is active: it may deliver.")
    return 0, {"registration": "active", "transaction": transaction(receipt)}
