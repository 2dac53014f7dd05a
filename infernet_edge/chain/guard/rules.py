"""The guard rules for subscriptions: whether the node may serve one. They need no chain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from infernet_edge import __version__
from infernet_edge.chain.contracts.subscription import Subscription, SubscriptionV1
from infernet_edge.chain.guard.container_lookup import ContainerLookup
from infernet_edge.config.model import Config, Container
from infernet_edge.errors import ApiError, BadRequest, Refused
from infernet_edge.jobs.guardian import MAX_CONTAINERS

_MAX_SHOWN = 128  # characters of an unknown container's id; ids are not longer

_REMEDIES: Final = {
    "Container not supported": "no container of this node has this id or hash; chains of more"
    " than three are known only when chain.pipelines names them",
    "First container must be external": "set external = true for it, to serve this",
    "Container does not generate proof": "set generates_proofs = true for it, if it does",
    "Container not allowed for address": "add the address to those that the container allows, to"
    " serve it",
    "Node has no payment address": "set chain.wallet.payment_address; this makes a wallet:"
    " infernet-edge wallet pay create",
    "Payment token not accepted": "add the token to accepted_payments of the container, to take it",
    "Payment too small": "accepted_payments of its containers ask for more",
    "Subscription pays nothing": "accepted_payments of the container asks for a payment",
}
"""What the operator can do about a refusal, by its message."""


class _ContainerRules(NamedTuple):
    external: bool
    generates_proofs: bool
    owners: frozenset[str]  # of on-chain subscriptions; empty = all
    delegators: frozenset[str]  # owners of delegated ones; empty = all
    minimums: dict[str, int]  # token -> wei; empty = any token, no minimum


class SubscriptionRules:
    """What the configured containers allow.

    `fingerprint` changes whenever the rules may allow others of a chain's subscriptions.
    """

    def __init__(self, config: Config, lookup: ContainerLookup) -> None:
        self._payment_address = config.chain.wallet.payment_address
        self.fingerprint = _fingerprint(config)
        self.apply(config, lookup)

    def apply(self, config: Config, lookup: ContainerLookup) -> None:
        """Use other containers; the next start looks again at what was skipped until now."""
        self._lookup = lookup
        self._rules = {container.id: _rules(container) for container in config.containers}

    def check(self, subscription: Subscription, *, delegated: bool) -> tuple[str, ...]:
        """The containers of a subscription, in the order in which they run.

        Raises Refused (405) with the first rule that it breaks, BadRequest for too many ids.
        """
        if not subscription.redundancy:
            raise Refused("Subscription asks for no answers", {"redundancy": 0})
        containers = self._known(subscription)
        if not self._rules[containers[0]].external:
            raise Refused("First container must be external", {"first_container": containers[0]})
        if subscription.requires_proof and not self._rules[containers[-1]].generates_proofs:
            raise Refused("Container does not generate proof", {"container": containers[-1]})
        self._check_owner(containers, subscription.owner, delegated=delegated)
        self._check_payment(containers, subscription)
        return containers

    def containers_of(self, subscription: Subscription) -> tuple[str, ...]:
        """The containers of a subscription, whether it is served or not; () for unknown ones."""
        try:
            return self._known(subscription)
        except ApiError:
            return ()

    def _known(self, subscription: Subscription) -> tuple[str, ...]:
        if isinstance(subscription, SubscriptionV1):
            known = self._lookup.lookup(subscription.containers)
            if known is None:
                unknown = "0x" + subscription.containers.hex()
                raise Refused("Container not supported", {"container": unknown})
            return known
        containers = tuple(subscription.container_id.split(","))
        if containers == ("",):
            raise Refused("No containers specified")
        if len(containers) > MAX_CONTAINERS:
            field = "subscription.container_id"
            raise BadRequest(
                f"{field}: expected at most {MAX_CONTAINERS} ids, found {len(containers)}",
                {"field": field},
            )
        for container in containers:
            if container not in self._rules:
                raise Refused("Container not supported", {"container": container[:_MAX_SHOWN]})
        return containers

    def _check_owner(self, containers: Iterable[str], owner: str, *, delegated: bool) -> None:
        for container in containers:
            rules = self._rules[container]
            allowed = rules.delegators if delegated else rules.owners
            if allowed and _plain(owner) not in allowed:
                raise Refused(
                    "Container not allowed for address", {"container": container, "address": owner}
                )

    def _check_payment(self, containers: Iterable[str], subscription: Subscription) -> None:
        """The containers' minimums apply to a subscription that pays nothing as well."""
        amount, token = subscription.payment
        if amount and not self._payment_address:
            raise Refused("Node has no payment address", {"amount": amount, "token": token})
        minimum = 0
        for container in containers:
            minimums = self._rules[container].minimums
            if minimums and _plain(token) not in minimums:
                if not amount:
                    raise Refused("Subscription pays nothing", {"container": container})
                raise Refused(
                    "Payment token not accepted", {"container": container, "token": token}
                )
            minimum += minimums.get(_plain(token), 0)
        if amount < minimum:
            raise Refused(
                "Payment too small", {"token": token, "amount": amount, "minimum": minimum}
            )


def explain(refusal: ApiError) -> str:
    """A refusal as one line for the operator: the rule, what breaks it, what can be done."""
    params = "".join(f", {name} {value}" for name, value in refusal.params.items())
    remedy = _REMEDIES.get(refusal.message, "")
    return f"{refusal.message}{params}{remedy and f'; {remedy}'}"


def check_expiry(expiry: int, now: int) -> None:
    """Raise Refused when a signature's time is over, by the chain's clock.

    A coordinator accepts it only before the second that `expiry` names.
    """
    if expiry <= now:
        raise Refused("Signature expired")


def _fingerprint(config: Config) -> str:
    chosen = [
        [
            (
                container.id,
                container.external,
                container.generates_proofs,
                sorted(container.allowed_addresses),
                sorted(container.accepted_payments.items()),
            )
            for container in config.containers
        ],
        config.chain.pipelines,
        config.chain.wallet.payment_address,
        __version__,
    ]
    return hashlib.sha256(msgspec.json.encode(chosen)).hexdigest()


def _rules(container: Container) -> _ContainerRules:
    return _ContainerRules(
        container.external,
        container.generates_proofs,
        frozenset(map(_plain, container.allowed_addresses)),
        frozenset(map(_plain, container.allowed_delegate_addresses)),
        {_plain(token): amount for token, amount in container.accepted_payments.items()},
    )


def _plain(address: str) -> str:
    """An address as it is compared: configurations write it with and without 0x, in any case."""
    return address.lower().removeprefix("0x")
