"""The types of a Struct's fields, and what is in their annotations."""

from __future__ import annotations

import functools
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct


@functools.cache
def field_types(target: type[Struct]) -> dict[str, Any]:
    """The fields of a Struct with their types, annotations included."""
    return get_type_hints(target, include_extras=True)


def unwrap(hint: Any) -> tuple[Any, dict[str, Any]]:
    """The type below Annotated and `| None`, and the merged `extra` of its Meta notes."""
    base, notes = _unwrapped(hint)
    extra: dict[str, Any] = {}
    for note in notes:
        extra.update(note.extra or {})
    return base, extra


def bounds(hint: Any) -> tuple[float | None, float | None]:
    """The inclusive minimum and maximum of a number; None for one that it does not have."""
    _, notes = _unwrapped(hint)
    minimum = next((note.ge for note in notes if note.ge is not None), None)
    maximum = next((note.le for note in notes if note.le is not None), None)
    return minimum, maximum


def struct_of(hint: Any) -> type[Struct] | None:
    """The Struct that a field holds; None when it holds none."""
    base = unwrap(hint)[0]
    return base if isinstance(base, type) and issubclass(base, Struct) else None


def table_of(hint: Any) -> type[Struct] | None:
    """The Struct that a field holds, or may hold instead of a simpler value; None for none."""
    base = unwrap(hint)[0]
    choices = get_args(base) if get_origin(base) in (Union, types.UnionType) else (base,)
    return next((each for each in choices if struct_of(each) is not None), None)


def item_struct_of(hint: Any) -> type[Struct] | None:
    """The Struct of the items, if a field holds a list of Structs."""
    base = unwrap(hint)[0]
    return struct_of(get_args(base)[0]) if get_origin(base) is list else None


def _unwrapped(hint: Any) -> tuple[Any, list[Meta]]:
    """The type below Annotated and `| None`, and the Meta notes around it, the outer ones first."""
    notes: list[Meta] = []
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            hint, *found = get_args(hint)
            notes += [note for note in found if isinstance(note, Meta)]
        elif origin in (Union, types.UnionType):
            members = [member for member in get_args(hint) if member is not type(None)]
            if len(members) != 1:
                return hint, notes
            hint = members[0]
        else:
            return hint, notes
