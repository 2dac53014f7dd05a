"""`infernet-edge token`: makes, lists and revokes the tokens of the node.

A running node is asked through its control socket and applies the change at once. While none runs,
the command holds the lock of the storage folder and writes the file itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from infernet_edge.cli.configuration import add_config_argument, load_or_explain
from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.text import visible, wrapped

if TYPE_CHECKING:
    from infernet_edge.config import Config

HELP = "make, list and revoke the tokens that clients of the node need"

_ACTIONS = {
    "new": "make a token; it is printed once, and the node stores its hash only",
    "list": "list all tokens: scope, expiry and last use, never their texts",
    "revoke": "revoke a token: the node refuses it from now on",
}
_SCOPES = """\
What a scope permits:

  read      read own jobs, /info and /resources
  submit    the same, and submit and cancel own jobs
  operator  everything, for the jobs of all clients
  metrics   read /metrics, nothing else
"""
_EPILOG = (
    "Without any token, everyone on the network may submit jobs. The first token closes the node:"
    " from then on every client needs one. How to protect a node: infernet-edge help security"
)
_CLOSED = (
    "It is the first token: from now on every client of this node needs one, also those on this"
    " machine. Make one for each of them."
)
_OPENED = (
    "It was the last token: the node is open again, and everyone on the network may submit jobs."
)
_NO_PAGE = "metrics"  # the scope that cannot read the page
_IS_OPEN = (
    "No token: the node is open, and everyone on the network may submit jobs. Close it with:"
    " infernet-edge token new NAME --scope submit"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge token new phone --scope submit",
        "infernet-edge token new guest --scope read --expires 30d",
        "TOKEN=$(infernet-edge token new laptop --scope operator)",
        "infernet-edge token list",
        "infernet-edge token revoke phone",
        text=_EPILOG,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    parsers = {
        name: actions.add_parser(name, help=described, description=described)
        for name, described in _ACTIONS.items()
    }
    new, _, revoke = parsers.values()
    add_examples(
        new,
        "infernet-edge token new phone --scope submit",
        "infernet-edge token new guest --scope read --expires 30d",
        text=_SCOPES,
    )
    new.add_argument(
        "name", type=_name, metavar="NAME", help="who will use it; its jobs belong to this name"
    )
    new.add_argument(
        "--scope",
        required=True,
        choices=("read", "submit", "operator", "metrics"),
        help="what it permits",
    )
    new.add_argument(
        "--expires",
        type=_expires,
        metavar="WHEN",
        help="a period such as 12h, 30d or 8w, or a date such as 2027-01-01, which is its beginning"
        " in UTC (default: never)",
    )
    new.add_argument(
        "--keep-jobs",
        action="store_true",
        help="it is for the same person as an earlier token of this name, and may read those jobs",
    )
    new.add_argument(
        "--replace-damaged",
        action="store_true",
        help="put a damaged file of tokens aside, and begin a new one",
    )
    revoke.add_argument("name", metavar="NAME", help="the token to revoke")
    revoke.add_argument(
        "--yes", action="store_true", help="also the last token, which opens the node: do not ask"
    )
    for each in parsers.values():
        add_config_argument(each)
        each.add_argument("--json", action="store_true", help="print JSON")


def _name(text: str) -> str:
    from infernet_edge.storage.token_file import NAME, NAME_FORM

    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected {NAME_FORM}")
    return text


def _expires(text: str) -> str:
    from infernet_edge.config.values.dates import (
        DATE_FORMS,
        PERIOD_FORMS,
        parse_date,
        parse_period,
    )

    if parse_period(text) is None and parse_date(text) is None:
        raise argparse.ArgumentTypeError(f"expected {PERIOD_FORMS}, or {DATE_FORMS}")
    return text


def run(arguments: argparse.Namespace) -> int:
    """Run the action; returns 0, or 1 with the reason on stderr."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    from infernet_edge.errors import InfernetEdgeError

    action = {"new": _new, "list": _list, "revoke": _revoke}[arguments.action]
    try:
        return action(arguments, loaded.config)
    except InfernetEdgeError as error:
        _explain(str(error))
        return 1


def _new(arguments: argparse.Namespace, config: Config) -> int:
    from infernet_edge.cli.links import link_to, own_url, urls_of
    from infernet_edge.cli.token_access import access_to
    from infernet_edge.schema import TokenRequest

    request = TokenRequest(
        arguments.name,
        arguments.scope,
        arguments.expires,
        arguments.keep_jobs,
        arguments.replace_damaged,
    )
    made = access_to(config).make(request)
    opens = made["scope"] != _NO_PAGE
    link = link_to(urls_of(config), own_url(config), made["token"]) if opens else None
    if arguments.json:
        print(json.dumps(made | {"link": link}, indent=2))
        return 0
    until = "does not expire"
    if made["expires_at"] is not None:
        until = f"expires on {_moment(made['expires_at'])} UTC"
    _explain(
        f"Made the token {made['name']} with the scope {made['scope']}; it {until}. Only this"
        " output has it. Clients send it as: Authorization: Bearer TOKEN"
    )
    if made["closed_node"]:
        _explain(_CLOSED)
    print(made["token"])
    # For a person alone: what a script reads is the token, and stderr may be kept in a log.
    if link is not None and sys.stdout.isatty():
        print(f"\nOpen the node's page with it, in a browser:\n  {link}")
    return 0


def _list(arguments: argparse.Namespace, config: Config) -> int:
    from infernet_edge.cli.token_access import access_to

    found = access_to(config).list()
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    for line in _table(found["tokens"]):
        print(line)
    for problem in found["problems"]:
        print("\n".join(wrapped("! ", problem)))
    if found["open"]:
        print("\n".join(wrapped("", _IS_OPEN)))
    return 0


def _revoke(arguments: argparse.Namespace, config: Config) -> int:
    from infernet_edge.cli.token_access import LastToken, access_to

    tokens = access_to(config)
    try:
        found = tokens.revoke(arguments.name, may_open=arguments.yes)
    except LastToken as refusal:
        if not sys.stdin.isatty():
            raise LastToken(f"{refusal}: --yes") from None
        _explain(f"{refusal}.")
        if not _confirmed():
            _explain("Nothing was done.")
            return 1
        found = tokens.revoke(arguments.name, may_open=True)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"Revoked the token {found['name']}.")
    if found["open"]:
        _explain(_OPENED)
    return 0


def _confirmed() -> bool:
    with contextlib.suppress(EOFError):
        return input("Open the node? [no]: ").strip().lower() in ("y", "yes")
    return False


def _explain(text: str) -> None:
    """Print for people: stdout has only what a script needs."""
    print("\n".join(wrapped("", text)), file=sys.stderr)


def _table(tokens: list[dict[str, Any]]) -> Iterator[str]:
    rows = [("NAME", "SCOPE", "MADE", "EXPIRES", "LAST USE")]
    for each in tokens:
        made = "server.tokens" if each["created_at"] is None else _moment(each["created_at"])[:10]
        expires = "never" if each["expires_at"] is None else _moment(each["expires_at"])
        used = "none" if each["last_used_at"] is None else _moment(each["last_used_at"])
        name = visible(each["name"]) + ("" if each["valid"] else " (refused)")
        rows.append((name, each["scope"], made, expires, used))
    if tokens:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = (cell.ljust(size) for cell, size in zip(row, widths, strict=True))
            yield "  ".join(cells).rstrip()


def _moment(milliseconds: int) -> str:
    from infernet_edge.clock import iso_time

    return iso_time(milliseconds)[:16].replace("T", " ")
