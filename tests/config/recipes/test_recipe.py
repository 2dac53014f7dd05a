from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.config import ConfigurationError
from infernet_edge.config.model import Config, Container
from infernet_edge.config.recipes.recipe import (
    converted,
    is_secret_key,
    parse,
    sounds_secret,
    takes_file,
)

SERVICE = {"id": "one", "image": "one:1", "command": "--workers=${N}"}


def inputs(*given: Any, config: Any = SERVICE) -> list[str]:
    """The errors of a recipe with these inputs."""
    try:
        parse({"config": config, "inputs": list(given)}, "recipe.json")
    except ConfigurationError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_the_forms_of_inputs() -> None:
    given = [
        {"id": "N", "path": "command#N", "type": "integer", "default": 2},
        {"path": "env.MY.TOKEN", "type": "string", "required": True, "description": "Mine."},
        {"id": "FREE"},
    ]
    recipe = parse({"config": SERVICE, "inputs": given}, "recipe.json")
    assert recipe.is_service
    workers, token, free = recipe.inputs
    assert (workers.keys, workers.placeholder, workers.default) == (("command",), "N", 2)
    assert (token.id, token.keys, token.secret) == ("MY.TOKEN", ("env", "MY.TOKEN"), True)
    assert token.expected == "text (Mine)"
    assert (free.keys, free.kind, free.required, free.default) == (None, "text", False, None)
    for more in ({}, {"inputs": None}):
        assert parse({"config": {"server": {}}, **more}, "recipe.json").inputs == ()


def test_the_first_form_is_a_container_with_defaults() -> None:
    bare = {**SERVICE, "env": {"KEY": "${API_KEY}"}, "defaults": {"N": 2}}
    recipe = parse(bare, "recipe.json")
    assert recipe.config == {**SERVICE, "env": {"KEY": "${API_KEY}"}}
    shown = [(each.id, each.required, each.default, each.secret) for each in recipe.inputs]
    assert shown == [("N", False, "2", False), ("API_KEY", True, None, True)]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("N", "inputs[0]: found text, expected an object"),
        ({}, "inputs[0].path: found nothing, expected a path such as env.NAME"),
        ({"id": 5, "path": "x"}, "inputs[0].id: found a number, expected a line of text"),
        ({"id": "N", "path": 5}, "inputs[0].path: found a number, expected a line of text"),
        ({"path": "env."}, 'inputs[0].path: found "env.", expected names'),
        ({"path": "a..b"}, 'inputs[0].path: found "a..b", expected names'),
        ({"path": "command.x"}, 'inputs[0].path: found "command.x", expected command to be an obj'),
        ({"path": "env.A", "type": "colour"}, 'inputs[0].type: found "colour", expected one of st'),
        ({"path": "env.A", "required": "yes"}, "inputs[0].required: found text, expected true or"),
        (
            {"path": "env.A", "type": "integer", "default": "many"},
            'inputs[0].default: found "many", expected a whole number',
        ),
        ({"path": "env.A", "description": []}, "inputs[0].description: found a list, expected a"),
    ],
)
def test_errors_name_the_place_in_the_recipe(given: Any, problem: str) -> None:
    assert [each[: len(problem)] for each in inputs(given)] == [problem]


def test_errors_of_the_whole() -> None:
    same = {"id": "N", "path": "env.N"}
    assert inputs(same, same) == ['inputs[1].id: found "N", expected a unique id']
    with pytest.raises(ConfigurationError, match="inputs: found an object, expected a list"):
        parse({"config": SERVICE, "inputs": {}}, "recipe.json")
    assert inputs(*[same] * 101) == [
        "inputs: found 101 inputs, expected a list of at most 100 inputs"
    ]


@pytest.mark.parametrize(
    ("value", "kind", "made"),
    [
        ("4", "integer", 4),
        (" 4 ", "integer", 4),
        (4, "integer", 4),
        ("0.5", "number", 0.5),
        ("YES", "boolean", True),
        ("false", "boolean", False),
        (False, "boolean", False),
        ('["a"]', "list", ["a"]),
        ('{"a": 1}', "object", {"a": 1}),
        (2, "text", "2"),
        ("2", "text", "2"),
        ("http://a", "any", "http://a"),
        ('["http://a"]', "any", ["http://a"]),
    ],
)
def test_values(value: Any, kind: Any, made: Any) -> None:
    assert converted(value, kind) == made
    assert type(converted(value, kind)) is type(made)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *(("4.5", "integer"), ("", "integer"), (True, "integer"), ("x", "integer"), ([], "text")),
        *(("NaN", "number"), ("x", "number"), ("2", "boolean"), ("a", "list"), ("[", "object")),
    ],
)
def test_values_of_another_type(value: Any, kind: Any) -> None:
    with pytest.raises(ValueError, match=r"text|number|list|object|true"):
        converted(value, kind)


def test_which_names_are_those_of_secrets() -> None:
    names = "HF_TOKEN private_key openaiApiKey PERPLEXITYAI_API_KEY DB_PASSWORD key my-secret"
    assert all(map(sounds_secret, names.split()))
    names = "MAX_TOKENS TOKENIZER SECRET_FILE KEY_SIZE NUM_WORKERS payment_address KEYBOARD"
    assert not any(map(sounds_secret, [*names.split(), "", "_"]))


def test_which_keys_take_secrets() -> None:
    assert is_secret_key(("chain", "wallet", "private_key"), Config)
    assert is_secret_key(("server", "tokens", "phone"), Config)
    assert is_secret_key(("containers", "0", "bearer"), Config)
    assert takes_file(("env", "ANY"), Container)
    assert not is_secret_key(("env", "ANY"), Container)
    for keys in (("command",), ("nothing", "at", "all"), ("id", "deeper")):
        assert not takes_file(keys, Container)
