"""What the coordinator contract would say: simulations before and after the computing.

A delivery is simulated with an empty output first, so that nothing is computed for a subscription
that refuses this node anyway, and with the real one before it is sent.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import msgspec

from infernet_edge.chain.contracts.abi import (
    DELEGATE_CREATED_IDS,
    GET_CONTAINER_INPUTS,
    INPUTS_GAS,
    UnexpectedReply,
    decode_subscription,
    delegation_key,
    deliver_compute,
    deliver_compute_delegatee,
    eth_call,
    get_subscription,
)
from infernet_edge.chain.contracts.delegation import DelegatedRequest
from infernet_edge.chain.contracts.payload import EMPTY, Payload
from infernet_edge.chain.contracts.registry import Deployment, ask
from infernet_edge.chain.contracts.reverts import ANSWERED, Revert, revert_reason
from infernet_edge.chain.contracts.subscription import (
    ZERO_ADDRESS,
    Payment,
    Subscription,
    SubscriptionV0,
    SubscriptionV1,
)
from infernet_edge.chain.delivery.delegated_data import DelegatedData
from infernet_edge.chain.delivery.errors import Done, Ended, Never, NotNow, Unpaid
from infernet_edge.chain.delivery.gas import estimate_gas
from infernet_edge.chain.delivery.payment_check import Payments
from infernet_edge.chain.delivery.record import OpenDelivery
from infernet_edge.chain.guard.signer import Verifier
from infernet_edge.chain.rpc.client import ReplyTooLarge, Rpc, RpcError
from infernet_edge.chain.rpc.head_tracker import Head
from infernet_edge.config.tree import Chain
from infernet_edge.containers.client import OFF_CHAIN, ON_CHAIN, StoredInput
from infernet_edge.errors import ApiError
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_GAS_MARGIN = 1.2  # of the estimate: storage may have changed until the delivery is mined
_EDGE = 30  # seconds around its beginning in which an interval may not have begun for the RPC
_ENDS = ("SubscriptionNotActive", "SubscriptionNotFound", "SubscriptionCompleted")
# What a coordinator says before it looks at wallets and proofs.
_UNCLAIMED = (*ANSWERED, *_ENDS, "IntervalMismatch")
# What somebody's money mends, or a verdict that frees what is locked.
_UNPAID = ("InsufficientFunds", "InsufficientAllowance", "InsufficientBalance", "TransferFailed")


class Task(NamedTuple):
    """What the containers are given; source and destination are those of their interface."""

    data: bytes | StoredInput
    source: int
    destination: int
    requires_proof: bool


class Order(NamedTuple):
    """A transaction to send; `max_gas_price` in wei per gas, None: no limit of its own."""

    to: str
    data: bytes
    gas: int
    max_gas_price: int | None


class Coordinator:
    """Speaks with the coordinators of both generations about deliveries of this node."""

    def __init__(
        self,
        config: Chain,
        rpc: Rpc,
        head: Head,
        deployment: Deployment,
        verifier: Verifier,
        data: DelegatedData,
        node: str,
        most_input: int,
    ) -> None:
        """`most_input`: the bytes of what a container may be given, as JSON."""
        self._config = config
        self._rpc = rpc
        self._head = head
        self._deployment = deployment
        self._verifier = verifier
        self._data_store = data
        self._node = node
        self._most_input = most_input
        self._wallet = config.wallet.payment_address or ZERO_ADDRESS
        self._payments = Payments(rpc, deployment, self._wallet, node)

    def due_time(self, delivery: OpenDelivery) -> int:
        """When the interval of a delivery begins, in chain seconds."""
        return delivery.subscription.due_time(delivery.interval)

    def locks(self, delivery: OpenDelivery) -> Payment | None:
        """What the coordinator locks in the node's wallet for the delivery's proof, if anything."""
        subscription = delivery.subscription
        paid = subscription.payment.amount > 0
        return subscription.payment if subscription.requires_proof and paid else None

    def check_time(self, delivery: OpenDelivery) -> None:
        """Raise Never when the interval of a delivery is over."""
        if self._head.latest is None:  # this machine's date may be wrong
            return
        end = delivery.subscription.end_time(delivery.interval)
        if end is not None and self._head.now() >= end:
            before = f"; before that: {delivery.reason}" if delivery.reason else ""
            raise Never(f"The interval was over before it could be answered{before}")

    async def admit(self, delivery: OpenDelivery) -> None:
        """Check that it makes sense to compute; marks the delivery as verified.

        Raises Done, Never or NotNow, and RpcUnavailable.
        """
        self._choose_interval(delivery)
        if not delivery.verified:
            try:
                await self._verifier.verify(_signed(delivery))
            except ApiError as error:
                raise Never(f"{error.message} {error.params or ''}".strip()) from None
            delivery.verified = True
            self._choose_interval(delivery)  # that may have taken long
        subscription = delivery.subscription
        revert = await self._simulate(delivery, EMPTY)
        if revert is None or revert.name not in _UNCLAIMED:
            if isinstance(subscription, SubscriptionV1) and subscription.payment_amount:
                await self._payments.check(subscription)
            if subscription.requires_proof:  # of which verifiers say nothing good when it is empty
                return
        # A consumer that decodes its input reverts on an empty one: that says nothing.
        if revert is None or not revert.protocol:
            return
        if not revert.is_allowed(self._config.wallet.allowed_sim_errors):
            await self._refuse(revert, delivery)

    def _choose_interval(self, delivery: OpenDelivery) -> None:
        """Take the present one where it may be chosen. Raises Never when its time is over."""
        if delivery.subscription_id is None:
            # Since it was accepted, others may have begun, or the chain was not there to ask.
            subscription = delivery.subscription
            now = subscription.interval_at(self._head.now())
            delivery.interval = max(1, min(subscription.frequency, now))
        self.check_time(delivery)

    async def task(self, delivery: OpenDelivery) -> Task:
        """What to compute. The first interval comes with its data, later ones ask their owner."""
        subscription = delivery.subscription
        proof = subscription.requires_proof
        if delivery.subscription_id is None:
            data: bytes | StoredInput | None = bytes(_signed(delivery).data)
            if not data:  # else an earlier version stored it with the request
                data = await self._data_store.find(delivery.request_key)
            if not data:
                raise Never("The input of the request is gone")
            return Task(data, OFF_CHAIN, ON_CHAIN, proof)
        data = await self._inputs(delivery, subscription)
        encoded = msgspec.json.encode(data.hex())
        if len(encoded) > self._most_input:
            raise Never(
                f"The subscription's input has {len(encoded)} bytes as JSON, and"
                f" server.max_body_bytes allows {self._most_input}"
            )
        return Task(encoded, ON_CHAIN, ON_CHAIN, proof)

    async def _inputs(self, delivery: OpenDelivery, subscription: Subscription) -> bytes:
        if isinstance(subscription, SubscriptionV0) and subscription.inputs:
            return subscription.inputs
        asked = GET_CONTAINER_INPUTS.encode(
            delivery.subscription_id, delivery.interval, self._head.now(), self._node
        )
        question = eth_call(subscription.owner, asked, sender=self._node, gas=INPUTS_GAS)
        try:
            reply = await ask(self._rpc, question)
            return bytes(GET_CONTAINER_INPUTS.decode(reply))
        except ReplyTooLarge as error:
            raise Never(f"The subscription's input is {error}") from None
        except (RpcError, UnexpectedReply) as error:
            if isinstance(error, RpcError) and error.is_aborted:
                raise NotNow(f"The owner's contract gives no input in time: {error}") from None
            return b""  # an owner that gives no inputs, as the reference node takes it

    async def prepare(self, delivery: OpenDelivery, payload: Payload) -> Order:
        """Simulate the real output and find out the gas. Raises Done, Never, NotNow."""
        subscription = delivery.subscription
        most = self._most_gas(subscription)
        data = self._data(delivery, payload)
        to = await self._deployment.coordinator(subscription.generation)
        price = None
        if isinstance(subscription, SubscriptionV0):
            price = subscription.max_gas_price
        gas = hex(self._config.wallet.max_gas_limit)  # the contract itself knows its own limit
        transaction = {"from": self._node, "to": to, "data": "0x" + data.hex(), "gas": gas}
        try:
            estimate = await estimate_gas(self._rpc, transaction)
        except RpcError as error:
            revert = revert_reason(error.data)
            if not revert.is_allowed(self._config.wallet.allowed_sim_errors):
                await self._refuse(revert, delivery)
            log_event(logger, "delivery.error_allowed", number=delivery.number, reason=str(revert))
            return Order(to, data, most, price)
        if estimate > most:
            raise Never(f"It takes {estimate} gas, the limit is {most}")
        return Order(to, data, min(most, int(estimate * _GAS_MARGIN)), price)

    def _most_gas(self, subscription: Subscription) -> int:
        most = self._config.wallet.max_gas_limit
        if isinstance(subscription, SubscriptionV0):
            most = min(most, subscription.max_gas_limit)
        return most

    async def subscription_id(self, delivery: OpenDelivery) -> int | None:
        """The on-chain id of a delegated subscription, once a delivery has made it."""
        if delivery.subscription_id is not None:
            return delivery.subscription_id
        to = await self._deployment.coordinator(delivery.subscription.generation)
        key = delegation_key(delivery.owner, delivery.nonce)
        try:
            reply = await ask(self._rpc, eth_call(to, DELEGATE_CREATED_IDS.encode(key)))
            return int(DELEGATE_CREATED_IDS.decode(reply)) or None
        except (RpcError, UnexpectedReply) as error:
            raise NotNow(f"The subscription's id cannot be asked for: {error}") from None

    def may_be_made(self, delivery: OpenDelivery, interval: int) -> bool:
        """Whether a subscription that is not on the chain yet can be made with this interval."""
        begins = delivery.subscription.due_time(interval)
        return delivery.verified and _signed(delivery).signature.expiry > begins

    def next_interval(self, delivery: OpenDelivery) -> int | None:
        """The interval to answer after this one; None when there is none.

        Intervals that passed meanwhile are not made up for.
        """
        subscription = delivery.subscription
        if not subscription.period:
            return None
        following = max(delivery.interval + 1, subscription.interval_at(self._head.now()))
        return following if following <= subscription.frequency else None

    async def _simulate(self, delivery: OpenDelivery, payload: Payload) -> Revert | None:
        """Why the delivery would revert, None if it would not."""
        data = self._data(delivery, payload)
        to = await self._deployment.coordinator(delivery.subscription.generation)
        # "pending" sees the time of the next block: "latest" is late at the edge of an interval.
        gas = self._config.wallet.max_gas_limit
        call = eth_call(to, data, sender=self._node, block="pending", gas=gas)
        try:
            await ask(self._rpc, call)
        except RpcError as error:
            if not error.is_revert:
                raise NotNow(f"The delivery cannot be simulated: {error}") from None
            return revert_reason(error.data)
        return None

    def _data(self, delivery: OpenDelivery, payload: Payload) -> bytes:
        if delivery.subscription_id is None:
            return deliver_compute_delegatee(
                _signed(delivery), delivery.interval, payload, self._wallet
            )
        return deliver_compute(
            delivery.subscription.generation,
            delivery.subscription_id,
            delivery.interval,
            payload,
            self._wallet,
        )

    async def _refuse(self, revert: Revert, delivery: OpenDelivery) -> None:
        """Raise what a revert means for a delivery."""
        if revert.name in ANSWERED:
            raise Done(str(revert))
        if revert.name == "SubscriptionNotActive":
            if await self._is_cancelled(delivery):
                raise Ended("The subscription's owner has cancelled it")
            # A cancellation that is not mined yet may also come to nothing.
            if delivery.subscription_id is not None or self._begins(delivery, 1):
                raise NotNow(str(revert))
        if revert.name == "IntervalMismatch" and self._begins(delivery, delivery.interval):
            raise NotNow(str(revert))
        if revert.name == "IntervalMismatch" and self._may_choose(delivery):
            raise NotNow(str(revert))  # the newest block is not seen yet, after the chain was away
        if revert.name == "SubscriptionNotFound" and delivery.subscription_id is not None:
            raise NotNow(str(revert))  # of a server that lags, or after a reorganisation
        if revert.name in _ENDS:
            raise Ended(str(revert))
        if revert.name in _UNPAID:
            raise (Unpaid if delivery.state == "accepted" else NotNow)(str(revert))
        if revert.protocol:
            raise Never(str(revert))
        raise NotNow(f"The consumer's contract reverts: {revert}")

    async def _is_cancelled(self, delivery: OpenDelivery) -> bool:
        """Whether a subscription that is on the chain is over, rather than not begun."""
        if delivery.subscription_id is None:
            return False
        generation = delivery.subscription.generation
        to = await self._deployment.coordinator(generation)
        question = eth_call(to, get_subscription(generation, delivery.subscription_id))
        try:
            return decode_subscription(generation, await ask(self._rpc, question)).is_cancelled
        except (RpcError, UnexpectedReply) as error:
            raise NotNow(f"The subscription cannot be read: {error}") from None

    def _may_choose(self, delivery: OpenDelivery) -> bool:
        """Whether the interval is chosen anew with the next try."""
        return delivery.state == "accepted" and delivery.subscription_id is None

    def _begins(self, delivery: OpenDelivery, interval: int) -> bool:
        """Whether an interval has just begun, so that a server may not have noticed it yet."""
        subscription, now = delivery.subscription, self._head.now()
        end = subscription.end_time(interval)
        over = end is not None and now >= end
        return not over and abs(now - subscription.due_time(interval)) < _EDGE


def _signed(delivery: OpenDelivery) -> DelegatedRequest:
    """The request that makes the subscription. Those on the chain have a subscription_id."""
    assert delivery.signed is not None, "a contract's subscription has an id"
    return delivery.signed
