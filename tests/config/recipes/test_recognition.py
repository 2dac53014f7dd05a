"""A recipe is not a configuration, whichever of its forms it has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infernet_edge.config import ConfigurationError, load
from infernet_edge.config.loading import load_valid_parts
from infernet_edge.config.recipes.recognition import command_for, is_recipe
from tests.support.process import ROOT

RECIPES = ROOT / "tests/fixtures/recipes"


@pytest.mark.parametrize("file", sorted(RECIPES.iterdir()), ids=lambda file: file.stem)
def test_every_form_is_recognised_with_the_command_that_fills_it_in(file: Path) -> None:
    document = json.loads(file.read_text())
    assert is_recipe(document)
    command = command_for(document, Path("my recipe.json"))
    if file.stem.startswith("node-"):
        assert command == "infernet-edge init --recipe 'my recipe.json'"
    else:
        assert command.startswith("infernet-edge add-service 'my recipe.json' ")
    with pytest.raises(ConfigurationError, match=r"a recipe.*make one with infernet-edge "):
        load(file, {})
    assert "a recipe" in load_valid_parts(file, {})[1][0].found


@pytest.mark.parametrize(
    "document", [{}, {"config": "x"}, {"containers": [{"id": "a", "image": "b"}]}, {"id": "x"}]
)
def test_configurations_are_none(document: dict[str, object]) -> None:
    assert not is_recipe(document)
