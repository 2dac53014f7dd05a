"""Calls to the Infernet contracts and what they return; nothing here sends them.

The contracts are those of the Infernet SDK 1.x and 0.1; a contract's ABI is described in
https://docs.soliditylang.org/en/latest/abi-spec.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from infernet_edge.chain.contracts.delegation import DelegatedRequest
from infernet_edge.chain.contracts.payload import Payload
from infernet_edge.chain.contracts.subscription import (
    ZERO_ADDRESS,
    Generation,
    Subscription,
    SubscriptionV0,
    SubscriptionV1,
    abi_type,
    abi_types,
)
from infernet_edge.chain.rpc.errors import Call
from infernet_edge.errors import InfernetEdgeError

COIN: Final = ZERO_ADDRESS
"""The address that stands for the chain's coin where a token's is expected."""

# The gas that contracts of others may use in calls: it bounds the time of a server, which all
# calls of the node share.
QUESTION_GAS: Final = 2_000_000  # for one number or address; a token takes some 30,000
INPUTS_GAS: Final = 30_000_000  # for a container's input


class UnexpectedReply(InfernetEdgeError):
    """A contract returned what its interface does not allow; often it is another contract."""


class Function:
    """A function of a contract: its name, and the ABI types of what it takes and returns."""

    def __init__(self, name: str, takes: Iterable[str] = (), returns: Iterable[str] = ()) -> None:
        self.name = name
        self.takes = tuple(takes)
        self.returns = tuple(returns)
        self.signature = f"{name}({','.join(self.takes)})"
        self.selector = keccak(self.signature.encode())[:4]

    def encode(self, *arguments: Any) -> bytes:
        """The data of a call; addresses are text, bytes32 are 32 bytes."""
        return self.selector + encode(self.takes, arguments)

    def decode(self, reply: bytes) -> Any:
        """What a call returned, one value as it is, several as a tuple; addresses checksummed.

        Raises UnexpectedReply.
        """
        try:
            values = decode(self.returns, reply)
        except (DecodingError, UnicodeDecodeError, OverflowError) as error:
            raise UnexpectedReply(
                f"{self.signature}: expected {', '.join(self.returns)}, found {len(reply)} bytes of"
                " another form. Is it the right contract, on the right chain?"
            ) from error
        readable = tuple(
            to_checksum_address(value) if kind == "address" else value
            for kind, value in zip(self.returns, values, strict=True)
        )
        return readable[0] if len(readable) == 1 else readable


def eth_call(
    to: str,
    data: bytes,
    *,
    sender: str = "",
    block: str = "latest",
    gas: int | None = None,
    gas_price: int | None = None,
) -> Call:
    """A JSON-RPC call that executes `data` at `to` and changes nothing.

    `block` is "latest", "pending" or a number in hex; `gas_price` is in wei per gas.
    """
    transaction = {"to": to, "data": "0x" + data.hex()}
    if sender:
        transaction["from"] = sender
    if gas is not None:
        transaction["gas"] = hex(gas)
    if gas_price is not None:
        transaction["gasPrice"] = hex(gas_price)
    return "eth_call", [transaction, block]


_V1: Final = abi_type(SubscriptionV1)
_V0: Final = abi_type(SubscriptionV0)
_ADDRESS: Final = ("address",)
_UINT32: Final = ("uint32",)
_KEY: Final = ("bytes32",)
_AMOUNT: Final = ("uint256",)

# Registry (1.x)
COORDINATOR: Final = Function("COORDINATOR", returns=_ADDRESS)
READER: Final = Function("READER", returns=_ADDRESS)
WALLET_FACTORY: Final = Function("WALLET_FACTORY", returns=_ADDRESS)

# Coordinator, both generations. The keys are made by the functions below.
NEXT_ID: Final = Function("id", returns=_UINT32)
DELEGATE_CREATED_IDS: Final = Function("delegateCreatedIds", _KEY, _UINT32)

NODE_RESPONDED: Final = Function("nodeResponded", _KEY, ("bool",))

# Coordinator, 1.x
GET_SUBSCRIPTION: Final = Function("getSubscription", _UINT32, (_V1,))
_ANSWER = ("uint32", "bytes", "bytes", "bytes")  # interval, input, output, proof
_SIGNED = ("uint8", "bytes32", "bytes32")  # v, r, s
DELIVER_COMPUTE: Final = Function("deliverCompute", ("uint32", *_ANSWER, "address"))
# until when the verifier may judge (0: it has, or nothing was asked), the node's wallet, wei
PROOF_REQUESTS: Final = Function("proofRequests", _KEY, ("uint32", "address", "uint256"))
DELIVER_COMPUTE_DELEGATEE: Final = Function(
    "deliverComputeDelegatee", ("uint32", "uint32", _V1, *_SIGNED, *_ANSWER, "address")
)

# Coordinator, 0.1
SUBSCRIPTIONS_V0: Final = Function("subscriptions", _UINT32, abi_types(SubscriptionV0))
DELIVER_COMPUTE_V0: Final = Function("deliverCompute", ("uint32", *_ANSWER))
DELIVER_COMPUTE_DELEGATEE_V0: Final = Function(
    "deliverComputeDelegatee", ("uint32", "uint32", _V0, *_SIGNED, *_ANSWER)
)
REGISTER_NODE: Final = Function("registerNode", _ADDRESS)
ACTIVATE_NODE: Final = Function("activateNode")
# status (0 inactive, 1 registered, 2 active), and when the cooldown began
NODE_INFO: Final = Function("nodeInfo", _ADDRESS, ("uint8", "uint32"))
COOLDOWN: Final = Function("cooldown", returns=_AMOUNT)  # seconds

# Reader (1.x)
READ_SUBSCRIPTION_BATCH: Final = Function(
    "readSubscriptionBatch", ("uint32", "uint32"), (f"{_V1}[]",)
)
READ_REDUNDANCY_COUNT_BATCH: Final = Function(
    "readRedundancyCountBatch", ("uint32[]", "uint32[]"), ("uint16[]",)
)

# Contracts of subscriptions' owners
GET_CONTAINER_INPUTS: Final = Function(
    "getContainerInputs", ("uint32", "uint32", "uint32", "address"), ("bytes",)
)
GET_SIGNER: Final = Function("getSigner", returns=_ADDRESS)
SIGNER_V0: Final = Function("signer", returns=_ADDRESS)

# Wallets, verifiers and tokens
CREATE_WALLET: Final = Function("createWallet", _ADDRESS, _ADDRESS)
IS_VALID_WALLET: Final = Function("isValidWallet", _ADDRESS, ("bool",))
VERIFIER_SUPPORTS: Final = Function("isSupportedToken", _ADDRESS, ("bool",))
WALLET_OWNER: Final = Function("owner", returns=_ADDRESS)
WALLET_APPROVE: Final = Function("approve", ("address", "address", "uint256"))
WALLET_ALLOWANCE: Final = Function("allowance", ("address", "address"), _AMOUNT)
WALLET_WITHDRAW: Final = Function("withdraw", ("address", "uint256"))
TOKEN_BALANCE: Final = Function("balanceOf", _ADDRESS, _AMOUNT)

SIMULATED_AT: Final[Call] = ("eth_call", [{"data": "0x4260005260206000f3"}, "pending"])
"""The call for the time at which the server simulates with "pending", as one uint256.

