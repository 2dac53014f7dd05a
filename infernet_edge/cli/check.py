"""`infernet-edge check`: validate the configuration. Nothing is started."""

from __future__ import annotations

import argparse

from infernet_edge.cli.configuration import add_config_argument, load_or_explain

HELP = "check the configuration and list all its errors"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check; returns 0, or 78 when there are errors."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    for warning in loaded.warnings:
        print(f"note: {warning}")
    containers = ", ".join(container.id for container in loaded.config.containers) or "none"
    print(f"{loaded.source or 'No file found, the defaults'}: no errors")
    print(f"  API         {loaded.config.server.host} port {loaded.config.server.port}")
    print(f"  containers  {containers}")
    print(f"  storage     {loaded.config.storage_path}")
    return 0
