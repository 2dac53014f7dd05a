"""Requests for delegated subscriptions: what is taken, what is refused and how, who signed."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from jsonschema import Draft202012Validator

from infernet_edge.api.openapi_delegated import delegated_request
from infernet_edge.chain.contracts.delegation import (
    DelegatedRequest,
    digest,
    parse_request,
    parse_signed,
    recover_signer,
)
from infernet_edge.chain.contracts.subscription import Generation, SubscriptionV0, SubscriptionV1
from infernet_edge.chain.guard.container_lookup import container_hash
from infernet_edge.errors import BadRequest
from tests.support.delegated import sign
from tests.support.depth import usual_recursion_limit
from tests.support.subscriptions import OWNER, TOKEN, VERIFIER, subscription_v0, subscription_v1

COORDINATOR = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
CHAIN_ID = 31337
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SIGNER: LocalAccount = Account.from_key("0x" + "11" * 32)

# What infernet-client 1.4.0 sent for Subscription(owner, 1700000000, 3600, 24, 3, ["echo", "sign"],
# True, verifier, 2**255 + 2**64 + 1, token, wallet) with the key of SIGNER. The owner's address is
# the one of the client's own sample, whose checksum is wrong.
OFFICIAL = b"""{"signature": {"nonce": 7, "expiry": 4102444800, "v": 27,
"r": 72172170157915399163057500250992163811334018523088933936773527948688466886959,
"s": 50960573326981365370639778215470562948158012772790798963884243906502327998663},
"subscription": {"owner": "0x00Bd138aBD70e2F00903268F3Db08f2D25677C2B",
"active_at": 1700000000, "period": 3600, "frequency": 24, "redundancy": 3,
"containers": "0x2396cce117b84b30fd47367ea1290e9b34e1d412c667fae07a8443b3fc34532a", "lazy": true,
"verifier": "0x2222222222222222222222222222222222222222",
"payment_amount": 57896044618658097711785492504343953926634992332820282019747238748030274371585,
"payment_token": "0x0000000000000000000000000000000000000000",
"wallet": "0x5FbDB2315678afecb367f032d93F642f64180aa3"},
"data": {"prompt": "hello", "n": 1180591620717411303424}}"""

V1_BODY: dict[str, Any] = json.loads(OFFICIAL)
V0_BODY: dict[str, Any] = {
    "subscription": {
        "owner": OWNER,
        "active_at": 1700000000,
        "period": 3600,
        "frequency": 24,
        "redundancy": 3,
        "max_gas_price": 10**12,
        "max_gas_limit": 3_000_000,
        "container_id": "echo,sign",
        "inputs": "",
    },
    "signature": V1_BODY["signature"],
    "data": {},
}
BODIES = {"1.x": V1_BODY, "0.1": V0_BODY}


def changed(generation: Generation, path: str, value: Any) -> bytes:
    """A good request with one field of another value; msgspec.UNSET takes the field out."""
    body = copy.deepcopy(BODIES[generation])
    *parents, name = path.split(".")
    holder = body
    for parent in parents:
        holder = holder[parent]
    holder[name] = value
    if value is msgspec.UNSET:
        del holder[name]
    return json.dumps(body).encode()


def without(generation: Generation, path: str) -> bytes:
    """A good request that lacks one field."""
    return changed(generation, path, msgspec.UNSET)


def refusal(raw: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse_request(raw)
    return caught.value


# What is taken


def test_the_official_clients_request_is_taken_as_it_is() -> None:
    request = parse_request(OFFICIAL)
    assert request.generation == "1.x"
    assert request.subscription == SubscriptionV1(
        owner="0x00bd138aBd70e2F00903268F3DB08f2d25677C2b",
        active_at=1700000000,
        period=3600,
        frequency=24,
        redundancy=3,
        containers=container_hash(["echo", "sign"]),
        lazy=True,
        verifier=VERIFIER,
        payment_amount=2**255 + 2**64 + 1,
        payment_token="0x" + 40 * "0",
        wallet=TOKEN,
    )
    assert request.data == b'{"prompt": "hello", "n": 1180591620717411303424}'
    assert request.signature.r == V1_BODY["signature"]["r"]
    assert request.signature.s == V1_BODY["signature"]["s"]
    assert recover_signer(request, CHAIN_ID, COORDINATOR) == SIGNER.address


def test_the_documents_request_is_taken() -> None:
    request = parse_request(json.dumps(V0_BODY).encode())
    assert request.generation == "0.1"
    assert request.subscription == SubscriptionV0(
        owner=OWNER,
        active_at=1700000000,
        period=3600,
        frequency=24,
        redundancy=3,
        max_gas_price=10**12,
        max_gas_limit=3_000_000,
        container_id="echo,sign",
        inputs=b"",
    )


def test_a_request_may_be_raw_and_may_hold_more() -> None:
    body = {**V1_BODY, "id": "mine", "requires_proof": True}
    body["subscription"] = {**V1_BODY["subscription"], "container_id": "x", "more": [1]}
    found = parse_request(msgspec.Raw(json.dumps(body).encode()))
    expected = parse_request(json.dumps(V1_BODY).encode())
    assert found.subscription == expected.subscription
    assert found.signature == expected.signature
    assert found.data == expected.data
    assert parse_signed(found.signed).subscription == expected.subscription


def test_a_request_that_an_earlier_version_stored() -> None:
    """With its data, which is stored by itself now."""
    stored = parse_signed(json.dumps(V1_BODY).encode())
    assert json.loads(bytes(stored.data)) == V1_BODY["data"]
    assert parse_signed(stored.signed).data == b""


@pytest.mark.parametrize("prefix", ["0x", "0X", ""])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_hashes_and_addresses_in_all_their_forms(prefix: str, case: Any) -> None:
    digits = case(container_hash(["echo"]).hex())
    request = parse_request(changed("1.x", "subscription.containers", prefix + digits))
    assert isinstance(request.subscription, SubscriptionV1)
    assert request.subscription.containers == container_hash(["echo"])
    request = parse_request(changed("1.x", "subscription.owner", prefix + case(OWNER[2:])))
    assert request.subscription.owner == OWNER


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("", b""),
        ("0x", b""),
        ("0x00ff", b"\x00\xff"),
        ("0xABcd", b"\xab\xcd"),
        ("00ff", b"00ff"),
        ("grüße", "grüße".encode()),
        (None, b""),
    ],
)
def test_inputs_are_read_as_signers_of_typed_data_read_them(
    inputs: str | None, expected: bytes
) -> None:
    request = parse_request(changed("0.1", "subscription.inputs", inputs))
    assert isinstance(request.subscription, SubscriptionV0)
    assert request.subscription.inputs == expected


def test_inputs_may_be_left_out() -> None:
    request = parse_request(without("0.1", "subscription.inputs"))
    assert isinstance(request.subscription, SubscriptionV0)
    assert request.subscription.inputs == b""


@pytest.mark.parametrize(("v", "expected"), [(0, 27), (1, 28), (27, 27), (28, 28)])
def test_recovery_ids(v: int, expected: int) -> None:
    assert parse_request(changed("1.x", "signature.v", v)).signature.v == expected


WIDTHS = [
    ("1.x", "subscription.active_at", 32),
    ("1.x", "subscription.period", 32),
    ("1.x", "subscription.frequency", 32),
    ("1.x", "subscription.redundancy", 16),
    ("1.x", "subscription.payment_amount", 256),
    ("1.x", "signature.nonce", 32),
    ("1.x", "signature.expiry", 32),
    ("0.1", "subscription.active_at", 32),
    ("0.1", "subscription.period", 32),
    ("0.1", "subscription.frequency", 32),
    ("0.1", "subscription.redundancy", 16),
    ("0.1", "subscription.max_gas_price", 48),
    ("0.1", "subscription.max_gas_limit", 32),
    ("0.1", "signature.nonce", 32),
    ("0.1", "signature.expiry", 32),
]


def field_of(request: DelegatedRequest, path: str) -> Any:
    parent, name = path.split(".")
    return getattr(getattr(request, parent), name)


@pytest.mark.parametrize(("generation", "path", "bits"), WIDTHS)
def test_numbers_from_the_least_to_the_widest(generation: Generation, path: str, bits: int) -> None:
    for number in (0, 2**bits - 1):
        assert field_of(parse_request(changed(generation, path, number)), path) == number


@pytest.mark.parametrize("path", ["signature.r", "signature.s"])
@pytest.mark.parametrize("number", [1, ORDER // 2 + 1, ORDER - 1])
def test_scalars_in_range(path: str, number: int) -> None:
    assert field_of(parse_request(changed("1.x", path, number)), path) == number


# What is refused

FIELDS = [
    *((generation, path) for generation, path, _ in WIDTHS),
    *(("1.x", f"signature.{name}") for name in "vrs"),
    ("1.x", "subscription.owner"),
    ("1.x", "subscription.containers"),
    ("1.x", "subscription.lazy"),
    ("1.x", "subscription.verifier"),
    ("1.x", "subscription.payment_token"),
    ("1.x", "subscription.wallet"),
    ("0.1", "subscription.owner"),
    ("0.1", "subscription.container_id"),
    *(
        (generation, name)
        for generation in ("1.x", "0.1")
        for name in ("subscription", "signature", "data")
    ),
]


@pytest.mark.parametrize(("generation", "path"), FIELDS)
def test_a_missing_field_is_named(generation: Generation, path: str) -> None:
    refused = refusal(without(generation, path))
    assert refused.params == {"field": path}
    assert refused.message.startswith(f"{path}: expected ")
    assert refused.message.endswith(", found nothing")


WRONG = {
    "null": "null",
    "number": "1.5",
    "text": '"12x"',
    "bool": "true",
    "list": "a list",
    "object": "an object",
}
VALUES: dict[str, Any] = {
    "null": None,
    "number": 1.5,
    "text": "12x",
    "bool": True,
    "list": [1],
    "object": {},
}
RIGHT = {
    "lazy": "bool",
    "container_id": "text",
    "subscription": "object",
    "signature": "object",
    "data": "object",
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize(("generation", "path"), [*FIELDS, ("0.1", "subscription.inputs")])
def test_a_value_of_the_wrong_type_is_named(generation: Generation, path: str, kind: str) -> None:
    name = path.rpartition(".")[2]
    if RIGHT.get(name) == kind or (name == "inputs" and kind in ("null", "text")):
        return
    refused = refusal(changed(generation, path, VALUES[kind]))
    assert refused.params == {"field": path}
    if name not in ("subscription", "signature", "data"):
        assert refused.message.endswith(f"found {WRONG[kind]}")


@pytest.mark.parametrize(("generation", "path", "bits"), WIDTHS)
@pytest.mark.parametrize("beyond", ["negative", "wide", "wider", "text", "float"])
def test_a_number_out_of_range_is_named(
    generation: Generation, path: str, bits: int, beyond: str
) -> None:
    value: Any = {
        "negative": -1,
        "wide": 2**bits,
        "wider": 2**300,
        "text": "1",
        "float": 1.0,
    }[beyond]
    refused = refusal(changed(generation, path, value))
    assert refused.params == {"field": path}
    assert f"expected a whole number from 0 to {'2^256 - 1' if bits == 256 else 2**bits - 1}" in (
        refused.message
    )


@pytest.mark.parametrize("path", ["signature.r", "signature.s"])
@pytest.mark.parametrize("value", [0, -1, ORDER, 2**256 - 1, 2**256])
def test_a_scalar_out_of_range_is_named(path: str, value: int) -> None:
    refused = refusal(changed("1.x", path, value))
    assert refused.params == {"field": path}
    assert refused.message == (
        f"{path}: expected a whole number from 1 to the order of secp256k1, less one, found {value}"
    )


@pytest.mark.parametrize("v", [-1, 2, 26, 29, 35, 2**64])
def test_another_recovery_id_is_refused(v: int) -> None:
    refused = refusal(changed("0.1", "signature.v", v))
    assert refused.message == f"signature.v: expected 27 or 28, found {v}"


@pytest.mark.parametrize(
    ("generation", "path", "value"),
    [
        ("1.x", "subscription.owner", OWNER[:-1]),
        ("1.x", "subscription.owner", OWNER + "0"),
        ("1.x", "subscription.owner", OWNER[:-1] + "g"),
        ("1.x", "subscription.owner", OWNER + "\n"),
        ("1.x", "subscription.owner", ""),
        ("1.x", "subscription.wallet", "vitalik.eth"),
        ("1.x", "subscription.containers", "echo"),
        ("1.x", "subscription.containers", "0x" + 63 * "a"),
        ("1.x", "subscription.containers", "0x" + 66 * "a"),
        ("1.x", "subscription.containers", "0x0x" + 62 * "a"),
        ("0.1", "subscription.inputs", "0xabc"),
        ("0.1", "subscription.inputs", "0xzz"),
        ("0.1", "subscription.inputs", 7),
    ],
)
def test_text_of_another_form_is_refused(generation: Generation, path: str, value: Any) -> None:
    refused = refusal(changed(generation, path, value))
    assert refused.params == {"field": path}
    assert refused.message.endswith(f"found {json.dumps(value)}")


def test_a_long_value_is_shortened_in_the_error() -> None:
    assert len(refusal(changed("1.x", "subscription.owner", "x" * 10**6)).message) < 250


@pytest.mark.parametrize(
    "number", ["1" * 5000, "1e400", "1e3", "00", "0x1", "NaN", "Infinity", "1" * 10**6]
)
def test_numbers_that_are_none_in_json(number: str) -> None:
    raw = OFFICIAL.replace(b'"nonce": 7', f'"nonce": {number}'.encode())
    assert refusal(raw).status == 400


def test_what_says_neither_generation_is_taken_for_todays() -> None:
    refused = refusal(without("1.x", "subscription.containers"))
    assert refused.message == (
        "subscription.containers: expected a hash of 64 hex digits, found nothing"
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"subscription"',
        b"\xff",
        OFFICIAL[:-1],
        OFFICIAL.replace(b'"0x5F', b'"\xff'),
        OFFICIAL.replace(b'"0x5F', b'"\\ud800'),
        b"[" * 100_000,
        b'{"subscription": ' + b"[" * 100_000,
        b'{"subscription": {"owner": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        OFFICIAL.replace(b'"nonce": 7', b'"nonce": ' + b"[" * 100_000 + b"]" * 100_000),
    ],
)
def test_no_request_at_all(raw: bytes) -> None:
    with usual_recursion_limit():
        assert refusal(raw).status == 400


# Who signed


def hash_struct(struct_type: str, types: list[str], values: Sequence[Any]) -> bytes:
    """EIP-712's hashStruct, by hand."""
    pairs = [("bytes32", keccak(text=struct_type))]
    for kind, value in zip(types, values, strict=True):
        if kind in ("string", "bytes"):
            content = value.encode() if kind == "string" else value
            pairs.append(("bytes32", keccak(content)))
        else:
            pairs.append((kind, value))
    return keccak(encode([kind for kind, _ in pairs], [value for _, value in pairs]))


