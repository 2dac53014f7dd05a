"""JSON Schemas: read once, with all errors in them, then applied to values with bounded work.

Drafts 2020-12 and 7, without what needs other documents or the order of evaluation: `$ref` leads
only into the schema itself, and nothing is ever fetched; `$dynamicRef`, `unevaluatedProperties` and
`unevaluatedItems` are refused. `format` is a note for people, as the drafts have it by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import msgspec

from infernet_edge.json_schema import applicators
from infernet_edge.json_schema.faults import Fault, quoted
from infernet_edge.json_schema.keywords import (
    SIMPLE,
    BadKeyword,
    Check,
    Spend,
    compiled,
    dependent_required_check,
    is_number,
    required_check,
)
from infernet_edge.json_schema.values import escaped, foreign_value

MAX_SCHEMA_BYTES: Final = 64 * 2**10
"""Bytes of a schema, as JSON."""
_MAX_DEPTH: Final = 100  # schemas in schemas

_2020: Final = "https://json-schema.org/draft/2020-12/schema"
_7: Final = "http://json-schema.org/draft-07/schema"
_UNSUPPORTED: Final = {
    "$dynamicRef": "$ref",
    "$recursiveRef": "$ref",
    "unevaluatedProperties": "additionalProperties",
    "unevaluatedItems": "items",
}
# Where schemas are, by keyword: one, lists of them, and objects of them. Draft 7 has `items` as a
# list and `dependencies`, in which lists of names stand beside schemas.
_ONE: Final = frozenset(
    {"additionalItems", "additionalProperties", "contains", "else", "if", "items", "not"}
    | {"propertyNames", "then", "contentSchema"}
)
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_OBJECTS: Final = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties", "dependencies"}
)
_IN_PLACE: Final = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"}
)


# Those that only describe, or that belong to another keyword; x-… is for everybody's own ones.
_OTHERS: Final = frozenset(
    {"$anchor", "$comment", "$dynamicAnchor", "$id", "$ref", "$schema", "$vocabulary", "default"}
    | {"contentEncoding", "contentMediaType", "dependentRequired", "deprecated", "description"}
    | {"examples", "format", "maxContains", "minContains", "readOnly", "required", "title"}
    | {"writeOnly"}
)


class SchemaProblem(NamedTuple):
    """An error in a schema; `place` is a JSON pointer into it, "" for the schema itself."""

    place: str
    found: str
    expected: str


class BadSchema(ValueError):
    """A schema that cannot be used."""

    def __init__(self, problem: SchemaProblem) -> None:
        super().__init__(f"{problem.place}: found {problem.found}, expected {problem.expected}")
        self.problem = problem


class TooMuchWork(Exception):
    """The work that a check may do is done, and the value is not checked to its end."""


class Schema:
    """A compiled schema; `check` applies it to a decoded JSON value."""

    def __init__(self, document: Any) -> None:
        """Raises BadSchema with the first error."""
        self._root = _Compiler(document).compile()

    def check(self, value: Any, max_work: int) -> Fault | None:
        """The first fault of a value; None when it fits.

        `max_work`: how many schemas, and states of patterns, may be applied, about 1 µs each.
        Raises TooMuchWork.
        """
        left = max_work

        def spend(work: int) -> None:
            nonlocal left
            left -= work
            if left < 0:
                raise TooMuchWork

        try:
            return self._root(value, spend)
        except RecursionError:
            return Fault((), "data that is nested less deeply", "too many lists and objects")


class _Node:
    """One schema of a document, which calls its checks in turn."""

    __slots__ = ("checks", "is_false", "place")

    def __init__(self, place: str) -> None:
        self.place = place
        self.checks: list[Check] = []
        self.is_false = False

    def __call__(self, value: Any, spend: Spend) -> Fault | None:
        spend(1)
        for check in self.checks:
            if (fault := check(value, spend)) is not None:
                return fault
        return None


class _Compiler:
    """Makes the nodes of one document."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._nodes: dict[int, _Node] = {}  # by the identity of their schemas
        self._places: dict[int, tuple[str, str]] = {}  # JSON pointer and base URI of schemas
        self._targets: dict[str, Any] = {}  # URIs -> schemas
        self._in_place: dict[int, list[Any]] = {}  # which are applied to the same value
        self._is_7 = False

    def compile(self) -> Check:
        """The node of the document itself."""
        document = self._document
        if not isinstance(document, (dict, bool)):
            raise _bad("", quoted(document), "an object, or true or false")
        try:
            size = len(msgspec.json.encode(document))
        except RecursionError:
            raise _bad("", "a schema that is nested too deeply", "less") from None
        if size > MAX_SCHEMA_BYTES:
            raise _bad("", f"{size} bytes", f"at most {MAX_SCHEMA_BYTES} bytes")
        if (foreign := foreign_value(document)) is not None:
            raise _bad(foreign[0], str(foreign[1]), "a value that JSON has")
        if isinstance(document, dict):
            draft = document.get("$schema", _2020)
            if not isinstance(draft, str) or draft.rstrip("#") not in (_2020, _7):
                raise _bad("/$schema", quoted(draft), f"{quoted(_2020)} or {quoted(_7 + '#')}")
            self._is_7 = draft.rstrip("#") == _7
        self._register(document, "", "", 0)
        node = self._node(document)
        self._check_circles()
        return node

    # Where the schemas are.

    def _register(self, schema: Any, place: str, base: str, depth: int) -> None:
        """Note a schema and those in it by their places and URIs."""
        if depth > _MAX_DEPTH:
            raise _bad(place, f"more than {_MAX_DEPTH} schemas in schemas", "fewer")
        if isinstance(schema, dict):
            identifier = schema.get("$id")
            if isinstance(identifier, str) and not (self._is_7 and "$ref" in schema):
                if self._is_7 and identifier.startswith("#"):
                    self._targets[base + identifier] = schema
                else:
                    base = urldefrag(_joined(base, identifier, f"{place}/$id")).url
                    self._targets[base] = schema
            anchors = () if self._is_7 else (schema.get("$anchor"), schema.get("$dynamicAnchor"))
            for anchor in anchors:
                if isinstance(anchor, str):
                    self._targets[f"{base}#{anchor}"] = schema
        if not place:
            self._targets.setdefault(base, schema)
            self._targets.setdefault("", schema)
        self._places[id(schema)] = place, base
        for step, each in _subschemas(schema):
            self._register(each, place + step, base, depth + 1)

    def _resolve(self, reference: Any, place: str, base: str) -> Any:
        """The schema that a `$ref` leads to."""
        inside = "a reference into this schema, such as #/$defs/name; others are never fetched"
        if not isinstance(reference, str):
            raise _bad(place, quoted(reference), inside)
        uri = base + reference if reference.startswith("#") else _joined(base, reference, place)
        if uri in self._targets:
            return self._targets[uri]
        resource, fragment = urldefrag(uri)
        found = self._targets.get(resource)
        if resource not in self._targets or (fragment and not fragment.startswith("/")):
            raise _bad(place, quoted(reference), inside)
        for part in unquote(fragment).split("/")[1:]:
            step = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and step in found:
                found = found[step]
            elif isinstance(found, list) and step in map(str, range(len(found))):
                found = found[int(step)]
            else:
                raise _bad(place, f"{quoted(reference)}, which is not there", inside)
        if not isinstance(found, (dict, bool)):
            raise _bad(place, f"{quoted(reference)}, which is no schema", inside)
        if id(found) not in self._places:  # below a keyword of which nothing is known
            self._register(found, f"#{fragment}", resource, 0)
        return found

    def _check_circles(self) -> None:
        """Refuse schemas that lead back to themselves with the same value, without end."""
        done: set[int] = set()
        for start in list(self._in_place):
            path: dict[int, Iterator[Any]] = {}
            following: Any = start
            while True:
                if following in path:
                    place = self._places[following][0]
                    raise _bad(place, "a schema that applies itself to the same value", "another")
                if following is not None and following not in done:
                    path[following] = iter(self._in_place.get(following, ()))
                if not path:
                    break
                last = next(reversed(path))
                following = next(path[last], None)
                if following is None:
                    del path[last]
                    done.add(last)

    # What they check.

    def _node(self, schema: Any, place: str = "") -> _Node:
        """The node of a schema; it may be asked for again while it is made."""
        if isinstance(schema, bool):  # those have no identity
            node = _Node(place)
            if not schema:
                node.is_false = True
                node.checks.append(lambda value, _: Fault((), "nothing", quoted(value)))
            return node
        if not isinstance(schema, dict):
            raise _bad(place, quoted(schema), "a schema: an object, or true or false")
        known = self._nodes.get(id(schema))
        if known is not None:
            return known
        place, base = self._places[id(schema)]
        node = self._nodes[id(schema)] = _Node(place)
        self._in_place[id(schema)] = []
        if "$ref" in schema:
            node.checks.append(self._reference(schema, place, base))
            if self._is_7:  # what stands beside it is ignored
                return node
        for keyword, instead in _UNSUPPORTED.items():
            if keyword in schema and not self._is_7:
                found = "a keyword that is not supported"
                raise _bad(f"{place}/{keyword}", found, f"a schema without it, e.g. with {instead}")
        for keyword, make in SIMPLE.items():
            if keyword in schema:
                self._add(node, f"{place}/{keyword}", schema[keyword], make)
        self._add_applicators(node, schema)
        return node

    def _add(
        self, node: _Node, place: str, value: Any, make: Callable[[Any], Check | None]
    ) -> None:
        try:
            check = make(value)
        except BadKeyword as error:
            raise _bad(place, error.found or quoted(value), error.expected) from None
        if check is not None:
            node.checks.append(check)

    def _reference(self, schema: dict[str, Any], place: str, base: str) -> Check:
        target = self._resolve(schema["$ref"], f"{place}/$ref", base)
        self._in_place[id(schema)].append(id(target))
        return self._node(target, place)

    def _one(self, schema: dict[str, Any], keyword: str) -> _Node | None:
        if keyword not in schema:
            return None
        place = self._places[id(schema)][0]
        below = schema[keyword]
        if keyword in _IN_PLACE:
            self._in_place[id(schema)].append(id(below))
        return self._node(below, f"{place}/{keyword}")

    def _many(self, schema: dict[str, Any], keyword: str) -> list[_Node]:
        below, place = schema.get(keyword, []), self._places[id(schema)][0]
        if not isinstance(below, list) or (keyword in schema and not below):
            raise _bad(f"{place}/{keyword}", quoted(below), "a list of schemas")
        if keyword in _IN_PLACE:
            self._in_place[id(schema)] += map(id, below)
        return [self._node(each, f"{place}/{keyword}/{n}") for n, each in enumerate(below)]

    def _named(self, schema: dict[str, Any], keyword: str) -> dict[str, _Node]:
        below, place = schema.get(keyword, {}), self._places[id(schema)][0]
        if not isinstance(below, dict):
            raise _bad(f"{place}/{keyword}", quoted(below), "an object with schemas")
        if keyword in _IN_PLACE:
            self._in_place[id(schema)] += map(id, below.values())
        return {
            name: self._node(each, f"{place}/{keyword}/{escaped(name)}")
            for name, each in below.items()
        }

    def _add_applicators(self, node: _Node, schema: dict[str, Any]) -> None:
        checks, place = node.checks, self._places[id(schema)][0]
        self._add_properties(node, schema)
        if "required" in schema:  # behind those: a wrong name says more than a missing one
            self._add(node, f"{place}/required", schema["required"], required_check)
        self._add_items(node, schema)
        if (names := self._one(schema, "propertyNames")) is not None:
            checks.append(applicators.names_check(names))
        for keyword, make in (
            ("allOf", applicators.all_check),
            ("anyOf", applicators.any_check),
            ("oneOf", applicators.one_check),
        ):
            if nodes := self._many(schema, keyword):
                checks.append(make(nodes))
        if (excluded := self._one(schema, "not")) is not None:
            checks.append(applicators.not_check(excluded))
        condition, then = self._one(schema, "if"), self._one(schema, "then")
        otherwise = self._one(schema, "else")
        if condition is not None:
            checks.append(applicators.if_check(condition, then, otherwise))
        if self._is_7:
            self._add_dependencies(node, schema)
            return
        if dependent := self._named(schema, "dependentSchemas"):
            checks.append(applicators.dependent_check(dependent))
        if "dependentRequired" in schema:
            where = f"{place}/dependentRequired"
            self._add(node, where, schema["dependentRequired"], dependent_required_check)

    def _add_dependencies(self, node: _Node, schema: dict[str, Any]) -> None:
        """`dependencies` of draft 7: schemas, or lists of names."""
        found = schema.get("dependencies", {})
        place = f"{self._places[id(schema)][0]}/dependencies"
        if not isinstance(found, dict):
            raise _bad(place, quoted(found), "an object")
        names = {name: each for name, each in found.items() if isinstance(each, list)}
        others = {name: each for name, each in found.items() if name not in names}
        self._add(node, place, names, dependent_required_check)
        self._in_place[id(schema)] += map(id, others.values())
        nodes = {
            name: self._node(each, f"{place}/{escaped(name)}") for name, each in others.items()
        }
        node.checks.append(applicators.dependent_check(nodes))

    def _add_properties(self, node: _Node, schema: dict[str, Any]) -> None:
        named = self._named(schema, "properties")
        patterns = []
        for source, each in self._named(schema, "patternProperties").items():
            try:
                patterns.append((compiled(source), each))
            except BadKeyword as error:
                place = f"{self._places[id(schema)][0]}/patternProperties"
                raise _bad(place, error.found, error.expected) from None
        rest = self._one(schema, "additionalProperties")
        if named or patterns or rest is not None:
            is_false = rest is not None and rest.is_false
            node.checks.append(
                applicators.properties_check(named, patterns, rest, rest_is_false=is_false)
            )

    def _add_items(self, node: _Node, schema: dict[str, Any]) -> None:
        if self._is_7:
            is_list = isinstance(schema.get("items"), list)
            first = self._many(schema, "items") if is_list and schema["items"] else []
            rest = self._one(schema, "additionalItems" if is_list else "items")
        else:
            first, rest = self._many(schema, "prefixItems"), self._one(schema, "items")
        if first or rest is not None:
            is_false = rest is not None and rest.is_false
            node.checks.append(applicators.items_check(first, rest, rest_is_false=is_false))
        contained = self._one(schema, "contains")
        if contained is None:
            return
        least, most = schema.get("minContains", 1), schema.get("maxContains")
        if self._is_7:
            least, most = 1, None
        for keyword, value in (("minContains", least), ("maxContains", most)):
            if value is not None and not (is_number(value) and value >= 0):
                place = f"{self._places[id(schema)][0]}/{keyword}"
                raise _bad(place, quoted(value), "a whole number from 0")
        node.checks.append(applicators.contains_check(contained, least, most))