What it executes is the code of a contract's creation, which returns TIMESTAMP (Ethereum Yellow
Paper, appendix H). Servers that take no such call answer with an error.
"""


def _topic(signature: str) -> str:
    return "0x" + keccak(signature.encode()).hex()


# First topics of events, as logs have them.
SUBSCRIPTION_CANCELLED: Final = _topic("SubscriptionCancelled(uint32)")
WALLET_CREATED: Final = _topic("WalletCreated(address,address,address)")
WALLET_ESCROW: Final = _topic("Escrow(address,address,uint256,bool)")
WALLET_TRANSFER: Final = _topic("Transfer(address,address,address,uint256)")


def response_key(subscription_id: int, interval: int, node: str) -> bytes:
    """The key under which a coordinator keeps what a node has delivered for an interval."""
    return keccak(encode(["uint32", "uint32", "address"], [subscription_id, interval, node]))


def delegation_key(owner: str, nonce: int) -> bytes:
    """The key of `delegateCreatedIds`: the id of a delegated subscription, 0 while it has none."""
    return keccak(encode(["address", "uint32"], [owner, nonce]))


def balance_question(token: str, account: str) -> Call:
    """The call for the balance of an account; the result is one uint256 for the coin as well."""
    if token == COIN:
        return ("eth_getBalance", [account, "latest"])
    return eth_call(token, TOKEN_BALANCE.encode(account), gas=QUESTION_GAS)


def amount_text(amount: int, token: str) -> str:
    """An amount as texts for the operator show it."""
    return f"{amount} wei" if token == COIN else f"{amount} of token {token}"


def signer_function(generation: Generation) -> Function:
    """The function of an owner's contract that names who signs for it."""
    return GET_SIGNER if generation == "1.x" else SIGNER_V0