def digest_by_hand(request: DelegatedRequest, chain_id: int) -> bytes:
    """The digest as https://eips.ethereum.org/EIPS/eip-712 describes it."""
    subscription, signature = request.subscription, request.signature
    types = [field.type for field in subscription.fields]
    members = ",".join(f"{field.type} {field.solidity_name}" for field in subscription.fields)
    inner = f"Subscription({members})"
    outer = f"DelegateSubscription(uint32 nonce,uint32 expiry,Subscription sub){inner}"
    hashed = hash_struct(inner, types, subscription.to_abi())
    message = hash_struct(
        outer, ["uint32", "uint32", "bytes32"], [signature.nonce, signature.expiry, hashed]
    )
    domain = hash_struct(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
        ["string", "string", "uint256", "address"],
        ["InfernetCoordinator", "1", chain_id, COORDINATOR],
    )
    return keccak(b"\x19\x01" + domain + message)


@pytest.mark.parametrize("chain_id", [1, 31337, 2**200])
@pytest.mark.parametrize(
    "subscription",
    [
        subscription_v1(),
        subscription_v1("a,b", payment_amount=2**256 - 1, lazy=True, verifier=VERIFIER),
        subscription_v0(),
        subscription_v0("ä,b", inputs=b"\x00\xff" * 99, max_gas_price=2**48 - 1),
    ],
)
def test_digests_are_those_of_eip_712(
    subscription: SubscriptionV1 | SubscriptionV0, chain_id: int
) -> None:
    signature = parse_request(OFFICIAL).signature
    request = DelegatedRequest(subscription, signature, b"{}")
    expected = digest_by_hand(request, chain_id)
    assert digest(request, chain_id, COORDINATOR) == expected
    assert digest(request, chain_id, COORDINATOR.lower()) == expected
    assert digest(request, chain_id, COORDINATOR.upper()[2:]) == expected


