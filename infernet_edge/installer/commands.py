"""Runs programs of the system: list arguments, an environment of its own, a time-out. Blocks."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from infernet_edge.errors import InfernetEdgeError

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "",
}


class CommandFailed(InfernetEdgeError):
    """A program could not be run, ran too long, or says that it failed."""


class Output(NamedTuple):
    """How a program ended, and what it printed, errors included."""

    code: int
    text: str


class Runner(Protocol):
    """Runs a program for at most `timeout` seconds; raises CommandFailed when it does not end."""

    def __call__(
        self, arguments: Sequence[str], timeout: float, environment: Mapping[str, str] = ...
    ) -> Output: ...


def run(
    arguments: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None
) -> Output:
    """Run a program; `environment` is laid over a plain one.

    Raises CommandFailed when it cannot be started or does not end within `timeout` seconds.
    """
    try:
        done = subprocess.run(  # noqa: S603  # a list; nothing of it is taken apart by a shell
            list(arguments),
            env={**_ENVIRONMENT, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{_line(arguments)} did not end within {timeout:g} seconds") from None
    except OSError as error:
        raise CommandFailed(f"{arguments[0]} cannot be started: {error.strerror}") from error
    return Output(done.returncode, done.stdout.decode("utf-8", "replace").strip())


def must(output: Output, arguments: Sequence[str]) -> str:
    """What a program printed; raises CommandFailed when it failed."""
    if output.code != 0:
        words = output.text or f"exit code {output.code}"
        raise CommandFailed(f"{_line(arguments)} failed: {words}")
    return output.text


def _line(arguments: Sequence[str]) -> str:
    return " ".join(arguments)
