"""In the place of pydantic: eth-account describes blobs and EIP-7702 authorizations with it.

The classes are made, as in the real library. Their objects are not: the node sends neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


class BaseModel:
    """A model whose objects cannot be made."""

    def __init__(self, **_fields: object) -> NoReturn:
        raise NotImplementedError(f"The executable cannot make a {type(self).__name__}.")


def ConfigDict(**settings: object) -> dict[str, object]:  # noqa: N802 - the library's name
    """The settings of a model."""
    return settings


def Field(**_settings: object) -> None:  # noqa: N802 - the library's name
    """The settings of a field."""


def computed_field(function: Any) -> Any:
    """A property that is a field."""
    return function


def field_validator(*_fields: str) -> Callable[[Any], Any]:
    """A method that validates fields."""
    return lambda function: function


def field_serializer(*_fields: str) -> Callable[[Any], Any]:
    """A method that serializes fields."""
    return lambda function: function
