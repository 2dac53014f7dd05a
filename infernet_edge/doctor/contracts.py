"""Are the Infernet contracts at the configured addresses?"""

from __future__ import annotations

from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem
from infernet_edge.doctor.rpc import TIMEOUT
from infernet_edge.http_client.client import HttpClient

NAME = "contracts"
NEEDS = (
    *("chain.enabled", "chain.rpc_url"),
    *("chain.registry_address", "chain.coordinator_address"),
)

_REMEDY = (
    "correct chain.registry_address or chain.coordinator_address, or set chain.rpc_url to a server"
    " of their chain"
)


async def check(case: Case) -> Finding:
    """Read the id of the next subscription from each coordinator."""
    chain = case.config.chain
    if not chain.enabled:
        return ok("not needed: the chain is off")
    from infernet_edge.chain.contracts.abi import NEXT_ID, UnexpectedReply, eth_call
    from infernet_edge.chain.contracts.registry import (
        Deployment,
        WrongContract,
        check_code,
        to_bytes,
    )
    from infernet_edge.chain.contracts.subscription import Generation
    from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable

    urls = chain.rpc_url
    generations: tuple[Generation, Generation] = ("1.x", "0.1")
    found, asked = [], "The coordinator"
    async with HttpClient() as http:
        rpc = RpcClient(http, [urls] if isinstance(urls, str) else urls, timeout=TIMEOUT)
        deployment = Deployment(chain, rpc)
        try:
            for generation in generations:
                if deployment.serves(generation):
                    address = await deployment.coordinator(generation)
                    if generation == "0.1":
                        await check_code(rpc, "chain.coordinator_address", address)
                    asked = f"The coordinator of SDK {generation} at {address}"
                    reply = await rpc.call(*eth_call(address, NEXT_ID.encode()))
                    next_id = NEXT_ID.decode(to_bytes(reply))
                    found.append(f"coordinator {generation} at {address}, next id {next_id}")
        except WrongContract as error:
            return problem(error.problem, _REMEDY)
        except (RpcError, UnexpectedReply) as error:
            return problem(f"{asked} does not answer: {error}", _REMEDY)
        except RpcUnavailable as error:
            return not_checked("no JSON-RPC server answers" if rpc.problem else str(error))
        finally:
            await rpc.close()
    return ok("; ".join(found))
