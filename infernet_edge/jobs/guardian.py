"""The rules that a job must pass before it is stored, in the order of the REST API reference."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from infernet_edge.config.model import Container
from infernet_edge.errors import BadRequest, Refused
from infernet_edge.schema import JobRequest

MAX_CONTAINERS = 64  # in one job; the output of each is kept until the job ends

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Rules(NamedTuple):
    external: bool
    generates_proofs: bool
    networks: tuple[Network, ...]
    timeout: float


class Guardian:
    """Checks jobs against the rules of the configured containers."""

    def __init__(self, containers: Iterable[Container]) -> None:
        self.apply(containers)

    def apply(self, containers: Iterable[Container]) -> None:
        """Check by the rules of these containers from now on."""
        self._rules: Mapping[str, _Rules] = {
            container.id: _Rules(
                container.external,
                container.generates_proofs,
                tuple(ipaddress.ip_network(text, strict=False) for text in container.allowed_ips),
                container.timeout,
            )
            for container in containers
        }

    def check(self, request: JobRequest, address: str) -> None:
        """Raise Refused (405) for the first rule that a job from `address` breaks."""
        containers = request.containers
        if not containers:
            raise Refused("No containers specified")
        if len(containers) > MAX_CONTAINERS:
            raise BadRequest(
                f"containers: expected at most {MAX_CONTAINERS} ids, found {len(containers)}",
                {"field": "containers"},
            )
        for container in containers:
            if container not in self._rules:
                raise Refused("Container not supported", {"container": container})
        if not self._rules[containers[0]].external:
            raise Refused("First container must be external", {"first_container": containers[0]})
        if request.requires_proof and not self._rules[containers[-1]].generates_proofs:
            raise Refused("Container does not generate proof", {"container": containers[-1]})
        for container in containers:
            if not _allowed(self._rules[container].networks, address):
                raise Refused(
                    "Container not allowed for address",
                    {"container": container, "address": address},
                )

    def may_use(self, container: str, address: str) -> bool:
        """Whether a client at `address` may send jobs to this container first."""
        rules = self._rules.get(container)
        return rules is not None and rules.external and _allowed(rules.networks, address)

    def check_timeout(self, containers: Sequence[str], timeout: float) -> None:
        """Raise BadRequest for a time-out that is longer than those of all these containers."""
        longest = max(containers, key=lambda container: self._rules[container].timeout)
        limit = self._rules[longest].timeout
        if timeout > limit:
            raise BadRequest(
                f'options.timeout: expected at most {limit:g}, the timeout of container "{longest}"'
                f" in seconds, found {timeout:g}",
                {"field": "options.timeout"},
            )


def _allowed(networks: tuple[Network, ...], address: str) -> bool:
    if not networks:
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks if network.version == parsed.version)
