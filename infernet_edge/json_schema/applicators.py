"""The keywords of JSON Schema that apply other schemas (draft 2020-12, "Core", 10 and 11).

Each becomes a function that checks a value, as in keywords.py. What they apply are nodes: compiled
schemas, which are called in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from infernet_edge.json_schema.faults import Fault, counted, listed
from infernet_edge.json_schema.keywords import NAMES_AT_ONCE, Check, Spend, kind_of
from infernet_edge.json_schema.patterns import Pattern

_MERGED: Final = 4  # alternatives whose expectations are all said


def all_check(nodes: Sequence[Check]) -> Check:
    """`allOf`."""

    def check(value: object, spend: Spend) -> Fault | None:
        for node in nodes:
            if (fault := node(value, spend)) is not None:
                return fault
        return None

    return check


def any_check(nodes: Sequence[Check]) -> Check:
    """`anyOf`."""

    def check(value: object, spend: Spend) -> Fault | None:
        faults = []
        for node in nodes:
            if (fault := node(value, spend)) is None:
                return None
            faults.append(fault)
        return _most_helpful(faults)

    return check


def one_check(nodes: Sequence[Check]) -> Check:
    """`oneOf`."""

    def check(value: object, spend: Spend) -> Fault | None:
        faults = [fault for node in nodes if (fault := node(value, spend)) is not None]
        fitting = len(nodes) - len(faults)
        if fitting == 1:
            return None
        if not fitting:
            return _most_helpful(faults)
        return Fault((), "what fits one alternative of its schema", f"what fits {fitting} of them")

    return check


def not_check(node: Check) -> Check:
    """`not`."""

    def check(value: object, spend: Spend) -> Fault | None:
        if node(value, spend) is None:
            return Fault((), "what its schema does not exclude (not)", kind_of(value))
        return None

    return check


def if_check(condition: Check, then: Check | None, otherwise: Check | None) -> Check:
    """`if` with `then` and `else`."""

    def check(value: object, spend: Spend) -> Fault | None:
        chosen = then if condition(value, spend) is None else otherwise
        return None if chosen is None else chosen(value, spend)

    return check


def items_check(first: Sequence[Check], rest: Check | None, *, rest_is_false: bool) -> Check:
    """`prefixItems` and `items`; those of draft 7: lists in `items`, and `additionalItems`."""

    def check(value: object, spend: Spend) -> Fault | None:
        if not isinstance(value, list):
            return None
        for index, (node, item) in enumerate(zip(first, value, strict=False)):
            if (fault := node(item, spend)) is not None:
                return fault.below(index)
        if rest is None or len(value) <= len(first):
            return None
        if rest_is_false:
            return Fault((), f"at most {counted(len(first), 'item')}", str(len(value)))
        for index in range(len(first), len(value)):
            if (fault := rest(value[index], spend)) is not None:
                return fault.below(index)
        return None

    return check


def contains_check(node: Check, least: float, most: float | None) -> Check:
    """`contains` with `minContains` and `maxContains`."""

    def check(value: object, spend: Spend) -> Fault | None:
        if not isinstance(value, list):
            return None
        found = sum(node(item, spend) is None for item in value)
        if found < least:
            return Fault((), f"at least {counted(int(least), 'item')} as in `contains`", str(found))
        if most is not None and found > most:
            return Fault((), f"at most {counted(int(most), 'item')} as in `contains`", str(found))
        return None

    return check


def properties_check(
    named: Mapping[str, Check],
    patterns: Sequence[tuple[Pattern, Check]],
    rest: Check | None,
    *,
    rest_is_false: bool,
) -> Check:
    """`properties`, `patternProperties` and `additionalProperties`."""
    expected = f"one of the fields {listed(named, 'and')}" if named else "no field of this name"

    def check(value: object, spend: Spend) -> Fault | None:
        if not isinstance(value, dict):
            return None
        if not patterns and rest is None:  # only what is there of those with names
            spend(len(named) // NAMES_AT_ONCE)
            for name, each in named.items():
                if name in value and (fault := each(value[name], spend)) is not None:
                    return fault.below(name)
            return None
        for name, item in value.items():
            node = named.get(name)
            if node is not None and (fault := node(item, spend)) is not None:
                return fault.below(name)
            matching = [each for pattern, each in patterns if pattern.found(name, spend)]
            for each in matching:
                if (fault := each(item, spend)) is not None:
                    return fault.below(name)
            if rest is None or node is not None or matching:
                continue
            if rest_is_false:
                return Fault((name,), expected, "a field that is unknown")
            if (fault := rest(item, spend)) is not None:
                return fault.below(name)
        return None

    return check


def names_check(node: Check) -> Check:
    """`propertyNames`."""

    def check(value: object, spend: Spend) -> Fault | None:
        if isinstance(value, dict):
            for name in value:
                if (fault := node(name, spend)) is not None:
                    return Fault((name,), f"a name that is {fault.expected}", fault.found)
        return None

    return check


def dependent_check(nodes: Mapping[str, Check]) -> Check:
    """`dependentSchemas`."""

    def check(value: object, spend: Spend) -> Fault | None:
        if isinstance(value, dict):
            spend(len(nodes) // NAMES_AT_ONCE)
            for name, node in nodes.items():
                if name in value and (fault := node(value, spend)) is not None:
                    return fault
        return None

    return check


def _most_helpful(faults: Sequence[Fault]) -> Fault:
    """Of the faults of alternatives, that which got farthest; of equal ones, what all expect."""
    depth = max(len(fault.path) for fault in faults)
    deepest = [fault for fault in faults if len(fault.path) == depth]
    first = deepest[0]
    expected = list(dict.fromkeys(each.expected for each in deepest if each.path == first.path))
    if len(expected) > _MERGED:
        expected = [*expected[:_MERGED], "one of its other alternatives"]
    return first._replace(expected=", or ".join(expected) if depth else " or ".join(expected))
