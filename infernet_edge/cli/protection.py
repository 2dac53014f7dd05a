"""The token with which `init` protects the node, and the link that has it."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infernet_edge.cli.inputs import BAD_CONFIGURATION, Unusable
from infernet_edge.cli.links import OWNER, link_to, own_url, token_command, urls_of
from infernet_edge.cli.text import wrapped

if TYPE_CHECKING:
    from infernet_edge.config import Config

_FAILED = 1
_SCOPE: Final = "operator"


def add_protection_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --token and --no-token."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--token",
        nargs="?",
        const=OWNER,
        type=_name,
        metavar="NAME",
        help="protect the node: make a token of this name for you, as an operator, and print the"
        f" link that has it (default name: {OWNER}; without a terminal no token is made unless this"
        " is given)",
    )
    which.add_argument(
        "--no-token", action="store_true", help="make no token: everyone in the network may use it"
    )


def _name(text: str) -> str:
    from infernet_edge.storage.token_file import NAME, NAME_FORM

    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {NAME_FORM}")
    return text


class Protection:
    """Whether the node will ask for a token, and the token that is made for that.

    `output` is the configuration that will be written; `chosen` its document, which may still
    change. The token itself is only here, and in what `answer` and `lines` return.
    """

    def __init__(self, arguments: argparse.Namespace, output: Path, chosen: dict[str, Any]) -> None:
        self._output = output
        self._chosen = chosen
        self._name: str = arguments.token or ""
        self._is_decided = bool(self._name or arguments.no_token)
        self._token = ""
        self._closed_running = False
        self._has_storage = True  # the configuration names a folder for the node's data

    def ask(self, agree: Callable[[str], bool]) -> None:
        """Ask whether to protect the node, unless a flag says it or the node has tokens."""
        if not self._is_decided and not self._present(self._load()):
            question = "Protect it with a token, so that only you can use it? (yes/no)"
            self._name = OWNER if agree(question) else ""

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Make the token, if there is to be one; it is revoked again when the block fails.

        It is stored where `run` will look for it. Raises Unusable.
        """
        if not self._name:
            yield
            return
        from infernet_edge.cli.token_access import RunningNode, access_to
        from infernet_edge.errors import InfernetEdgeError
        from infernet_edge.schema import TokenRequest

        config = self._load(strict=True)
        # An operator may read all jobs anyway, also those of an earlier token of this name.
        request = TokenRequest(self._name, _SCOPE, keep_jobs=True)
        try:
            tokens = access_to(config)
            made = tokens.make(request)
        except InfernetEdgeError as error:
            raise Unusable(
                "\n".join(
                    [
                        *wrapped("", f"The token cannot be made: {error}."),
                        "Nothing was written. To write the file without a new token: --no-token",
                    ]
                ),
                _FAILED,
            ) from error
        self._closed_running = made["closed_node"] and isinstance(tokens, RunningNode)
        try:
            yield
        except BaseException:
            tokens.revoke(self._name, may_open=True)
            raise
        self._token = made["token"]

    def answer(self) -> dict[str, str] | None:
        """The token that was made, with the link that has it, for --json; None without one."""
        if not self._token:
            return None
        config = self._load()
        link = link_to(urls_of(config), own_url(config), self._token)
        return {"name": self._name, "scope": _SCOPE, "token": self._token, "link": link}

    def lines(self, option: str) -> Iterator[str]:
        """Who may use the node: the link with the token, or how to protect it.

        `option` is what other commands need to find the configuration.
        """
        config = self._load()
        urls = urls_of(config)
        if self._token:
            yield from self._link_lines(config, urls)
        elif present := self._present(config):
            yield from wrapped("", f"The node asks for a token: {present}")
            yield "Another one is made by:"
            yield f"  {token_command(option, 'NAME')}"
        else:
            who = "Everyone in this network" if urls else "Everyone on this machine"
            yield f"{who} may use the node. Protect it with a token:"
            yield f"  {token_command(option)}"

    def _link_lines(self, config: Config, urls: list[str]) -> Iterator[str]:
        yield ""
        yield "The node asks for a token. This link has yours, and is shown only now:"
        yield ""
        yield f"  {link_to(urls, own_url(config), self._token)}"
        yield ""
        where = "also on a phone in the same network" if urls else "on this machine"
        yield from wrapped("", f"Open it in a browser when the node runs, {where}.")
        yield from wrapped("", "Keep it as you keep a password: it permits everything.")
        if self._closed_running:
            yield "A node with this storage runs, and asks for the token from now on."
        yield ""

    def _present(self, config: Config) -> str:
        """The tokens that the node has without a new one, for people; "" when it has none."""
        from infernet_edge.cli.token_access import access_to
        from infernet_edge.errors import InfernetEdgeError

        if not self._has_storage:
            return ""
        try:
            found = access_to(config).list()
        except InfernetEdgeError:  # making one says why
            return ""
        names = ", ".join(each["name"] for each in found["tokens"])
        if found["problems"]:
            return " ".join(f"{each}." for each in found["problems"])
        return f"those that were made before stay valid ({names})." if names else ""

    def _load(self, *, strict: bool = False) -> Config:
        """The configuration as `run` will have it. `strict`: raise Unusable for its storage."""
        from infernet_edge.config.installed import service_environment
        from infernet_edge.config.loading import load_valid_parts

        environment = {**os.environ, **service_environment(self._output, os.environ)}
        loaded, problems = load_valid_parts(self._output, environment, self._chosen)
        missing = [problem for problem in problems if problem.path == "storage.path"]
        self._has_storage = not missing
        if strict and missing:
            raise Unusable(str(missing[0]), BAD_CONFIGURATION)
        return loaded.config
