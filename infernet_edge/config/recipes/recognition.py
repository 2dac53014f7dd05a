"""Recognise a recipe among configurations."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def is_recipe(document: Mapping[str, Any]) -> bool:
    """Whether it is a recipe of the registry, not a configuration.

    Its form is `{"config": {…}, "inputs": […]}`. The first recipes were a container with
    `${NAME}` in its texts and a table of `defaults`.
    """
    return isinstance(document.get("config"), dict) or is_bare_service(document)


def is_bare_service(document: Mapping[str, Any]) -> bool:
    """Whether the document itself is a container, as it was in the first recipes."""
    return all(isinstance(document.get(key), str) for key in ("id", "image"))


def is_service(config: Mapping[str, Any]) -> bool:
    """Whether a recipe's `config` is one container; otherwise it is the node's configuration."""
    return "image" in config or "id" in config


def command_for(document: Mapping[str, Any], file: Path) -> str:
    """The command that makes a configuration of a recipe, or adds it to one."""
    config = document if is_bare_service(document) else document["config"]
    name = shlex.quote(str(file))
    if is_service(config):
        return f"infernet-edge add-service {name} (or init --recipe {name} for a new configuration)"
    return f"infernet-edge init --recipe {name}"
