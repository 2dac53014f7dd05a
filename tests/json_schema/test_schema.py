"""JSON Schemas: which values fit, what is said of others, which schemas are refused."""

from __future__ import annotations

import json
import math
import random
import time
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from infernet_edge.json_schema.schema import BadSchema, Schema, TooMuchWork

SUITE = Path(__file__).parent / "suite"
"""Of https://github.com/json-schema-org/JSON-Schema-Test-Suite, as jsonschema 4.26.0 ships it,
without the files for what is not supported."""

DRAFTS = {
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
OTHER_DOCUMENTS = "a reference into this schema"
UNSUPPORTED = "a keyword that is not supported"
WORK = 1_000_000


def fault_of(schema: Any, value: Any, work: int = WORK) -> str:
    """What is said of a value, as in an answer of the API; "" when it fits."""
    fault = Schema(schema).check(value, work)
    if fault is None:
        return ""
    return f"{fault.place('data')}: expected {fault.expected}, found {fault.found}"


def problem_of(schema: Any) -> str:
    with pytest.raises(BadSchema) as caught:
        Schema(schema)
    return str(caught.value)


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_official_suite(draft: str) -> None:
    checked = refused = 0
    for line in (SUITE / f"{draft}.jsonl").read_text().splitlines():
        group = json.loads(line)
        schema = group["schema"]
        if isinstance(schema, dict):
            schema = {"$schema": DRAFTS[draft]} | schema
        try:
            compiled = Schema(schema)
        except BadSchema as error:
            refused += 1
            if OTHER_DOCUMENTS in str(error) or UNSUPPORTED in str(error):
                continue
            raise
        for test in group["tests"]:
            checked += 1
            fits = compiled.check(test["data"], WORK) is None
            assert fits == test["valid"], (group["file"], group["description"], test)
    assert checked > 750
    assert refused < 6


# The same as the reference implementation says, for schemas and values that are made by chance


def values(chance: random.Random, depth: int = 0) -> Any:
    simple: list[Any] = [None, True, False, 0, 1, 1.0, -1, 2.5, 10**30, "", "a", "ab", "é", "1"]
    kind = chance.random()
    if depth > 2 or kind < 0.5:
        return chance.choice(simple)
    if kind < 0.75:
        return [values(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice("abc"): values(chance, depth + 1) for _ in range(chance.randrange(4))}


def schemas(chance: random.Random, depth: int = 0) -> Any:
    if depth and chance.random() < 0.1:
        return chance.random() < 0.7
    below = [] if depth > 2 else ["properties", "items", "anyOf", "oneOf", "allOf", "not", "if"]
    keywords = "type enum const minimum exclusiveMaximum multipleOf maxLength minItems"
    keywords += " maxProperties uniqueItems required pattern propertyNames contains"
    keywords += " additionalProperties dependentRequired"
    names = chance.sample([*keywords.split(), *below, *below], chance.randrange(1, 4))

    def schema() -> Any:
        return schemas(chance, depth + 1)

    types = ["null", "boolean", "integer", "number", "string", "array", "object"]
    made = {
        "type": lambda: chance.choice([chance.choice(types), chance.sample(types, 3)]),
        "enum": lambda: [values(chance, 1) for _ in range(3)],
        "const": lambda: values(chance, 1),
        "minimum": lambda: chance.choice([0, 1, 1.5]),
        "exclusiveMaximum": lambda: chance.choice([1, 2, 2.5]),
        "multipleOf": lambda: chance.choice([1, 2, 0.5]),
        "maxLength": lambda: 1,
        "minItems": lambda: 2,
        "maxProperties": lambda: 1,
        "uniqueItems": lambda: True,
        "required": lambda: chance.sample(["a", "b", "c"], 2),
        "pattern": lambda: chance.choice(["^a", "b$", "[^a]", "^.?$"]),
        "propertyNames": schema,
        "contains": schema,
        "additionalProperties": schema,
        "dependentRequired": lambda: {"a": ["b"]},
        "properties": lambda: {name: schema() for name in chance.sample(["a", "b", "c"], 2)},
        "items": schema,
        "anyOf": lambda: [schema(), schema()],
        "oneOf": lambda: [schema(), schema()],
        "allOf": lambda: [schema(), schema()],
        "not": schema,
        "if": schema,
    }
    found = {name: made[name]() for name in names}
    if "if" in found:
        found |= {"then": schema(), "else": schema()}
    return found


@pytest.mark.parametrize("seed", range(4))
def test_what_the_reference_implementation_says(seed: int) -> None:
    chance = random.Random(seed)
    both = set()
    for _ in range(300):
        schema = schemas(chance)
        ours, theirs = Schema(schema), jsonschema.Draft202012Validator(schema)
        for _ in range(8):
            value = values(chance)
            fits = ours.check(value, WORK) is None
            assert fits == theirs.is_valid(value), (schema, value)
            both.add(fits)
    assert both == {True, False}


# What is said


PROMPT = {
    "type": "object",
    "required": ["prompt", "mode"],
    "properties": {
        "prompt": {"type": "string", "minLength": 1},
        "mode": {"enum": ["fast", "good"]},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "seed": {"type": ["integer", "null"]},
        "messages": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/message"}},
        "tag": {"type": "string", "pattern": "^[a-z]+$"},
    },
    "additionalProperties": False,
    "$defs": {
        "message": {
            "required": ["role"],
            "properties": {"role": {"enum": ["user", "system"]}, "2nd part": {"type": "string"}},
        }
    },
}
GOOD = {"prompt": "hello", "mode": "fast"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (GOOD, ""),
        (5, "data: expected an object, found 5"),
        ({}, 'data.prompt: expected a value (and for "mode"), found nothing'),
        ({"prompt": "a"}, "data.mode: expected a value, found nothing"),
        (GOOD | {"prompt": 3}, "data.prompt: expected text, found 3"),
        (GOOD | {"prompt": ""}, "data.prompt: expected at least 1 character, found 0"),
        (GOOD | {"mode": "x"}, 'data.mode: expected "fast" or "good", found the text "x"'),
        (GOOD | {"mode": ["fast"]}, 'data.mode: expected "fast" or "good", found a list'),
        (GOOD | {"temperature": 3}, "data.temperature: expected at most 2, found 3"),
        (GOOD | {"temperature": "1"}, 'data.temperature: expected a number, found the text "1"'),
        (GOOD | {"temperature": True}, "data.temperature: expected a number, found true"),
        (GOOD | {"seed": 1.5}, "data.seed: expected a whole number or null, found 1.5"),
        (GOOD | {"messages": []}, "data.messages: expected at least 1 item, found 0"),
        (
            GOOD | {"messages": [{"role": "user"}, {"role": "boss"}]},
            'data.messages[1].role: expected "user" or "system", found the text "boss"',
        ),
        (
            GOOD | {"messages": [{"role": "user", "2nd part": None}]},
            'data.messages[0]["2nd part"]: expected text, found null',
        ),
        (GOOD | {"tag": "A"}, 'data.tag: expected text that matches "^[a-z]+$", found "A"'),
        (
            {"promt": "a"},
            'data.promt: expected one of the fields "prompt", "mode", "temperature", "seed",'
            ' "messages" and "tag", found a field that is unknown',
        ),
    ],
)
def test_what_is_said_of_a_value(value: Any, said: str) -> None:
    assert fault_of(PROMPT, value) == said


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1, "expected text or null, found 1"),
        (
            {"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "string"}}}]},
            {"a": 1},
            "data.a: expected text, found 1",
        ),
        ({"oneOf": [{"minimum": 1}, {"minimum": 2}]}, 3, "found what fits 2 of them"),
        ({"not": {"type": "null"}}, None, "expected what its schema does not exclude (not)"),
        ({"uniqueItems": True}, [1, 2, 1], "data[2]: expected items that all differ, found the"),
        ({"multipleOf": 0.1}, 0.25, "expected a multiple of 0.1, found 0.25"),
        ({"prefixItems": [True], "items": False}, [1, 2], "expected at most 1 item, found 2"),
        ({"contains": {"const": 1}}, [2], "expected at least 1 item as in `contains`, found 0"),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, "expected a name that is at most 1"),
        (
            {"dependentRequired": {"a": ["b"]}},
            {"a": 1},
            'data.b: expected a value, as there is "a"',
        ),
        ({"properties": {"a": False}}, {"a": 1}, "data.a: expected nothing, found 1"),
        ({"type": "string"}, 10**100, "found a whole number of 333 bits"),
        ({"type": "number"}, "x" * 1000, "found the text"),
        ({"type": "number"}, "\x1b[31m\u202e", r'found the text "\u001b[31m\u202e"'),
    ],
)
def test_what_is_said_of_other_keywords(schema: Any, value: Any, said: str) -> None:
    found = fault_of(schema, value)
    assert said in found
    assert len(found) < 200


