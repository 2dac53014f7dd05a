"""In the place of typing_extensions, which takes 6 MB of memory: what libraries import of it.

Python's own names, from 3.11 on, and of newer ones what annotations and decorators need.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import (
    Any,
    Never,
    NotRequired,
    Required,
    Self,
    Unpack,
    assert_never,
    get_type_hints,
)

__all__ = [
    "Never",
    "NotRequired",
    "Required",
    "Self",
    "TypeIs",
    "TypeVar",
    "TypeVarTuple",
    "Unpack",
    "assert_never",
    "deprecated",
    "get_type_hints",
    "override",
    "sentinel",
]

TypeIs = typing.TypeGuard


def TypeVar(*arguments: Any, default: object = None, **settings: Any) -> typing.TypeVar:  # noqa: N802
    """A type variable (PEP 696), whose default matters to type checkers only."""
    return typing.TypeVar(*arguments, **settings)


def TypeVarTuple(name: str, *, default: object = None) -> typing.TypeVarTuple:  # noqa: N802
    """Type variables, whose default matters to type checkers only."""
    return typing.TypeVarTuple(name)


def override(method: Any) -> Any:
    """A method that overrides another (PEP 698)."""
    return method


def deprecated(_message: str, **_settings: object) -> Callable[[Any], Any]:
    """A function that should not be called (PEP 702), without the warning."""
    return lambda function: function


def sentinel(name: str) -> object:
    """A value that is compared by identity (PEP 661)."""
    return type(name, (), {"__repr__": lambda _self: name})()
