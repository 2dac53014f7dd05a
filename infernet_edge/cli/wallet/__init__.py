"""`infernet-edge wallet`: the node's account and its payment wallet.

The arguments of the command; the modules of this package run it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from infernet_edge.cli.configuration import add_config_argument
from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.money import AMOUNT_HELP, parse_address, parse_amount, parse_amount_or_all
from infernet_edge.cli.output import add_json_argument, answering

HELP = "make, import, show and register the node's account; manage its payment wallet"

_KEYS_HELP = {
    "new": "make a key and write it to a file",
    "import": "import a key from a terminal, from stdin or from a file, never as an argument",
}
_CHAIN_HELP = {
    "show": "the account's address, its balance, and whether it is registered",
    "register": "register with the coordinator of SDK 0.1; can be activated an hour later",
    "activate": "activate the registered account, so that it may deliver",
}
_PAY_HELP = {
    "create": "make a wallet that belongs to the node's account, and show what to configure",
    "show": "show the owner, balances, locked amounts, and what proofs may lock",
    "approve": "set what a spender may lock or spend; replaces the previous approval",
    "withdraw": "send money from the wallet to its owner, the node's account",
}
_JSON_HELP = "print JSON: amounts as text, and no secret"
_PAY_DESCRIPTION = """\
The payment wallet is a contract of Infernet's wallet factory (SDK 1.x), named by
chain.wallet.payment_address: the coordinator pays this node there, and locks money in it while a
proof has no verdict. One that create made belongs to the node's account, and the node then
approves automatically what its proofs lock; no manual approval is needed."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge wallet new",
        "infernet-edge wallet import --file key.txt",
        "infernet-edge wallet pay show --json",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, described in {**_KEYS_HELP, **_CHAIN_HELP}.items():
        action = actions.add_parser(name, help=described, description=described)
        add_config_argument(action)
        if name in _KEYS_HELP:
            _configure_keys(action)
        add_json_argument(action, _JSON_HELP)
        if name == "import":
            action.add_argument(
                "--file",
                type=Path,
                metavar="PATH",
                help="a key in hex digits, or a keystore (default: stdin, or the terminal)",
            )
            action.add_argument(
                "--old-password-file",
                type=Path,
                metavar="PATH",
                help="password of the keystore to import (default: from the terminal)",
            )
    described = "the payment wallet of the node: create, show, approve, withdraw"
    _configure_pay(actions.add_parser("pay", help=described, description=_PAY_DESCRIPTION))


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
        help="password to encrypt the key with (default: from the terminal)",
    )
    how.add_argument(
        "--plain",
        action="store_true",
        help="do not encrypt the key; only the permissions of the file protect it",
    )


def _configure_pay(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="pay_action", required=True, metavar="ACTION")
    parsers = {
        name: actions.add_parser(name, help=described, description=described)
        for name, described in _PAY_HELP.items()
    }
    for action in parsers.values():
        add_config_argument(action)
        add_json_argument(action, _JSON_HELP)
    create, show, approve, withdraw = parsers.values()
    create.add_argument(
        "--another", action="store_true", help="make one even if the configuration names one"
    )
    show.add_argument(
        "--token",
        type=parse_address,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a token to show besides the coin and the containers' accepted_payments; repeatable",
    )
    approve.add_argument("amount", type=parse_amount, metavar="AMOUNT", help=AMOUNT_HELP)
    approve.add_argument(
        "--spender",
        type=parse_address,
        metavar="ADDRESS",
        help="who may spend it (default: the node's account, for its proofs)",
    )
    withdraw.add_argument(
        "amount", type=parse_amount_or_all, metavar="AMOUNT", help=f"all, or {AMOUNT_HELP}"
    )
    withdraw.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    for action in (approve, withdraw):
        action.add_argument(
            "--token",
            type=parse_address,
            metavar="ADDRESS",
            help="an ERC-20 token (default: the chain's coin)",
        )
        action.set_defaults(refuse=action.error)


def run(arguments: argparse.Namespace) -> int:
    """Run the action; returns the exit code."""
    from infernet_edge.errors import InfernetEdgeError

    try:
        with answering(as_json=arguments.json) as answer:
            return _run(arguments, answer)
    except InfernetEdgeError as error:
        print(error, file=sys.stderr)
        return 1
    except EOFError:  # the answer to a question
        print("\nNothing was done.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if arguments.action in _KEYS_HELP:
            print("\nNothing was done.", file=sys.stderr)
        else:
            print("\nStopped. A transaction shown above may still be mined.", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace, answer: dict[str, Any]) -> int:
    if arguments.action in _KEYS_HELP:
        from infernet_edge.cli.wallet.keys import write_key

        return write_key(arguments, answer)
    if arguments.action == "pay":
        from infernet_edge.cli.wallet.pay import pay

        return pay(arguments, answer)
    from infernet_edge.cli.wallet.chain import run_action

    return run_action(arguments, answer)