def deliver_compute(
    generation: Generation, subscription_id: int, interval: int, payload: Payload, wallet: str
) -> bytes:
    """The data that answers an interval of an on-chain subscription.

    `wallet` is paid for it; coordinators 0.1 take none.
    """
    arguments = (subscription_id, interval, *payload)
    if generation == "0.1":
        return DELIVER_COMPUTE_V0.encode(*arguments)
    return DELIVER_COMPUTE.encode(*arguments, wallet)


def deliver_compute_delegatee(
    request: DelegatedRequest, interval: int, payload: Payload, wallet: str
) -> bytes:
    """The data that answers an interval of a delegated subscription, creating it if need be.

    `wallet` is paid for it; coordinators 0.1 take none.
    """
    signature = request.signature
    arguments = (
        signature.nonce,
        signature.expiry,
        request.subscription.to_abi(),
        signature.v,
        signature.r.to_bytes(32, "big"),
        signature.s.to_bytes(32, "big"),
        interval,
        *payload,
    )
    if request.generation == "0.1":
        return DELIVER_COMPUTE_DELEGATEE_V0.encode(*arguments)
    return DELIVER_COMPUTE_DELEGATEE.encode(*arguments, wallet)


def get_subscription(generation: Generation, subscription_id: int) -> bytes:
    """The data that asks a coordinator for a subscription."""
    function = GET_SUBSCRIPTION if generation == "1.x" else SUBSCRIPTIONS_V0
    return function.encode(subscription_id)


def decode_subscription(generation: Generation, reply: bytes) -> Subscription:
    """The answer to `get_subscription`, all zeros when there is none. Raises UnexpectedReply."""
    if generation == "0.1":
        return SubscriptionV0.from_abi(SUBSCRIPTIONS_V0.decode(reply))
    return decode_subscription_v1(reply)


def decode_subscription_v1(reply: bytes) -> SubscriptionV1:
    """The same for coordinators 1.x."""
    return SubscriptionV1.from_abi(GET_SUBSCRIPTION.decode(reply))


def encode_subscription(subscription: SubscriptionV1) -> bytes:
    """The bytes that `decode_subscription_v1` takes, as a coordinator 1.x gives them."""
    return encode([_V1], [subscription.to_abi()])


def decode_subscriptions(reply: bytes) -> list[SubscriptionV1]:
    """The answer of `readSubscriptionBatch`. Raises UnexpectedReply."""
    return [SubscriptionV1.from_abi(values) for values in READ_SUBSCRIPTION_BATCH.decode(reply)]
