"""Where the contracts are: the coordinators, as the registry or the configuration says."""

from __future__ import annotations

from typing import ClassVar

from infernet_edge.chain.contracts.abi import (
    COORDINATOR,
    READER,
    WALLET_FACTORY,
    Function,
    UnexpectedReply,
    eth_call,
)
from infernet_edge.chain.contracts.subscription import ZERO_ADDRESS, Generation
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable
from infernet_edge.config.sections.chain import Chain
from infernet_edge.errors import Refused


class WrongContract(RpcUnavailable):
    """A configured address does not lead to the contracts of the chain that the server serves.

    A retry may succeed: a server may lag, and a configured chain may not have begun.
    """

    remedy: ClassVar[str] = "correct it, or set chain.rpc_url to a server of its chain"

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; {self.remedy}")
        self.problem = problem


async def check_code(rpc: RpcClient, key: str, address: str) -> None:
    """Raise WrongContract when no contract is at the address that a key of the configuration has.

    Raises RpcUnavailable. Nothing is raised when the server does not say.
    """
    try:
        code = to_bytes(await rpc.call("eth_getCode", [address, "latest"]))
    except (RpcError, UnexpectedReply):
        return
    if not code:
        raise WrongContract(f"No contract is at {key} {address} on chain {rpc.chain_id}")


class Deployment:
    """Addresses of the Infernet contracts on one chain; each is read once."""

    def __init__(self, config: Chain, rpc: RpcClient) -> None:
        self._rpc = rpc
        self._registry = config.registry_address
        self._coordinators: dict[Generation, str] = {}
        self._others: dict[Function, str] = {}
        if config.coordinator_address:
            self._coordinators["0.1"] = config.coordinator_address

    def serves(self, generation: Generation) -> bool:
        """Whether the configuration names contracts of this generation."""
        return generation in self._coordinators or (generation == "1.x" and bool(self._registry))

    def anchor(self, generation: Generation) -> str:
        """The configured address that leads to the coordinator; it names the deployment."""
        return self._registry if generation == "1.x" else self._coordinators["0.1"]

    def known(self) -> dict[Generation, str]:
        """The addresses of the coordinators, as far as they are known now."""
        return dict(self._coordinators)

    async def coordinator(self, generation: Generation) -> str:
        """The address of the coordinator. Raises RpcUnavailable while it cannot be read.

        Raises Refused when the configuration names none: a registry knows only those of SDK 1.x.
        """
        if not self.serves(generation):
            raise Refused("Chain not enabled", {"generation": generation})
        known = self._coordinators.get(generation)
        if known is not None:
            return known
        found = self._coordinators[generation] = await self._look_up(COORDINATOR)
        return found

    async def reader(self) -> str:
        """The address of the contract that reads many subscriptions at once (1.x).

        Raises RpcUnavailable while it cannot be read.
        """
        return await self._other(READER)

    async def wallet_factory(self) -> str:
        """The address of the contract that creates payment wallets (1.x).

        Raises RpcUnavailable while it cannot be read.
        """
        return await self._other(WALLET_FACTORY)

    async def _other(self, function: Function) -> str:
        if function not in self._others:
            self._others[function] = await self._look_up(function)
        return self._others[function]

    async def _look_up(self, function: Function) -> str:
        """The address of a contract, from the registry."""
        try:
            reply = await ask(self._rpc, eth_call(self._registry, function.encode()))
            found: str = function.decode(reply)
        except (RpcError, UnexpectedReply) as error:
            reason = str(error)
        else:
            if found != ZERO_ADDRESS:
                return found
            reason = f"{function.name}() is the zero address"
        await check_code(self._rpc, "chain.registry_address", self._registry)
        raise WrongContract(
            f"The contract at chain.registry_address {self._registry} on chain"
            f" {self._rpc.chain_id} is no Infernet registry ({reason})"
        )


async def ask(rpc: RpcClient, question: Call) -> bytes:
    """What a contract returns.

    Raises RpcError when it reverts, RpcUnavailable on a transient error of the server.
    """
    try:
        return to_bytes(await rpc.call(*question))
    except RpcError as error:
        if error.is_transient:
            raise RpcUnavailable(f"The server has a problem: {error}") from None
        raise
    except UnexpectedReply as error:
        raise RpcUnavailable(str(error)) from None


def to_bytes(reply: object) -> bytes:
    """The bytes of a JSON-RPC answer in hex. Raises UnexpectedReply."""
    if isinstance(reply, str):
        try:
            return bytes.fromhex(reply.removeprefix("0x"))
        except ValueError:
            pass
    raise UnexpectedReply("The server answered a call with something that is not hex")
