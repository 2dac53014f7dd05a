"""The part of the OpenAPI document for the overview and what belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from infernet_edge.api.overview import forms

TYPES: Final = (forms.Overview,)
"""Their schemas are components of the document."""

Operation = Callable[..., dict[str, Any]]
Parameter = Callable[..., dict[str, Any]]


def paths(operation: Operation, parameter: Parameter) -> dict[str, Any]:
    """The paths; the arguments make an operation and a parameter of it."""
    return {
        "/api/overview": {
            "get": operation("Whether the node is well, and what it does", _ref("Overview"))
        },
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
