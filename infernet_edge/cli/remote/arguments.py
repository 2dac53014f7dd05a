"""The arguments of the commands that ask a node, and what they have in common."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infernet_edge.cli.configuration import add_config_argument, load_or_explain
from infernet_edge.cli.text import visible

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient

_FAILURE, _USAGE, _BAD_CONFIGURATION = 1, 2, 78
_LONGEST: Final = 7 * 24 * 3600  # seconds that a command waits


def add_node_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --config for the local node, --url and what belongs to it for another one, and --json."""
    add_config_argument(parser)
    parser.add_argument(
        "--url",
        metavar="URL",
        help="the node to ask, such as http://raspberrypi.local:4000 (default: $INFERNET_EDGE_URL;"
        " without both, the node that runs here with this configuration)",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="with --url: a file with a token (default: the token in $INFERNET_EDGE_TOKEN)",
    )
    parser.add_argument(
        "--cacert",
        type=Path,
        metavar="FILE",
        help="with an https URL: the certificate to trust, PEM (default: what the system trusts)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Add DATA and --file."""
    parser.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help="the input, a JSON object in single quotes; - reads it from stdin (default: {})",
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="a file with the input")


def containers_in(text: str) -> list[str]:
    """The ids in CONTAINER,CONTAINER,…; raises ArgumentTypeError when one is empty."""
    found = [each.strip() for each in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(
            f"expected CONTAINER or CONTAINER,CONTAINER,…, found {text[:100]!r}"
        )
    return found


def with_node(arguments: argparse.Namespace, act: Callable[[NodeClient], int]) -> int:
    """Call `act` with a client of the node that the arguments name; returns its exit code.

    Prints why the node did not do what was asked for, and returns 1; 2 and 78 for wrong arguments
    and a wrong configuration.
    """
    from infernet_edge.cli.remote.address import WrongUsage
    from infernet_edge.cli.remote.failures import NodeError

    try:
        node = _find_node(arguments)
        return _BAD_CONFIGURATION if node is None else act(node)
    except WrongUsage as error:
        print_error(str(error))
        return _USAGE
    except NodeError as error:
        print_error(str(error))
        return _FAILURE


def has_url(arguments: argparse.Namespace) -> bool:
    """Whether another node than that of the configuration is asked."""
    from infernet_edge.cli.remote.address import URL_VARIABLE

    return bool(arguments.url or (not arguments.config and os.environ.get(URL_VARIABLE)))


def print_error(text: str) -> None:
    """Print a text on stderr, without characters that a terminal interprets."""
    print(visible(text), file=sys.stderr)


def seconds(text: str) -> int:
    """A whole number of seconds that a command waits."""
    return whole(text, 1, _LONGEST, " of seconds")


def whole(text: str, low: int, high: int, unit: str = "") -> int:
    """A whole number; raises ArgumentTypeError for another one."""
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(
            f"expected a whole number{unit} from {low} to {high}, found {text[:20]!r}"
        )
    return number


def _find_node(arguments: argparse.Namespace) -> NodeClient | None:
    """The node that the arguments name; None after the errors of its configuration were printed."""
    from infernet_edge.cli.remote.address import (
        URL_VARIABLE,
        NodeAddress,
        WrongUsage,
        find_token,
        parse_url,
    )
    from infernet_edge.cli.remote.client import NodeClient
    from infernet_edge.cli.remote.sockets import check_authority

    if has_url(arguments):
        if arguments.config:
            raise WrongUsage("--url and --config name different nodes: leave out one of them")
        place = "--url" if arguments.url else URL_VARIABLE
        try:
            address = parse_url(arguments.url or os.environ[URL_VARIABLE])
        except WrongUsage as error:
            raise WrongUsage(f"{place}: {error}") from None
        if arguments.cacert is not None:
            if not address.secure:
                raise WrongUsage(f"--cacert is for an https URL, found http in {place}")
            check_authority(arguments.cacert)
        token = find_token(arguments.token_file, os.environ)
        return NodeClient(address._replace(token=token, authority=arguments.cacert))
    for option in ("token_file", "cacert"):
        if getattr(arguments, option) is not None:
            raise WrongUsage(f"--{option.replace('_', '-')} needs --url: the local node needs none")
    loaded = load_or_explain(arguments)
    if loaded is None:
        return None
    return NodeClient(NodeAddress(socket=loaded.config.storage_path / "control.sock"))
