"""`infernet-edge version`: the installed versions."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3

from infernet_edge import INFERNET_VERSION, __version__
from infernet_edge.cli.examples import add_examples

HELP = "print the versions of the node, Python, SQLite and the system"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge version",
        "infernet-edge version --json",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the versions; returns 0."""
    versions = {
        "version": __version__,
        "infernet": INFERNET_VERSION,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": platform.system(),
        "machine": platform.machine(),
    }
    if arguments.json:
        print(json.dumps(versions, indent=2))
        return 0
    print(f"infernet-edge {__version__} (speaks Infernet {INFERNET_VERSION})")
    print(f"Python {versions['python']}, SQLite {versions['sqlite']}")
    print(f"{versions['system']} {versions['machine']}")
    return 0
