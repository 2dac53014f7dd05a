"""The part of the OpenAPI document for the overview and what belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from infernet_edge.api.overview import forms
from infernet_edge.api.overview.chain_endpoints import MAX_PAGE, STATES
from infernet_edge.api.overview.settings import SettingsInForce
from infernet_edge.discovery.forms import NodeList

TYPES: Final = (forms.Overview, SettingsInForce, NodeList)
"""Their schemas are components of the document."""

_PAGE: Final = {
    "type": "object",
    "required": ["items", "next"],
    "properties": {
        "items": {"type": "array", "items": {"type": "object"}},
        "next": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
}

Operation = Callable[..., dict[str, Any]]
Parameter = Callable[..., dict[str, Any]]


def paths(operation: Operation, parameter: Parameter) -> dict[str, Any]:
    """The paths; the arguments make an operation and a parameter of it."""
    identifier = parameter("id", "The id of the job", {"type": "string"}, "path")
    step = parameter(
        "number", "The position of the container, from 1", {"type": "integer", "minimum": 1}, "path"
    )
    paging = [
        parameter(
            "limit", "Maximum number", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}
        ),
        parameter("before", "`next` of an earlier answer", {"type": "string"}),
    ]
    part = parameter("Range", "One range of bytes (RFC 9110)", {"type": "string"}, "header")
    return {
        "/api/jobs/{id}/input": {
            "get": _partial(operation("The input of a job", {}, parameters=[identifier, part]))
        },
        "/api/jobs/{id}/result": {
            "get": _partial(operation("The result of a job", {}, parameters=[identifier, part]))
        },
        "/api/jobs/{id}/steps/{number}": {
            "get": _partial(
                operation("The result of a step", {}, parameters=[identifier, step, part])
            )
        },
        "/api/chain": {"get": operation("The state of the chain", _ref("ChainSummary"))},
        "/api/chain/subscriptions": {
            "get": operation(
                "Subscriptions of contracts, newest first",
                _PAGE,
                parameters=[
                    *paging,
                    parameter(
                        "state",
                        "Only those that the node serves, or does not serve",
                        {"type": "string", "enum": list(STATES)},
                    ),
                ],
            )
        },
        "/api/chain/deliveries": {
            "get": operation("Answers to subscriptions, newest first", _PAGE, parameters=paging)
        },
        "/api/settings": {
            "get": operation("The settings in force (operators only)", _ref("SettingsInForce"))
        },
        "/api/nodes": {
            "get": operation("The other nodes that this one finds or is given", _ref("NodeList"))
        },
        "/api/overview": {
            "get": operation("Whether the node is well, and what it does", _ref("Overview"))
        },
    }


def _partial(described: dict[str, Any]) -> dict[str, Any]:
    """An operation that may answer with a part of a text."""
    text = {"description": "The range", "content": {"*/*": {"schema": {"type": "string"}}}}
    responses = described["responses"]
    return described | {"responses": {"200": responses["200"], "206": text, **responses}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
