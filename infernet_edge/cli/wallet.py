"""`infernet-edge wallet`: the node's account: its key, its state, its place with coordinators."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from infernet_edge.cli.configuration import add_config_argument

HELP = "make, import and show the node's account; register it"

_KEYS_HELP = {
    "new": "make a key and write it to a file",
    "import": "take over a key: from a terminal, from stdin or from a file, never as an argument",
}
_CHAIN_HELP = {
    "show": "the account's address, its balance, and whether it is registered",
    "register": "register with the coordinator of SDK 0.1; an hour later it can be activated",
    "activate": "activate the registered account; then it may deliver",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, described in {**_KEYS_HELP, **_CHAIN_HELP}.items():
        action = actions.add_parser(name, help=described, description=described)
        add_config_argument(action)
        if name in _KEYS_HELP:
            _configure_keys(action)
        if name == "import":
            action.add_argument(
                "--file",
                type=Path,
                metavar="PATH",
                help="a key in hex digits, or a keystore (default: stdin, or asked for)",
            )
            action.add_argument(
                "--old-password-file",
                type=Path,
                metavar="PATH",
                help="password of the keystore to import (default: asked for)",
            )


def _configure_keys(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="the file to write (default: in the node's storage folder)",
    )
    how = action.add_mutually_exclusive_group()
    how.add_argument(
        "--password-file",
        type=Path,
        metavar="PATH",
        help="password to encrypt the key with (default: asked for)",
    )
    how.add_argument(
        "--plain",
        action="store_true",
        help="do not encrypt the key; only the rights of the file protect it",
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code."""
    from infernet_edge.errors import InfernetEdgeError

    try:
        if arguments.action in _KEYS_HELP:
            from infernet_edge.cli.wallet_keys import write_key

            return write_key(arguments)
        from infernet_edge.cli.wallet_chain import talk

        return talk(arguments)
    except InfernetEdgeError as error:
        print(error, file=sys.stderr)
        return 1
    except (EOFError, KeyboardInterrupt):
        print("\nNothing was done.", file=sys.stderr)
        return 1