def test_the_place_is_a_json_pointer_too() -> None:
    fault = Schema({"properties": {"a/b~": {"items": {"type": "null"}}}}).check({"a/b~": [0]}, WORK)
    assert fault is not None
    assert fault.pointer == "/a~1b~0/0"


# Schemas that are refused


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ([], "found a list, expected an object"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, '/$schema: found "http://json'),
        ({"type": "strng"}, '/type: found "strng", expected one of "null", "boolean"'),
        ({"type": ["string", 1]}, "/type: found a list, expected one of"),
        ({"properties": []}, "/properties: found a list, expected an object with schemas"),
        ({"properties": {"a/b": {"enum": []}}}, "/properties/a~1b/enum: found a list, expected a"),
        ({"properties": {"a": 5}}, "/properties/a: found 5, expected a schema"),
        ({"required": "a"}, '/required: found "a", expected a list of names'),
        ({"minimum": "1"}, '/minimum: found "1", expected a number'),
        ({"multipleOf": 0}, "/multipleOf: found 0, expected a number above 0"),
        ({"maxLength": -1}, "/maxLength: found -1, expected a whole number from 0"),
        ({"minContains": "a", "contains": True}, '/minContains: found "a", expected a whole'),
        ({"uniqueItems": 1}, "/uniqueItems: found 1, expected true or false"),
        ({"pattern": "("}, '/pattern: found "(" ("(" without ")"'),
        ({"pattern": "(?=a)"}, "expected a regular expression without look-around"),
        ({"patternProperties": {"[": {}}}, '/patternProperties: found "["'),
        ({"anyOf": []}, "/anyOf: found a list, expected a list of schemas"),
        ({"items": [{}]}, "/items: found a list, expected a schema"),
        ({"$ref": "https://host.example/a.json"}, "others are never fetched"),
        ({"$ref": "file:///etc/passwd"}, "others are never fetched"),
        ({"$ref": "other.json"}, "others are never fetched"),
        ({"$ref": "#/$defs/a"}, '/$ref: found "#/$defs/a", which is not there'),
        ({"$ref": "#"}, "found a schema that applies itself to the same value"),
        (
            {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {}]}}, "$ref": "#/$defs/a"},
            "found a schema that applies itself to the same value",
        ),
        ({"unevaluatedProperties": False}, "/unevaluatedProperties: found a keyword that is not"),
        ({"$dynamicRef": "#a"}, "/$dynamicRef: found a keyword that is not supported"),
        ({"description": "x" * 70_000}, "expected at most 65536 bytes"),
        ({"maxItems": math.inf}, "/maxItems: found inf, expected a value that JSON has"),
        ({"multipleOf": math.nan}, "/multipleOf: found nan, expected a value that JSON has"),
        ({"minContains": math.inf, "contains": True}, "/minContains: found inf, expected a value"),
        ({"items": {"enum": [1, date(2026, 1, 2)]}}, "/items/enum/1: found 2026-01-02, expected"),
        ({"const": {"a/b": [math.nan]}}, "/const/a~1b/0: found nan, expected a value that JSON"),
        ({"allOf": [{}], "$ref": "#/allOf/²"}, "which is not there"),
        ({"allOf": [{}], "$ref": "#/allOf/" + "0" * 5000}, "which is not there"),
        ({"$id": "http://[x", "$ref": "#"}, '/$id: found "http://[x", expected a URI'),
        ({"$ref": "http://[x"}, "expected a URI"),
    ],
)
def test_schemas_that_are_refused(schema: Any, problem: str) -> None:
    assert problem in problem_of(schema)


