"""Try it, for a container with a JSON Schema: a form, in a real browser."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chromium import Watched
from tests.support.echo import EchoService
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("chromium form")

BIG = 2**256 - 1
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["prompt", "seed"],
    "properties": {
        "prompt": {"type": "string", "minLength": 3, "description": "What <b>to</b> continue"},
        "seed": {"$ref": "#/$defs/seed"},
        "length": {"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
        "style": {"title": "Style", "enum": ["plain", "poem", 3, None]},
        "loud": {"type": "boolean", "default": True},
        "tag": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]},
        "options": {
            "type": "object",
            "required": ["level"],
            "properties": {"level": {"type": "number"}, "more": {"properties": {"deep": {}}}},
        },
        "stop": {"type": "array", "items": {"type": "string"}},
    },
    "additionalProperties": False,
    "$defs": {"seed": {"type": "integer"}},
}
TUPLE = {"type": "object", "minProperties": 1}
EXAMPLES: dict[str, Any] = {
    "type": "object",
    "required": ["text", "style", "const", "count", "list", "inner", "either"],
    "properties": {
        "text": {"type": "string", "examples": ["hi"]},
        "style": {"enum": ["a", "b"]},
        "const": {"const": 7},
        "count": {"type": "integer", "minimum": 2},
        "list": {"type": "array", "minItems": 2, "items": {"type": "number", "default": 1}},
        "inner": {"$ref": "#/$defs/inner"},
        "either": {"anyOf": [{"type": "string", "minLength": 2}, {"type": "integer"}]},
        "more": {"type": "string"},
    },
    "examples": [{"text": "one"}, {"text": "two", "n": BIG}],
    "$defs": {
        "inner": {
            "type": "object",
            "required": ["flag"],
            "properties": {"flag": {"type": "boolean"}},
        }
    },
}
LONG = {f"field {number}": {"type": "string", "description": "A field"} for number in range(100)}
ODD = {
    "type": "object",
    "properties": {
        "constructor": {"type": "string"},
        "__proto__": {"type": "string"},
        "limit": {"enum": [BIG, 1.0], "default": BIG},
        "system": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "heat": {"anyOf": [{"type": "number", "maximum": 2}, {"type": "null"}], "default": None},
        "more": {"anyOf": [{"$ref": "#/$defs/more"}, {"type": "null"}], "default": None},
        "point": {"$ref": "#point"},
        "kind": {"enum": ["long " * 30], "title": 5, "description": ["a", 2.0]},
    },
    "additionalProperties": False,
    "$defs": {
        "more": {"type": "object", "properties": {"deep": {"type": "string"}}},
        "point": {"$anchor": "point", "type": "array"},
    },
}


@pytest.fixture(scope="module")
def node(echo: EchoService, folder: Path) -> Iterator[NodeProcess]:
    containers = [
        {"id": "writer", "url": echo.url, "input_schema": SCHEMA},
        {"id": "any", "url": echo.url},
        {"id": "other", "url": echo.url, "input_schema": TUPLE},
        {"id": "odd", "url": echo.url, "input_schema": ODD},
        {"id": "examples", "url": echo.url, "input_schema": EXAMPLES},
        {"id": "long", "url": echo.url, "input_schema": {"properties": LONG}},
    ]
    with NodeProcess({"containers": containers, "jobs": {"keep_inputs": "all"}}, folder) as node:
        yield node


def opened(page: Watched) -> Watched:
    page.open("#/try")
    page.wait("fieldset legend >> text=options")
    return page


def input_of(page: Watched) -> Any:
    return json.loads(page.page.get_by_label("Input as JSON").input_value())


def field(page: Watched, name: str) -> Any:
    return page.page.locator(".form").get_by_label(name, exact=True)


def test_the_fields_and_their_defaults(page: Watched) -> None:
    opened(page)
    shown = page.page.locator(".form label, .form legend").all_inner_texts()
    names = [text.split("\n")[0].strip() for text in shown]
    expected = ["prompt *", "seed *", "length", "Style", "loud", "tag", "options", "level *"]
    assert [name.removesuffix("What <b>to</b> continue") for name in names] == [
        *expected,
        "more",
        "stop",
    ]
    assert not page.page.get_by_label("Input as JSON").is_visible()
    assert input_of(page) == {"prompt": "", "length": 100, "loud": True}
    assert field(page, "Style").locator("option").all_inner_texts() == [
        *("", '"plain"', '"poem"', "3", "null")
    ]
    assert field(page, "length").get_attribute("max") == "500"


def test_a_job_from_the_form(page: Watched) -> None:
    opened(page)
    field(page, "prompt *").fill("The house")
    field(page, "seed *").fill(str(BIG))
    field(page, "Style").select_option("null")
    field(page, "loud").select_option("false")
    field(page, "level *").fill("0.5")
    field(page, "stop").fill('["a", "b"]')
    field(page, "length").fill("")
    text = page.page.get_by_label("Input as JSON").input_value()
    assert json.loads(text) == {
        "prompt": "The house",
        "seed": BIG,
        "style": None,
        "loud": False,
        "options": {"level": 0.5},
        "stop": ["a", "b"],
    }
    page.click("button >> text=Run")
    page.wait(".chip >> text=Finished")
    page.wait(f"text={BIG}")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("prompt *", "ab", "3 characters"),
        ("prompt *", "", "fill"),
        ("seed *", "", "fill"),
        ("seed *", "1.5", "valid value"),
        ("length", "501", "500"),
        ("stop", "[1", "Line 1"),
        ("tag", "ten letters", "At most 9 characters"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(page: Watched, name: str, text: str, said: str) -> None:
    opened(page)
    field(page, "prompt *").fill("The house")
    field(page, "seed *").fill("1")
    field(page, name).fill("")
    field(page, name).press_sequentially(text)
    page.click("button >> text=Run")
    page.until("document.activeElement.matches('.form :invalid')")
    assert said in page.page.evaluate("document.activeElement.validationMessage")
    assert not any(request.endswith("/api/jobs") for request in page.requests)
    right = {"prompt *": "abc", "stop": "[]", "tag": "\U0001f600" * 9}
    field(page, name).fill(right.get(name, "7"))
    page.click("button >> text=Run")
    page.wait(".chip >> text=Finished")


def test_the_node_has_the_last_word(page: Watched) -> None:
    opened(page)
    field(page, "prompt *").fill("The house")
    field(page, "seed *").fill("1")
    field(page, "stop").fill("[1]")
    page.click("button >> text=Run")
    page.wait("section[aria-label=Result] >> text=data.stop[0]: expected text, found 1")
    (logged,) = page.problems
    assert "status of 400" in logged
    page.problems.clear()


def test_as_json_and_back(page: Watched) -> None:
    opened(page)
    field(page, "prompt *").fill("The house")
    page.click("button >> text=As JSON")
    raw = page.page.get_by_label("Input as JSON")
    raw.fill(
        f'{{"prompt": "a\\"{{b", "seed": {BIG},'
        ' "options": {"level": 1e3, "more": {"deep": [1]}}}'
    )
    page.click("button >> text=As a form")
    assert field(page, "prompt *").input_value() == 'a"{b'
    assert field(page, "seed *").input_value() == str(BIG)
    assert field(page, "more").input_value() == '{"deep":[1]}'
    assert str(BIG) in raw.input_value()
    page.click("button >> text=As JSON")
    raw.fill('{"unknown": 1}')
    page.page.get_by_role("button", name="As a form").wait_for(state="visible")
    page.click("button >> text=As a form")
    page.wait("text=The form cannot show all of this.")
    page.page.wait_for_timeout(600)  # longer than until what is typed is checked
    assert page.page.get_by_text("The form cannot show all of this.").is_visible()
    assert raw.is_visible(), "a form has no place for it"
    assert raw.input_value() == '{"unknown": 1}'
    raw.fill('{"prompt": "b", "tag": ""}')
    page.click("button >> text=As a form")
    assert field(page, "prompt *").input_value() == "b"
    assert input_of(page)["tag"] == "", "what was given stays"


def test_other_containers(page: Watched) -> None:
    opened(page)
    choose = page.page.get_by_label("Container of step 1").select_option
    raw = page.page.get_by_label("Input as JSON")
    for container in ("any", "other"):
        choose(container)
        raw.wait_for(state="visible")
        assert raw.input_value() == "{}" or container == "other"
    choose("writer")
    page.wait("fieldset legend >> text=options")


def chosen(page: Watched, container: str) -> Watched:
    page.open(f"#/try?container={container}")
    page.wait(".form label")
    return page


def test_names_defaults_and_references_of_all_kinds(page: Watched) -> None:
    chosen(page, "odd")
    raw = page.page.get_by_label("Input as JSON").input_value()
    assert raw == f'{{"limit": {BIG}}}', "null is as good as nothing, and no digit is lost"
    assert field(page, "5").get_attribute("aria-description") == '["a",2.0]'
    field(page, "constructor").fill("a")
    field(page, "__proto__").fill("b")
    field(page, "system").fill("c")
    field(page, "heat").press_sequentially(".5")
    field(page, "deep").fill("d")
    field(page, "point").fill("[.5]".replace(".", "0."))
    page.click("button >> text=Run")
    page.wait(".chip >> text=Finished")
    written = page.page.get_by_label("Input as JSON").input_value()
    assert json.loads(written) == {
        "constructor": "a",
        "__proto__": "b",
        "limit": BIG,
        "system": "c",
        "heat": 0.5,
        "more": {"deep": "d"},
        "point": [0.5],
    }
    page.click("button >> text=As JSON")
    page.page.get_by_label("Input as JSON").fill('{"constructor": "e", "more": null}')
    page.click("button >> text=As a form")
    assert field(page, "constructor").input_value() == "e"
    assert input_of(page)["more"] is None


@pytest.mark.parametrize("width", [360, 1000, 1280])
def test_a_long_form(page: Watched, width: int) -> None:
    page.page.set_viewport_size({"width": width, "height": 800})
    chosen(page, "odd")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    chosen(page, "long")
    field(page, "field 99").fill("the last one")
    page.click("button >> text=Run")
    page.wait(".chip >> text=Finished")
    page.until(
        "(() => { const { top, bottom } = document.querySelector('[aria-label=Result] .chip')"
        ".getBoundingClientRect(); return top >= 0 && bottom <= innerHeight })()"
    )


def test_schemas_that_a_reload_changes(page: Watched, node: NodeProcess, echo: EchoService) -> None:
    opened(page)
    field(page, "prompt *").fill("kept")
    before = node.config["containers"]
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "added": {"type": "integer"}}}
    new = {"id": "new", "url": echo.url, "input_schema": {"properties": {"fresh": {}}}}
    node.config["containers"] = [{**before[0], "input_schema": schema}, *before[1:], new]
    try:
        reload(node)
        page.wait(".form label >> text=added")
        assert field(page, "prompt *").input_value() == "kept"
        page.page.get_by_label("Container of step 1").select_option("new")
        page.wait(".form label >> text=fresh")
    finally:
        node.config["containers"] = before
        reload(node)
    page.wait(".form label >> text=loud")  # the first one again: the chosen one is gone


def reload(node: NodeProcess) -> None:
    node.config_path.write_text(json.dumps(node.config))
    command = [sys.executable, "-m", "infernet_edge", "reload", "--config", str(node.config_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_samples_of_the_schema(page: Watched) -> None:
    opened(page)
    samples = page.page.get_by_label("Samples")
    samples.select_option(index=1)  # SCHEMA has no examples: what it needs, in the form
    assert input_of(page) == {"prompt": "xxx", "seed": 0, "length": 100, "loud": True}
    page.click("button >> text=As JSON")
    samples.select_option(index=1)
    assert input_of(page) == {"prompt": "xxx", "seed": 0}
    assert samples.input_value() == ""  # to be chosen again
    page.page.get_by_label("Container of step 1").select_option("examples")
    assert samples.locator("option").count() == 4
    for index, expected in enumerate(EXAMPLES["examples"], 1):
        samples.select_option(index=index)
        assert input_of(page) == expected
    assert str(BIG) in page.page.get_by_label("Input as JSON").input_value()
    samples.select_option(index=3)
    least = input_of(page)
    assert least == {
        "text": "hi",
        "style": "a",
        "const": 7,
        "count": 2,
        "list": [1, 1],
        "inner": {"flag": False},
        "either": "xx",
    }
    page.click("button >> text=Run")
    page.wait(".chip >> text=Finished")  # the node takes it
    page.page.get_by_label("Container of step 1").select_option("any")
    assert not samples.is_visible()
