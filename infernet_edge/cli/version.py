"""`infernet-edge version`: the installed versions."""

from __future__ import annotations

import argparse
import platform
import sqlite3

from infernet_edge import INFERNET_VERSION, __version__

HELP = "print the versions of the node, Python, SQLite and the system"


def configure(parser: argparse.ArgumentParser) -> None:
    """This command has no arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Print the versions; returns 0."""
    print(f"infernet-edge {__version__} (speaks Infernet {INFERNET_VERSION})")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")
    print(f"{platform.system()} {platform.machine()}")
    return 0
