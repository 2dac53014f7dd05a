"""A validator for the part of JSON Schema (draft 2020-12) that the OpenAPI document uses.

It refuses keywords that it does not know, so that nothing goes unchecked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_SAYS_NOTHING = {"title", "description", "default", "format"}
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}

Schema = Mapping[str, Any]


class Validator:
    """Checks values against schemas whose references point into `components`."""

    def __init__(self, components: Mapping[str, Schema]) -> None:
        self._components = components
        self._checks: dict[str, Callable[[Any, Any, Schema, str], Iterator[str]]] = {
            "$ref": self._reference,
            "type": self._type,
            "enum": self._enum,
            "const": lambda value, known, schema, at: self._enum(value, [known], schema, at),
            "anyOf": self._any_of,
            "properties": self._properties,
            "required": self._required,
            "additionalProperties": self._additional,
            "items": self._items,
            "minLength": lambda value, least, schema, at: self._length(value, least, None, at),
            "maxLength": lambda value, most, schema, at: self._length(value, 0, most, at),
            "discriminator": lambda *arguments: iter(()),
        }

    def problems(self, value: Any, schema: Schema, at: str = "$") -> list[str]:
        """All that is wrong; empty when the value is as the schema says."""
        found: list[str] = []
        for keyword, said in schema.items():
            if keyword in _SAYS_NOTHING:
                continue
            assert keyword in self._checks, f"{keyword} at {at} is not known here"
            found += self._checks[keyword](value, said, schema, at)
        return found

    def _reference(self, value: Any, reference: str, schema: Schema, at: str) -> Iterator[str]:
        name = reference.removeprefix("#/components/schemas/")
        yield from self.problems(value, self._components[name], at)

    def _type(self, value: Any, name: Any, schema: Schema, at: str) -> Iterator[str]:
        names = name if isinstance(name, list) else [name]
        fits = any(isinstance(value, _TYPES[one]) for one in names)
        if isinstance(value, bool) and "boolean" not in names:
            fits = False
        if not fits:
            yield f"{at}: {value!r} is no {name}"

    def _enum(self, value: Any, known: list[Any], schema: Schema, at: str) -> Iterator[str]:
        if value not in known:
            yield f"{at}: {value!r} is none of {known}"

    def _any_of(self, value: Any, choices: list[Schema], schema: Schema, at: str) -> Iterator[str]:
        reasons = [self.problems(value, choice, at) for choice in choices]
        if all(reasons):
            yield f"{at}: fits none of {len(choices)}: {reasons}"

    def _properties(self, value: Any, known: Schema, schema: Schema, at: str) -> Iterator[str]:
        for name, below in known.items():
            if isinstance(value, dict) and name in value:
                yield from self.problems(value[name], below, f"{at}.{name}")

    def _required(self, value: Any, names: list[str], schema: Schema, at: str) -> Iterator[str]:
        if isinstance(value, dict):
            yield from (f"{at}.{name}: missing" for name in names if name not in value)

    def _additional(self, value: Any, below: Any, schema: Schema, at: str) -> Iterator[str]:
        others = set(value if isinstance(value, dict) else ()) - set(schema.get("properties", ()))
        if below is False:
            yield from (f"{at}.{name}: not known" for name in others)
        elif isinstance(below, dict):
            for name in others:
                yield from self.problems(value[name], below, f"{at}.{name}")

    def _items(self, value: Any, below: Schema, schema: Schema, at: str) -> Iterator[str]:
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from self.problems(item, below, f"{at}[{number}]")

    def _length(self, value: Any, least: int, most: int | None, at: str) -> Iterator[str]:
        if isinstance(value, str) and not least <= len(value) <= (most or len(value)):
            yield f"{at}: has {len(value)} characters"
