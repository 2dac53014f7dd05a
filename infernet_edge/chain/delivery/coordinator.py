"""What the coordinator contracts would do: simulations before and after the computing.

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
    NODE_RESPONDED,
    SIMULATED_AT,
    UnexpectedReply,
    decode_subscription,
    delegation_key,
    deliver_compute,
    deliver_compute_delegatee,
    eth_call,
    get_subscription,
    response_key,
)
from infernet_edge.chain.contracts.delegation import DelegatedRequest
from infernet_edge.chain.contracts.payload import EMPTY, Payload
from infernet_edge.chain.contracts.registry import Deployment, ask
from infernet_edge.chain.contracts.reverts import ANSWERED, Revert, revert_reason, with_subject
from infernet_edge.chain.contracts.subscription import (
    ZERO_ADDRESS,
    Payment,
    Subscription,
    SubscriptionV0,
    SubscriptionV1,
)
from infernet_edge.chain.delivery.delegated_data import DelegatedData
from infernet_edge.chain.delivery.errors import (
    NothingToDo,
    PaymentMissing,
    PermanentFailure,
    SubscriptionEnded,
    TooEarly,
    TransientFailure,
)
from infernet_edge.chain.delivery.gas import estimate_gas
from infernet_edge.chain.delivery.payment_check import PaymentCheck
from infernet_edge.chain.delivery.record import OpenDelivery
from infernet_edge.chain.guard.rules import explain
from infernet_edge.chain.guard.signer import SignerCheck
from infernet_edge.chain.rpc.client import ReplyTooLarge, RpcClient, RpcError
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.config.sections.chain import Chain
from infernet_edge.containers.protocols.call import OFF_CHAIN, ON_CHAIN, StoredInput
from infernet_edge.errors import ApiError
from infernet_edge.invariants import InvariantViolated
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_GAS_MARGIN = 1.2  # of the estimate: storage may have changed until the delivery is mined
_EDGE = 30  # seconds around the beginning of an interval in which a server may not know of it
_ENDS = ("SubscriptionNotActive", "SubscriptionNotFound", "SubscriptionCompleted")
# The errors that a coordinator checks for before wallets and proofs.
_UNCLAIMED = (*ANSWERED, *_ENDS, "IntervalMismatch")
# The errors of an interval that has not begun at the time of the simulation.
_EARLY = ("SubscriptionNotActive", "IntervalMismatch")
# The errors that a payment fixes, or a verdict that frees what is locked.
_UNPAID = ("InsufficientFunds", "InsufficientAllowance", "InsufficientBalance", "TransferFailed")


class ComputeTask(NamedTuple):
    """What the containers are given; source and destination are those of their interface."""

    data: bytes | StoredInput
    source: int
    destination: int
    requires_proof: bool


class TransactionOrder(NamedTuple):
    """A transaction to send; `max_gas_price` in wei per gas, None: no limit of its own."""

    to: str
    data: bytes
    gas: int
    max_gas_price: int | None


class Coordinator:
    """Calls the coordinators of both generations for the deliveries of this node."""

    def __init__(
        self,
        config: Chain,
        rpc: RpcClient,
        head: HeadTracker,
        deployment: Deployment,
        signer: SignerCheck,
        data: DelegatedData,
        node: str,
        max_input: int,
    ) -> None:
        """`max_input`: the limit of a container's input, in bytes of JSON."""
        self._config = config
        self._rpc = rpc
        self._head = head
        self._deployment = deployment
        self._signer = signer
        self._data_store = data
        self._node = node
        self._max_input = max_input
        self._wallet = config.wallet.payment_address or ZERO_ADDRESS
        self._payments = PaymentCheck(rpc, deployment, self._wallet, node)

    def due_time(self, delivery: OpenDelivery) -> int:
        """When the interval of a delivery begins, in chain seconds."""
        return delivery.subscription.due_time(delivery.interval)

    def locks(self, delivery: OpenDelivery) -> Payment | None:
        """What the coordinator locks in the node's wallet for the delivery's proof, if anything."""
        subscription = delivery.subscription
        paid = subscription.payment.amount > 0
        return subscription.payment if subscription.requires_proof and paid else None

    def check_time(self, delivery: OpenDelivery) -> None:
        """Raise PermanentFailure when the interval of a delivery is over."""
        if self._head.latest is None:  # this machine's date may be wrong
            return
        end = delivery.subscription.end_time(delivery.interval)
        if end is not None and self._head.now() >= end:
            before = f"; before that: {delivery.reason}" if delivery.reason else ""
            raise PermanentFailure(f"The interval was over before it could be answered{before}")

    async def admit(self, delivery: OpenDelivery) -> None:
        """Check that computing makes sense; marks the delivery as verified.

        Raises NothingToDo, PermanentFailure or TransientFailure, and RpcUnavailable.
        """
        self._choose_interval(delivery)
        if not delivery.verified:
            try:
                await self._signer.verify(_signed(delivery))
            except ApiError as error:
                raise PermanentFailure(explain(error)) from None
            delivery.verified = True
            self._choose_interval(delivery)  # that may have taken long
        subscription = delivery.subscription
        revert = await self._simulate(delivery, EMPTY)
        if revert is None or revert.name not in _UNCLAIMED:
            if isinstance(subscription, SubscriptionV1) and subscription.payment_amount:
                await self._payments.check(subscription)
            if subscription.requires_proof:  # verifiers may revert on an empty one
                return
        # A consumer that decodes its input reverts on an empty one: that says nothing.
        if revert is None or not revert.protocol:
            return
        if not revert.is_allowed(self._config.wallet.allowed_sim_errors):
            await self._refuse(revert, delivery)

    def _choose_interval(self, delivery: OpenDelivery) -> None:
        """Choose the present one where it is not fixed.

        Raises PermanentFailure when its time is over.
        """
        if delivery.subscription_id is None:
            # Since it was accepted, others may have begun, or the chain could not be read then.
            subscription = delivery.subscription
            now = subscription.interval_at(self._head.now())
            delivery.interval = max(1, min(subscription.frequency, now))
        self.check_time(delivery)

    async def task(self, delivery: OpenDelivery) -> ComputeTask:
        """What to compute. A first interval comes with its input, later ones read their owner's."""
        subscription = delivery.subscription
        proof = subscription.requires_proof
        if delivery.subscription_id is None:
            data: bytes | StoredInput | None = bytes(_signed(delivery).data)
            if not data:  # else an earlier version stored it with the request
                data = await self._data_store.find(delivery.request_key)
            if not data:
                raise PermanentFailure("The input of the request is gone")
            return ComputeTask(data, OFF_CHAIN, ON_CHAIN, proof)
        data = await self._inputs(delivery, subscription)
        encoded = msgspec.json.encode(data.hex())
        if len(encoded) > self._max_input:
            raise PermanentFailure(
                f"The subscription's input has {len(encoded)} bytes as JSON, and"
                f" server.max_body_bytes allows {self._max_input}"
            )
        return ComputeTask(encoded, ON_CHAIN, ON_CHAIN, proof)

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
            raise PermanentFailure(f"The subscription's input is {error}") from None
        except (RpcError, UnexpectedReply) as error:
            if isinstance(error, RpcError) and error.is_aborted:
                raise TransientFailure(
                    f"The owner's contract {subscription.owner} gives no input in time: {error}"
                ) from None
            return b""  # an owner that gives no inputs, as the reference node takes it

    async def prepare(self, delivery: OpenDelivery, payload: Payload) -> TransactionOrder:
        """Simulate the real output and find out the gas.

        Raises NothingToDo, PermanentFailure, TransientFailure.
        """
        subscription = delivery.subscription
        limit = self._max_gas(subscription)
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
            log_event(logger, "delivery.revert_allowed", number=delivery.number, reason=str(revert))
            return TransactionOrder(to, data, limit, price)
        if estimate > limit:
            raise PermanentFailure(f"It takes {estimate} gas, the limit is {limit}")
        return TransactionOrder(to, data, min(limit, int(estimate * _GAS_MARGIN)), price)

    def _max_gas(self, subscription: Subscription) -> int:
        limit = self._config.wallet.max_gas_limit
        if isinstance(subscription, SubscriptionV0):
            limit = min(limit, subscription.max_gas_limit)
        return limit

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
            raise TransientFailure(f"The subscription's id cannot be read: {error}") from None

    def may_be_made(self, delivery: OpenDelivery, interval: int) -> bool:
        """Whether a subscription that is not on the chain yet can be made with this interval."""
        begins = delivery.subscription.due_time(interval)
        return delivery.verified and _signed(delivery).signature.expiry > begins

    def next_interval(self, delivery: OpenDelivery) -> int | None:
        """The interval to answer after this one; None when there is none.

        Intervals that passed meanwhile are left out.
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
                raise TransientFailure(f"The delivery cannot be simulated: {error}") from None
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
        """Raise what a revert means for a delivery, see errors.py; return if it means nothing."""
        reason = with_subject(revert, delivery.subscription, self._node, self._wallet)
        if revert.name in ANSWERED:
            own = revert.name == "NodeRespondedAlready" or await self._has_responded(delivery)
            raise NothingToDo(reason, "" if own else "others")
        if revert.name == "SubscriptionNotActive" and await self._is_cancelled(delivery):
            raise SubscriptionEnded("The subscription's owner has cancelled it")
        if revert.name in _EARLY and await self._is_simulated_early(delivery):
            if self._begins_without_block(delivery):
                return
            raise TooEarly(f"The server has no block of the interval's time yet: {reason}")
        on_chain = delivery.subscription_id is not None
        if revert.name == "SubscriptionNotActive" and (on_chain or self._begins(delivery, 1)):
            # A cancellation that is not mined yet may also come to nothing.
            raise TransientFailure(reason)
        if revert.name == "IntervalMismatch" and self._begins(delivery, delivery.interval):
            raise TransientFailure(reason)
        if revert.name == "IntervalMismatch" and self._may_choose(delivery):
            raise TransientFailure(reason)  # the head is not known yet, after an outage
        if revert.name == "SubscriptionNotFound" and on_chain:
            raise TransientFailure(reason)  # of a server that lags, or after a reorg
        if revert.name in _ENDS:
            raise SubscriptionEnded(reason)
        if revert.name in _UNPAID:
            raise (PaymentMissing if delivery.state == "accepted" else TransientFailure)(reason)
        if revert.protocol:
            raise PermanentFailure(reason)
        raise TransientFailure(f"The contract {delivery.owner} reverts: {revert}")

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
            raise TransientFailure(f"The subscription cannot be read: {error}") from None

    async def _is_simulated_early(self, delivery: OpenDelivery) -> bool:
        """Whether an interval has begun, but not at the time of the server's simulations.

        That is so with servers that take "pending" for "latest", or lag behind.
        """
        due = self.due_time(delivery)
        if self._head.now() < due:
            return False
        try:
            reply = await ask(self._rpc, SIMULATED_AT)
        except RpcError:
            return False
        return 0 < int.from_bytes(reply[:32]) < due

    def _begins_without_block(self, delivery: OpenDelivery) -> bool:
        """Whether an interval counts as begun although the chain has made no block in it.

        Some chains make none without transactions: the delivery itself brings the next one.
        """
        due, latest = self.due_time(delivery), self._head.latest
        return latest is not None and latest.timestamp < due <= self._head.passed()

    async def _has_responded(self, delivery: OpenDelivery) -> bool:
        """Whether a coordinator says that one of the answers to an interval is this node's."""
        to = await self._deployment.coordinator(delivery.subscription.generation)
        try:
            identifier = await self.subscription_id(delivery)
            key = response_key(identifier or 0, delivery.interval, self._node)
            reply = await ask(self._rpc, eth_call(to, NODE_RESPONDED.encode(key)))
            return bool(NODE_RESPONDED.decode(reply))
        except (RpcError, UnexpectedReply, TransientFailure):
            return False

    def _may_choose(self, delivery: OpenDelivery) -> bool:
        """Whether the interval is chosen again with the next retry."""
        return delivery.state == "accepted" and delivery.subscription_id is None

    def _begins(self, delivery: OpenDelivery, interval: int) -> bool:
        """Whether an interval has just begun, so that a server may not have noticed it yet."""
        subscription, now = delivery.subscription, self._head.now()
        end = subscription.end_time(interval)
        over = end is not None and now >= end
        return not over and abs(now - subscription.due_time(interval)) < _EDGE


def _signed(delivery: OpenDelivery) -> DelegatedRequest:
    """The request that makes the subscription. Those on the chain have a subscription_id."""
    if delivery.signed is None:
        raise InvariantViolated("a contract's subscription has an id")
    return delivery.signed
