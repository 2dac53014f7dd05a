"""May this run? The rules in their order; tests/api/test_jobs.py has them over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from infernet_edge.config.model import Container
from infernet_edge.errors import BadRequest, Refused
from infernet_edge.jobs.guardian import MAX_CONTAINERS, Guardian
from infernet_edge.schema import JobRequest

GUARDIAN = Guardian(
    [
        Container(id="open"),
        Container(id="proving", generates_proofs=True),
        Container(id="internal", external=False),
        Container(id="home", allowed_ips=["192.168.0.0/16", "fd00::/8", "203.0.113.9"]),
        Container(id="host-bits", allowed_ips=["10.1.2.3/8"]),
        Container(id="all", allowed_ips=["0.0.0.0/0", "::/0"]),
    ]
)


def check(*containers: str, address: str = "10.0.0.1", requires_proof: bool = False) -> None:
    GUARDIAN.check(JobRequest(list(containers), Raw(b"{}"), requires_proof), address)


@pytest.mark.parametrize(
    "containers", [("open",), ("open", "internal"), ("open", "open"), ("open", "proving")]
)
def test_what_breaks_no_rule_may_run(containers: tuple[str, ...]) -> None:
    check(*containers)


@pytest.mark.parametrize(
    ("containers", "proof", "message", "params"),
    [
        ((), True, "No containers specified", {}),
        (("internal", "?"), True, "Container not supported", {"container": "?"}),
        (("?", "!"), False, "Container not supported", {"container": "?"}),
        (("",), False, "Container not supported", {"container": ""}),
        (("OPEN",), False, "Container not supported", {"container": "OPEN"}),
        (
            ("internal", "home"),
            True,
            "First container must be external",
            {"first_container": "internal"},
        ),
        (
            ("proving", "home"),
            True,
            "Container does not generate proof",
            {"container": "home"},
        ),
        (
            ("open", "home", "host-bits"),
            False,
            "Container not allowed for address",
            {"container": "home", "address": "10.0.0.1"},
        ),
    ],
)
def test_the_first_broken_rule_is_reported(
    containers: tuple[str, ...], proof: bool, message: str, params: dict[str, Any]
) -> None:
    with pytest.raises(Refused) as refused:
        check(*containers, requires_proof=proof)
    assert refused.value.status == 405
    assert (refused.value.message, refused.value.params) == (message, params)


def test_only_the_last_container_has_to_prove() -> None:
    check("open", "proving", requires_proof=True)
    with pytest.raises(Refused, match="proof"):
        check("proving", "open", requires_proof=True)


@pytest.mark.parametrize(
    ("container", "address", "allowed"),
    [
        ("home", "192.168.7.7", True),
        ("home", "192.169.7.7", False),
        ("home", "203.0.113.9", True),
        ("home", "203.0.113.8", False),
        ("home", "fd00::1", True),
        ("home", "fe80::1", False),
        ("home", "", False),
        ("home", "rubbish", False),
        ("host-bits", "10.200.0.1", True),
        ("all", "8.8.8.8", True),
        ("all", "2001:db8::1", True),
        ("open", "rubbish", True),
    ],
)
def test_addresses(container: str, address: str, allowed: bool) -> None:
    if allowed:
        check(container, address=address)
    else:
        with pytest.raises(Refused, match="not allowed for address"):
            check(container, address=address)


def test_a_chain_has_a_bound() -> None:
    check(*["open"] * MAX_CONTAINERS)
    with pytest.raises(BadRequest) as refused:
        check(*["open"] * (MAX_CONTAINERS + 1))
    assert refused.value.params == {"field": "containers"}
