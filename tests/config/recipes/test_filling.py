from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from infernet_edge.config.recipes.filling import Filled, fill
from infernet_edge.config.recipes.recipe import parse
from tests.support.process import ROOT


def filled(config: dict[str, Any], inputs: list[dict[str, Any]], **values: Any) -> Filled:
    return fill(parse({"config": config, "inputs": inputs}, "recipe.json"), values)


def service(**more: Any) -> dict[str, Any]:
    return {"id": "one", "image": "one:1", **more}


def test_whole_keys_are_created_where_they_are_missing() -> None:
    inputs = [
        {"id": "key", "path": "chain.wallet.private_key"},
        {"id": "port", "path": "server.port", "type": "integer"},
        {"id": "unset", "path": "server.host"},
        {"id": "first", "path": "containers.0.env.TOKEN"},
    ]
    config = {"chain": None, "containers": [{"id": "a", "url": "http://a"}]}
    made = filled(config, inputs, key="ab", port=4001, first="t")
    assert made.config == {
        "chain": {"wallet": {"private_key": "ab"}},
        "server": {"port": 4001},
        "containers": [{"id": "a", "url": "http://a", "env": {"TOKEN": "t"}}],
    }
    assert made.secrets == (
        ("chain", "wallet", "private_key"),
        ("containers", "0", "env", "TOKEN"),
    )
    assert config["chain"] is None  # the recipe itself is not changed


def test_a_text_is_one_argument_of_the_command() -> None:
    inputs = [{"id": name, "path": f"command#{name}"} for name in ("NAME", "MODE", "LAST")]
    config = service(command="--name=${NAME} '--x ${MODE}' ${LAST} ${LAST}")
    made = filled(config, inputs, NAME="a b'c", MODE='"', LAST="${NAME}")
    assert shlex.split(made.config["command"]) == [*("--name=a b'c", '--x "', "${NAME}", "${NAME}")]
    made = filled(config, inputs, NAME="a")
    assert shlex.split(made.config["command"]) == ["--name=a", "--x "]  # as an unset variable
    made = filled(service(command="it's ${NAME}"), inputs[:1], NAME="x")
    assert made.config["command"] == "it's x"


def test_texts_in_lists_and_in_json() -> None:
    inputs = [
        {"id": "URL", "path": "env.ARGS#URL"},
        {"id": "SECONDS", "path": "env.ARGS#SECONDS", "type": "integer"},
        {"id": "HF_TOKEN", "path": "env.ARGS#HF_TOKEN"},
    ]
    values = {"URL": 'http://a/"q"', "SECONDS": 30, "HF_TOKEN": "top"}
    form = ["${URL}", "${SECONDS}", {"Authorization": "Bearer ${HF_TOKEN}"}]
    for arguments in (form, json.dumps(form)):
        made = filled(service(env={"ARGS": arguments}), inputs, **values)
        assert json.loads(made.config["env"]["ARGS"]) == [
            *('http://a/"q"', "30", {"Authorization": "Bearer top"})
        ]
        assert made.secrets == (("env", "ARGS"),)


def test_an_input_without_a_path_is_everywhere() -> None:
    inputs = [{"id": "API_KEY"}, {"id": "N", "type": "integer"}]
    config = service(env={"KEY": "${API_KEY}"}, command="--n=${N} ${OTHER}", volumes=["${N}:/x"])
    made = filled(config, inputs, API_KEY="top", N=2)
    assert made.config == service(env={"KEY": "top"}, command="--n=2 '${OTHER}'", volumes=["2:/x"])
    assert made.secrets == (("env", "KEY"),)
    assert made.notes == ("${OTHER} is no input of the recipe; it stays as it is",)


def test_a_value_that_has_no_effect_is_noted() -> None:
    inputs = [{"id": "N", "path": "command#WORKERS"}]
    made = filled(service(command="--n=${N}"), inputs, N="2")
    assert made.notes[0] == "the input N has no effect: command contains no ${WORKERS}"


@pytest.mark.parametrize("name", ["css", "onnx", "torch", "tgi", "hf-client", "hello-world"])
def test_services_of_the_registry(name: str) -> None:
    document = json.loads((ROOT / f"tests/fixtures/recipes/{name}.json").read_text())
    recipe = parse(document, name)
    values = {each.id: each.default if each.default is not None else "x" for each in recipe.inputs}
    made = fill(recipe, values)
    assert "${" not in json.dumps(made.config)
    assert made.config["command"] == "--bind=0.0.0.0:3000 --workers=2"
    assert made.notes == ()


@pytest.mark.parametrize("containers", [5, "one", {"id": "one"}, [5], [{"env": [1]}]])
def test_containers_in_another_form_are_for_the_check_of_the_configuration(containers: Any) -> None:
    config = {"containers": containers}
    assert filled(config, []).config == config
