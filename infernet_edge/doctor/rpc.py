"""Do the JSON-RPC servers answer, and for the chain that the node used before?"""

from __future__ import annotations

import asyncio
import sqlite3
from urllib.parse import urlsplit

from infernet_edge.config.model import Config
from infernet_edge.containers.client import make_session
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.doctor.offline_database import InUse, open_offline

NAME = "rpc"
NEEDS = ("chain.enabled", "chain.rpc_url")

_TIMEOUT = 5.0  # seconds


async def check(case: Case) -> list[Finding]:
    """Read the chain's id and its newest block from each server."""
    if not case.config.chain.enabled:
        return [ok("not needed: the chain is off")]
    given = case.config.chain.rpc_url
    urls = list(dict.fromkeys([given] if isinstance(given, str) else filter(None, given)))
    known = await case.blocking(_stored_chain, case.config)
    answers = await asyncio.gather(*map(_ask, urls))
    any_answers = any(isinstance(answer, tuple) for answer in answers)
    found = []
    for url, answer in zip(urls, answers, strict=True):
        where = "" if len(urls) == 1 else f"{urlsplit(url).hostname}: "
        if isinstance(answer, tuple):
            found.append(_judge(where, *answer, known))
            continue
        finding = warning if any_answers else problem  # the node uses those that answer
        found.append(
            finding(answer, "check that this machine reaches it, or correct chain.rpc_url")
        )
    return found


async def _ask(url: str) -> tuple[int | None, int] | str:
    """The chain id and the number of its newest block, or the error of the server."""
    from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable, quantity

    async with make_session() as session:
        rpc = RpcClient(session, [url], timeout=_TIMEOUT)
        try:
            number = quantity(await rpc.call("eth_blockNumber", []))
        except (RpcUnavailable, RpcError, ValueError) as error:
            return str(error)
        finally:
            await rpc.close()
    return rpc.chain_id, number


def _judge(where: str, chain: int | None, number: int, known: int | None) -> Finding:
    if known not in (None, chain):
        return problem(
            f"{where}chain {chain} answers, but the node has worked with these contracts on chain"
            f" {known}, and does not use another one",
            f"set chain.rpc_url to a server of chain {known}, or storage.path to a new folder",
        )
    return ok(f"{where}chain {chain} answers, its newest block is {number}")


def _stored_chain(config: Config) -> int | None:
    """The stored chain id; None while a node runs, which checks it itself."""
    from infernet_edge.chain.txm.store import contracts_of, read_chain_id

    try:
        with open_offline(config) as connection:
            if connection is None:
                return None
            return read_chain_id(connection, contracts_of(config.chain))
    except (InUse, OSError, sqlite3.Error):  # the check database reports errors of the file
        return None
