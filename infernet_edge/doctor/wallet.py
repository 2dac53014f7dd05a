"""Can the node's account pay for deliveries, may it deliver, and can it be paid?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from infernet_edge.control.client import NotRunning
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem
from infernet_edge.doctor.rpc import TIMEOUT
from infernet_edge.errors import StartupError
from infernet_edge.http_client.client import HttpClient

if TYPE_CHECKING:
    from infernet_edge.config.sections.chain import Wallet

NAME = "wallet"
NEEDS = (
    *("chain.enabled", "chain.rpc_url", "chain.wallet"),
    *("chain.registry_address", "chain.coordinator_address"),
)


async def check(case: Case) -> list[Finding]:
    """Read the account's balance, its registration (SDK 0.1), and its payment wallet."""
    chain = case.config.chain
    if not chain.enabled:
        return [ok("not needed: the chain is off")]
    from infernet_edge.chain.contracts.registry import Deployment
    from infernet_edge.chain.rpc.client import RpcClient, RpcUnavailable
    from infernet_edge.chain.wallet.account_state import ask_account

    try:
        address = await _running_address(case) or await case.blocking(_address, chain.wallet)
    except StartupError as error:
        return [not_checked(str(error), "run the doctor as the user of the node, or with sudo")]
    urls = chain.rpc_url
    async with HttpClient() as http:
        rpc = RpcClient(http, [urls] if isinstance(urls, str) else urls, timeout=TIMEOUT)
        try:
            state = await ask_account(rpc, chain, Deployment(chain, rpc), address)
        except RpcUnavailable as error:
            return [not_checked("no JSON-RPC server answers" if rpc.problem else str(error))]
        finally:
            await rpc.close()
    if state.problems:
        return [problem(each.text, each.remedy) for each in state.problems]
    text = f"{address} has {state.balance} wei"
    if state.valid_wallet:
        text += f" and is paid in {chain.wallet.payment_address}"
    elif not chain.wallet.payment_address:
        text += "; without chain.wallet.payment_address, subscriptions that pay are skipped"
    return [ok(text)]


async def _running_address(case: Case) -> str:
    """The account of the running node, "" when none runs or this user may not ask it."""
    try:
        chain = (await case.status()).get("chain")
    except NotRunning:
        return ""
    return str(chain["address"]) if chain else ""


def _address(wallet: Wallet) -> str:
    """The configured account's address, without opening a keystore. Raises StartupError."""
    from infernet_edge.chain.wallet.keystore import KeyProblem, keystore_address, load_account

    if not wallet.keystore:
        return str(load_account(wallet).address)
    address = keystore_address(Path(wallet.keystore).expanduser())
    if address is None:
        raise KeyProblem(f"The keystore {wallet.keystore} does not name its address.")
    return address