def signed_v0() -> DelegatedRequest:
    """A request of SDK 0.1 as SIGNER signs it."""
    subscription = subscription_v0("a,b", inputs=b"in")
    values = {
        field.solidity_name: value
        for field, value in zip(subscription.fields, subscription.to_abi(), strict=True)
    }
    domain = {
        "name": "InfernetCoordinator",
        "version": "1",
        "chainId": CHAIN_ID,
        "verifyingContract": COORDINATOR,
    }
    signature = sign("0.1", values, SIGNER, domain, 3, 2_000_000_000)
    body = copy.deepcopy(V0_BODY)
    body["subscription"] = {
        **msgspec.to_builtins(subscription),
        "inputs": "0x" + subscription.inputs.hex(),
    }
    body["signature"] = signature
    return parse_request(json.dumps(body).encode())


def test_the_signer_of_sdk_0_1_is_recovered() -> None:
    assert recover_signer(signed_v0(), CHAIN_ID, COORDINATOR) == SIGNER.address


@pytest.mark.parametrize(
    ("chain_id", "coordinator"), [(CHAIN_ID + 1, COORDINATOR), (CHAIN_ID, OWNER)]
)
def test_a_signature_is_for_one_chain_and_one_coordinator(chain_id: int, coordinator: str) -> None:
    assert recover_signer(signed_v0(), chain_id, coordinator) != SIGNER.address


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("subscription.payment_amount", 2**255 + 2**64),
        ("subscription.lazy", False),
        ("signature.nonce", 8),
        ("signature.expiry", 4102444801),
        ("signature.v", 28),
    ],
)
def test_whatever_is_changed_is_signed_by_somebody_else(path: str, value: Any) -> None:
    request = parse_request(changed("1.x", path, value))
    assert recover_signer(request, CHAIN_ID, COORDINATOR) != SIGNER.address


