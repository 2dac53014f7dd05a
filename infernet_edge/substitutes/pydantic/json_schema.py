"""For the model of eth_utils/pydantic.py, see the package."""

from __future__ import annotations

DEFAULT_REF_TEMPLATE = "#/$defs/{model}"
JsonSchemaMode = str


class GenerateJsonSchema:
    """The base of a generator that nothing calls."""
