"""Checks that a delegated request is signed by the account that its owner's contract names."""

from __future__ import annotations

import asyncio

from infernet_edge.chain.contracts.abi import (
    QUESTION_GAS,
    UnexpectedReply,
    eth_call,
    signer_function,
)
from infernet_edge.chain.contracts.delegation import DelegatedRequest, recover_signer
from infernet_edge.chain.contracts.registry import Deployment, ask
from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable
from infernet_edge.errors import Refused


class SignerCheck:
    """Calls the owner's contract for the signer, and compares it with that of the signature."""

    def __init__(self, rpc: RpcClient, deployment: Deployment) -> None:
        self._rpc = rpc
        self._deployment = deployment

    async def verify(self, request: DelegatedRequest) -> None:
        """Raise Refused (405) when another account signed, BadRequest when no key can have.

        Raises RpcUnavailable when the chain cannot be read now.
        """
        owner = request.subscription.owner
        coordinator = await self._deployment.coordinator(request.generation)
        function = signer_function(request.generation)
        question = eth_call(owner, function.encode(), gas=QUESTION_GAS)
        try:
            signer: str = function.decode(await ask(self._rpc, question))
        except (RpcError, UnexpectedReply) as error:
            if isinstance(error, RpcError) and error.is_aborted:
                raise RpcUnavailable(f"The contract {owner} does not answer: {error}") from None
            raise Refused(
                "Signer mismatch",
                {"owner": owner, "reason": f"the owner has no {function.name}() that answers"},
            ) from None
        chain_id = self._rpc.chain_id
        if chain_id is None:
            raise RpcUnavailable("It is not known yet which chain this is")
        found = await asyncio.to_thread(recover_signer, request, chain_id, coordinator)
        if found.lower() != signer.lower():
            raise Refused("Signer mismatch", {"owner": owner, "expected": signer, "found": found})
