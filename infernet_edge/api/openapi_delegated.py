"""The OpenAPI schemas of DelegatedSubscriptionRequests, of both generations.

The API handles these requests as objects: `chain.contracts.delegation` decodes them, which is
imported when the chain is enabled. A test compares the two.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # secp256k1
_ADDRESS: Final[Schema] = {"type": "string", "pattern": "^(0[xX])?[0-9a-fA-F]{40}$"}
_HASH: Final[Schema] = {"type": "string", "pattern": "^(0[xX])?[0-9a-fA-F]{64}$"}


def delegated_request() -> Schema:
    """The schema of a DelegatedSubscriptionRequest."""
    return _object(
        {
            "subscription": {"anyOf": [_subscription_v1(), _subscription_v0()]},
            "signature": _object(
                {
                    "nonce": _number(32),
                    "expiry": _number(32),
                    "v": {"type": "integer", "enum": [0, 1, 27, 28]},
                    "r": {"type": "integer", "minimum": 1, "maximum": _ORDER - 1},
                    "s": {"type": "integer", "minimum": 1, "maximum": _ORDER - 1},
                }
            ),
            "data": {"type": "object", "additionalProperties": True},
        }
    ) | {"title": "DelegatedSubscriptionRequest"}


def _schedule() -> dict[str, Schema]:
    numbers = {"active_at": 32, "period": 32, "frequency": 32, "redundancy": 16}
    return {"owner": _ADDRESS} | {name: _number(bits) for name, bits in numbers.items()}


def _subscription_v1() -> Schema:
    return _object(
        _schedule()
        | {
            "containers": _HASH,
            "lazy": {"type": "boolean"},
            "verifier": _ADDRESS,
            "payment_amount": _number(256),
            "payment_token": _ADDRESS,
            "wallet": _ADDRESS,
        },
        "Of the contracts SDK 1.x",
    )


def _subscription_v0() -> Schema:
    fields = _schedule() | {
        "max_gas_price": _number(48),
        "max_gas_limit": _number(32),
        "container_id": {"type": "string"},
    }
    found = _object(fields, "Of the contracts SDK 0.1")
    found["properties"]["inputs"] = {"type": ["string", "null"]}
    return found


def _object(fields: dict[str, Schema], description: str = "") -> Schema:
    """An object in which all these fields are required, and others are ignored."""
    described = {"description": description} if description else {}
    return {"type": "object", "properties": dict(fields), "required": list(fields), **described}


def _number(bits: int) -> Schema:
    return {"type": "integer", "minimum": 0, "maximum": 2**bits - 1}
