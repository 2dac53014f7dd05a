"""For the model of eth_utils/pydantic.py, see the package."""

from __future__ import annotations


def to_camel(name: str) -> str:
    """The name of a field in JSON; asked for by objects of models only, which cannot be made."""
    raise NotImplementedError(name)