def unknown_keywords(document: Any) -> Iterator[str]:
    """The places of keywords that are unknown, so that they check nothing, as JSON pointers."""
    known = _ONE | _LISTS | _OBJECTS | _OTHERS | SIMPLE.keys() | _UNSUPPORTED.keys()
    waiting = [("", document)]
    while waiting:
        place, schema = waiting.pop()
        for keyword in schema if isinstance(schema, dict) else ():
            if keyword not in known and not keyword.startswith("x-"):
                yield f"{place}/{escaped(keyword)}"
        waiting += [(place + step, each) for step, each in _subschemas(schema)]


def _bad(place: str, found: str, expected: str) -> BadSchema:
    return BadSchema(SchemaProblem(place, found, expected))


def _joined(base: str, reference: str, place: str) -> str:
    """A URI by a reference (RFC 3986, section 5)."""
    try:
        joined = urljoin(base, reference)
        urlsplit(joined)  # checks what urljoin may leave as it is
        return joined
    except ValueError:
        raise _bad(place, quoted(reference), "a URI") from None


def _subschemas(schema: Any) -> Iterator[tuple[str, Any]]:
    """The schemas right below one, each with its place."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in _ONE and isinstance(value, dict):
            yield f"/{keyword}", value
        elif keyword in _LISTS and isinstance(value, list):
            for number, each in enumerate(value):
                if isinstance(each, dict):
                    yield f"/{keyword}/{number}", each
        elif keyword in _OBJECTS and isinstance(value, dict):
            for name, each in value.items():
                if isinstance(each, dict):
                    yield f"/{keyword}/{escaped(name)}", each
