"""What all commands share: the parser, --json, pipes whose reader may end early (`| head`)."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any


def add_json_argument(parser: argparse.ArgumentParser, described: str = "print JSON") -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help=described)


@contextlib.contextmanager
def answering(*, as_json: bool) -> Iterator[dict[str, Any]]:
    """Where a command puts its answer while it runs; of `as_json` it is printed as one object.

    Everything that the command prints meanwhile goes to stderr then. An empty answer is not
    printed: the command has failed, and has said why.
    """
    answer: dict[str, Any] = {}
    if not as_json:
        yield answer
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield answer
    if answer:
        print(json.dumps(answer, indent=2))


def print_progress(text: str) -> None:
    """Print a line at once. Work that changes something continues without a reader."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard_output()


def flush_output() -> None:
    """Write what is buffered; Python itself would report a closed pipe at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Discard what is buffered, and what is still written to stdout."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


class CommandParser(argparse.ArgumentParser):
    """Takes arguments and options in any order: `submit writer --wait 30 DATA` too."""

    _is_intermixing = False

    def parse_known_args(  # type: ignore[override]  # without the overloads
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """What argparse calls for a command; see its parse_intermixed_args."""
        if self._is_intermixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._is_intermixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_intermixing = False
