"""Do the JSON-RPC servers answer, for the chain that the node used before, with new blocks?"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from infernet_edge.config.model import Config
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.doctor.offline_database import InUse, open_offline
from infernet_edge.http_client.client import HttpClient

NAME = "rpc"
NEEDS = ("chain.enabled", "chain.rpc_url")

TIMEOUT = 5.0  # seconds
_OLD = 300  # seconds; a newest block that is older is reported: few chains make blocks so seldom


class _Seen(NamedTuple):
    """What a server says of its chain. `age` is that of its newest block, in seconds."""

    chain: int | None
    block: int
    age: float
    syncing: bool


async def check(case: Case) -> list[Finding]:
    """Read the chain's id and its newest block from each server."""
    if not case.config.chain.enabled:
        return [ok("not needed: the chain is off")]
    given = case.config.chain.rpc_url
    urls = list(dict.fromkeys([given] if isinstance(given, str) else filter(None, given)))
    known = await case.blocking(_stored_chain, case.config)
    answers = await asyncio.gather(*map(_ask, urls))
    answering = [answer for answer in answers if isinstance(answer, _Seen)]
    any_answers = bool(answering)
    if known is None and answering:
        known = answering[0].chain  # the node stays with the first that answers
    found = []
    for url, answer in zip(urls, answers, strict=True):
        where = "" if len(urls) == 1 else f"{urlsplit(url).netloc.rpartition('@')[2]}: "
        if isinstance(answer, _Seen):
            found.append(_judge(where, answer, known))
            continue
        finding = warning if any_answers else problem  # the node uses those that answer
        found.append(
            finding(answer, "check that this machine reaches it, or correct chain.rpc_url")
        )
    return found


async def _ask(url: str) -> _Seen | str:
    """What a server says of its chain, or the error."""
    from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable
    from infernet_edge.chain.rpc.head_tracker import LATEST_BLOCK, parse_block

    host = urlsplit(url).netloc.rpartition("@")[2]
    async with HttpClient() as http:
        rpc = RpcClient(http, [url], timeout=TIMEOUT)
        try:
            latest, syncing = await rpc.batch([LATEST_BLOCK, ("eth_syncing", [])])
            if isinstance(latest, RpcError):
                return f"{host} gives no newest block: {latest}"
            block = parse_block(latest)
        except RpcUnavailable as error:
            return str(error)
        except ValueError:
            return f"{host} gives no newest block; it may be synchronizing still"
        finally:
            await rpc.close()
    syncs = syncing is not False and not isinstance(syncing, RpcError)
    return _Seen(rpc.chain_id, block.number, time.time() - block.timestamp, syncs)


def _judge(where: str, server: _Seen, known: int | None) -> Finding:
    chain, number = server.chain, server.block
    if known not in (None, chain):
        return problem(
            f"{where}chain {chain} answers, but the node works with these contracts on chain"
            f" {known}, and does not use another one",
            f"set chain.rpc_url to a server of chain {known}, or storage.path to a new folder",
        )
    text = f"{where}chain {chain} answers, its newest block is {number}"
    if server.syncing:
        return warning(
            f"{text}, but it says that it is synchronizing",
            "wait until it is up to date, or add another server to chain.rpc_url",
        )
    if server.age > _OLD:
        return warning(
            f"{text}, which is {server.age / 60:.0f} minutes old by this machine's clock",
            "check the clock; if it is right, the server or the chain stands still: add another"
            " server to chain.rpc_url. On a chain that makes blocks only for transactions this is"
            " no problem",
        )
    return ok(text)


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