def deep(depth: int) -> Any:
    schema: Any = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def test_schemas_in_schemas_have_a_limit() -> None:
    assert Schema(deep(90)).check([[]], WORK) is None
    assert "expected fewer" in problem_of(deep(200))
    assert problem_of(deep(5000))


# Work has a bound


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


TWICE = {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}
"""Applied to each level twice, so 2^depth times."""


def test_a_schema_that_multiplies_the_work() -> None:
    assert Schema(TWICE).check(nested(8), WORK) is None
    begin = time.thread_time()
    with pytest.raises(TooMuchWork):
        Schema(TWICE).check(nested(60), 100_000)
    assert time.thread_time() - begin < 2


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"uniqueItems": True}, [{"a": number} for number in range(20_000)]),
        # Whole numbers whose hashes are equal in Python.
        ({"uniqueItems": True}, [number * (2**61 - 1) for number in range(20_000)]),
        ({"items": {"pattern": "^(a+)+$"}}, ["a" * 5000] * 4),
        ({"pattern": "(x+x+)+y"}, "x" * 20_000),
        ({"enum": list(range(1000))}, [1] * 100_000),
    ],
    ids=["objects", "equal hashes", "repeats", "text", "list"],
)
def test_values_that_are_hard_to_check(schema: Any, value: Any) -> None:
    begin = time.thread_time()
    Schema(schema).check(value, WORK)
    assert time.thread_time() - begin < 2


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^a*$"}, "a" * 200_000),
        (
            {"patternProperties": {f"^a{n}": {} for n in range(50)}},
            {f"{n}": 1 for n in range(300)},
        ),
        ({"contains": {"required": [f"n{n}" for n in range(300)]}}, [{}] * 500),
        ({"not": {"contains": {"required": ["a"] * 9999}}}, [{"a": 1}] * 50),
        ({"items": {"properties": {f"n{n}": {} for n in range(500)}}}, [{}] * 500),
        ({"items": {"dependentRequired": {f"n{n}": [] for n in range(500)}}}, [{}] * 500),
        ({"items": {"dependentSchemas": {f"n{n}": {} for n in range(500)}}}, [{}] * 500),
        ({"items": {"multipleOf": 0.01}}, [1.5] * 3000),
    ],
    ids=["text", "names", "said", "required", "properties", "needed", "schemas", "fractions"],
)
def test_work_within_a_schema_is_counted(schema: Any, value: Any) -> None:
    """It takes about as long as 10,000 schemas that are applied."""
    Schema(schema).check(value, WORK)
    with pytest.raises(TooMuchWork):
        Schema(schema).check(value, 10_000)


def test_values_that_are_nested_deeply() -> None:
    schema = {"properties": {"a": {"$ref": "#"}}}
    assert fault_of(schema, nested(100)) == ""
    assert "expected data that is nested less deeply" in fault_of(schema, nested(5000))