def test_the_twin_of_a_signature_is_as_good() -> None:
    body = copy.deepcopy(V1_BODY)
    body["signature"] |= {"v": 28, "s": ORDER - body["signature"]["s"]}
    request = parse_request(json.dumps(body).encode())
    assert recover_signer(request, CHAIN_ID, COORDINATOR) == SIGNER.address


def test_the_signature_of_nobody() -> None:
    # x = 5 is on no point of the curve: 5**3 + 7 is no square modulo the field's prime
    request = parse_request(changed("1.x", "signature.r", 5))
    with pytest.raises(BadRequest, match="belongs to none") as caught:
        recover_signer(request, CHAIN_ID, COORDINATOR)
    assert caught.value.params == {"field": "signature"}


SCHEMA = Draft202012Validator(delegated_request())
NUMBERS = [-1, 2**16, 2**32, 2**48, 2**256, 2**300, 1.5]
ODD: list[Any] = [None, True, *NUMBERS, "", "x", "0x12", [], {}]
PLACES = [
    (body, part, name)
    for body in (V1_BODY, V0_BODY)
    for part in ("subscription", "signature")
    for name in body[part]
]


def is_read(body: dict[str, Any]) -> bool:
    try:
        parse_request(json.dumps(body).encode())
    except BadRequest:
        return False
    return True


@pytest.mark.parametrize(("body", "part", "name"), PLACES)
def test_the_openapi_document_says_the_same(body: dict[str, Any], part: str, name: str) -> None:
    assert SCHEMA.is_valid(body)
    changed = copy.deepcopy(body)
    del changed[part][name]
    assert SCHEMA.is_valid(changed) is is_read(changed) is (name == "inputs")
    for wrong in ODD:
        changed[part][name] = wrong
        if name != "inputs":  # its hex digits have no schema
            assert SCHEMA.is_valid(changed) is is_read(changed), (name, wrong)
