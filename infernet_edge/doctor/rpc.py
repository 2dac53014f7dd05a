"""Does the chain's JSON-RPC server answer, and is it the chain that the node knows?"""

from __future__ import annotations

import sqlite3

from infernet_edge.config.tree import Config
from infernet_edge.containers.client import make_session
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem
from infernet_edge.doctor.resting import InUse, open_resting

NAME = "rpc"
_TIMEOUT = 5.0  # seconds


async def check(case: Case) -> Finding:
    """Ask for the chain's id and its newest block."""
    if not case.config.chain.enabled:
        return ok("not needed: the chain is off")
    from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable, quantity

    urls = case.config.chain.rpc_url
    async with make_session() as session:
        rpc = RpcClient(session, [urls] if isinstance(urls, str) else urls, timeout=_TIMEOUT)
        try:
            number = quantity(await rpc.call("eth_blockNumber", []))
        except (RpcUnavailable, RpcError, ValueError) as error:
            return problem(
                str(error),
                "check chain.rpc_url, and whether this machine reaches the network",
            )
        finally:
            await rpc.close()
    known = await case.blocking(_known_chain, case.config)
    if known not in (None, rpc.chain_id):
        return problem(
            f"chain {rpc.chain_id} answers, but the node has worked with these contracts on chain"
            f" {known}, and will not use another",
            f"set chain.rpc_url to a server of chain {known}, or storage.path to a new folder",
        )
    return ok(f"chain {rpc.chain_id} answers, its newest block is {number}")


def _known_chain(config: Config) -> int | None:
    """The chain that the node remembers; None while one runs, which looks after that itself."""
    from infernet_edge.chain.txm.store import contracts_of, read_chain_id

    try:
        with open_resting(config) as connection:
            if connection is None:
                return None
            return read_chain_id(connection, contracts_of(config.chain))
    except (InUse, OSError, sqlite3.Error):  # what is wrong with the file, the database check says
        return None
