"""Code shared by the commands that need a configuration."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infernet_edge.config import Loaded


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add --config."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="PATH",
        help="configuration, JSON or TOML (default: $INFERNET_CONFIG_PATH, ./config.json or"
        " .toml, then /etc/infernet-edge/config.json or .toml)",
    )


def empty_note(loaded: Loaded) -> str:
    """What to do when neither a configuration nor a container was found; "" otherwise."""
    if loaded.source is not None or loaded.config.containers:
        return ""
    return (
        "No configuration file was found, so the defaults apply: there are no containers, and the"
        f" API listens on {loaded.config.server.host} port {loaded.config.server.port}. Write one"
        " with: infernet-edge init (or name one with --config)"
    )


def use_service_environment(arguments: argparse.Namespace) -> None:
    """For the configuration of the installed service, give this process its environment."""
    from infernet_edge.config.installed import service_environment
    from infernet_edge.config.sources import find_file

    os.environ.update(service_environment(find_file(arguments.config, os.environ), os.environ))


def load_or_explain(arguments: argparse.Namespace) -> Loaded | None:
    """Load the configuration; prints all its errors and returns None when there are any."""
    from infernet_edge.config import ConfigurationError, load

    use_service_environment(arguments)
    try:
        return load(arguments.config)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        named = ["--config", str(arguments.config)] if arguments.config else []
        again = shlex.join(["infernet-edge", "check", *named])
        print(f"Fix these, then try again: {again}", file=sys.stderr)
        return None
