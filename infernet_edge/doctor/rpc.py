"""Does the chain's JSON-RPC server answer, and is it the chain that the node knows?"""

from __future__ import annotations

from infernet_edge.config.tree import Config
from infernet_edge.containers.client import make_session
from infernet_edge.doctor.finding import Finding, ok, problem

NAME = "rpc"
_TIMEOUT = 5.0  # seconds


async def check(config: Config) -> Finding:
    """Ask for the chain's id and its newest block."""
    if not config.chain.enabled:
        return ok("not needed: the chain is off")
    from infernet_edge.chain.rpc import Rpc, RpcError, RpcUnavailable, quantity

    urls = config.chain.rpc_url
    async with make_session() as session:
        rpc = Rpc(session, [urls] if isinstance(urls, str) else urls, timeout=_TIMEOUT)
        try:
            number = quantity(await rpc.call("eth_blockNumber", []))
        except (RpcUnavailable, RpcError, ValueError) as error:
            return problem(
                f"no JSON-RPC server answers: {error}",
                "check chain.rpc_url, and whether this machine reaches the network",
            )
        finally:
            await rpc.close()
    return ok(f"chain {rpc.chain_id} answers, its newest block is {number}")
